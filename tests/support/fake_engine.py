"""A Docker Engine that keeps containers in a dictionary, and fails where it is told to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gpuspawner.core.container import LABEL_DEVICES, LABEL_LEASE, LABEL_LEDGER, LABEL_OWNER
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import Container, ContainerState, Outcome
from gpuspawner.ports import Address, EngineInfo

POINTS = (
    "info",
    "list_containers",
    "read_log_tail",
    "locate",
    "processor_seconds",
    "typed_at",
    "write_to_terminals",
    "stop",
    "remove",
)


@dataclass
class FakeContainer:
    id: str
    name: str
    labels: dict[str, str]
    devices: tuple[str, ...]
    state: ContainerState = ContainerState.CREATED
    outcome: Outcome | None = None
    memory_limit_bytes: int | None = None
    log: str = ""
    anonymous_volumes: set[str] = field(default_factory=set)
    processor_seconds: float = 0.5
    typed_at: datetime | None = None
    written: list[str] = field(default_factory=list)
    """Lines in its terminals."""


class FakeEngine:
    """Implements the port; the other methods are what people and the kernel do to containers.

    Args:
        ledger_id: Whose containers are ours.

    Attributes:
        failures: By method name, why it fails; it fails until the entry is removed. A failure after the deed
            is noted as ``after remove``: it is done, and the answer is lost.
        calls: What was asked, in order.
    """

    def __init__(self, ledger_id: str | None = None) -> None:
        self.ledger_id = ledger_id
        self.containers: dict[str, FakeContainer] = {}
        self.failures: dict[str, str] = {}
        self.calls: list[tuple[str, ...]] = []
        self.volumes: set[str] = set()

    def fail(self, point: str, why: str = "no answer within 10 s") -> None:
        if point.removeprefix("after ") not in POINTS:
            raise LookupError(f"the fake Engine cannot fail at {point!r}")
        self.failures[point] = why

    # -- what others do -------------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        devices: tuple[str, ...] = (),
        memory_limit_bytes: int | None = None,
    ) -> str:
        id_ = secrets.token_hex(32)
        self.containers[id_] = FakeContainer(
            id_, name, labels or {}, devices, memory_limit_bytes=memory_limit_bytes
        )
        return id_

    def start(self, container_id: str) -> None:
        self.containers[container_id].state = ContainerState.RUNNING

    def print(self, container_id: str, text: str) -> None:
        self.containers[container_id].log += text

    def end(self, container_id: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        container = self.containers[container_id]
        container.state = ContainerState.EXITED
        container.outcome = Outcome(exit_code, oom_killed, container.memory_limit_bytes, datetime.now(UTC))

    def begin_removal(self, container_id: str) -> None:
        self.containers[container_id].state = ContainerState.REMOVING

    # -- the port -------------------------------------------------------------------------------------------

    def info(self) -> EngineInfo:
        self._ask("info")
        return EngineInfo("28.2.2", ("/etc/cdi", "/var/run/cdi"), "runc", "1.3.6", "/var/lib/docker")

    def list_containers(self) -> list[Container]:
        self._ask("list_containers")
        return [self._describe(c) for c in self.containers.values() if c.devices or LABEL_LEDGER in c.labels]

    def read_log_tail(self, container_id: str, lines: int) -> str:
        self._ask("read_log_tail", container_id)
        container = self.containers.get(container_id)
        return "".join(container.log.splitlines(keepends=True)[-lines:]) if container else ""

    def locate(self, container_id: str) -> Address | None:
        self._ask("locate", container_id)
        container = self.containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return None
        return Address(f"http://192.0.2.1:8888/user/{container.name}/", "secret")

    def processor_seconds(self, container_id: str) -> float | None:
        self._ask("processor_seconds", container_id)
        container = self.containers.get(container_id)
        running = container is not None and container.state is ContainerState.RUNNING
        return container.processor_seconds if container and running else None

    def typed_at(self, container_id: str) -> datetime | None:
        self._ask("typed_at", container_id)
        container = self.containers.get(container_id)
        running = container is not None and container.state is ContainerState.RUNNING
        return container.typed_at if container and running else None

    def write_to_terminals(self, container_id: str, line: str) -> None:
        self._ask("write_to_terminals", container_id)
        container = self.containers.get(container_id)
        if container is not None and container.state is ContainerState.RUNNING:
            container.written.append(line)

    def stop(self, container_id: str, grace_seconds: int) -> None:
        self._ask("stop", container_id)
        container = self.containers.get(container_id)
        if container is not None and container.state is ContainerState.RUNNING:
            self.end(container_id, 143)
        self._after("stop")

    def remove(self, container_id: str) -> None:
        self._ask("remove", container_id)
        container = self.containers.get(container_id)
        if container is not None and container.state is not ContainerState.REMOVING:
            self.volumes -= container.anonymous_volumes
            del self.containers[container_id]
        self._after("remove")

    def _ask(self, point: str, *arguments: str) -> None:
        self.calls.append((point, *arguments))
        if point in self.failures:
            raise EngineError(f"The Docker Engine did not {point}: {self.failures[point]}.")

    def _after(self, point: str) -> None:
        if f"after {point}" in self.failures:
            raise EngineError(f"The Docker Engine did not {point}: {self.failures[f'after {point}']}.")

    def _describe(self, container: FakeContainer) -> Container:
        labels = container.labels
        ours = self.ledger_id is not None and labels.get(LABEL_LEDGER) == self.ledger_id
        written = (uuid for uuid in labels.get(LABEL_DEVICES, "").split(",") if uuid)
        return Container(
            id=container.id,
            name=container.name,
            state=container.state,
            lease_id=(labels.get(LABEL_LEASE) or None) if ours else None,
            owner=(labels.get(LABEL_OWNER) or None) if ours else None,
            devices=tuple(dict.fromkeys((*container.devices, *written))),
            outcome=container.outcome if ours else None,
        )
