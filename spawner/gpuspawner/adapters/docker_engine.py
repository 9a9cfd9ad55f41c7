"""The Docker Engine, as far as the agent needs it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env
from requests.exceptions import RequestException, Timeout
from urllib3.exceptions import HTTPError

from gpuspawner.core.container import CDI_KIND, LABEL_DEVICES, LABEL_LEASE, LABEL_LEDGER, LABEL_OWNER
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import Container, ContainerState, Outcome
from gpuspawner.core.words import mark
from gpuspawner.ports import Address, EngineInfo

from .docker_exec import hear

ALL_DEVICES = ("all",)

_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
    "exited": ContainerState.EXITED,
    "dead": ContainerState.EXITED,
    "removing": ContainerState.REMOVING,
}

_UUID = re.compile(r"(GPU|MIG)-[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CARD_NODE = re.compile(r"/dev/(nvidia\d|nvidia-caps)|/dev/?$")
_NO_DEVICES = frozenset({"", "void", "none"})
_MOST_LOG_BYTES = 64 * 1024
_KILLED = 128 + 9
"""Exit code of a process that ended by SIGKILL, which docker-init passes on."""
_FLAG_TAKES_SECONDS = 1.0
"""Time from a container's end until its OOM flag is set, if it will be."""


_INTO_TERMINALS = """
n=0
for terminal in /dev/pts/[0-9]*; do
    n=$((n + 1))
    [ -w "$terminal" ] && [ "$n" -le 50 ] || continue
    timeout 2 printf '\\r\\n%s\\r\\n' "$1" >"$terminal" &
done
wait
"""
"""Each by itself and for two seconds at most: a terminal that was stopped (Ctrl-S) takes nothing."""


_WHEN_TYPED = "timeout 2 stat -c %X /dev/pts/[0-9]* 2>/dev/null | head -c 4000"
"""What is typed into a terminal is read from it by whatever runs there: the kernel notes when, every 8 s."""
_TYPED_SECONDS = 5.0
_MOST_TYPED_BYTES = 16 * 1024
_MOST_DIGITS = 11
"""Of a time: to the year 5138. Who works in there may say anything."""


class DockerEngine:
    """Implements :class:`gpuspawner.ports.ContainerEngine`.

    Nothing is contacted before the first call.

    Args:
        base_url: Where the Engine listens; None for ``DOCKER_HOST`` or else the usual socket.
        timeout_seconds: How long one answer may take.
        ledger_id: Containers with this ledger's label are ours; all others are strangers, whatever lease
            they name. None for an observer that owns none.
    """

    def __init__(
        self, base_url: str | None = None, timeout_seconds: int = 10, ledger_id: str | None = None
    ) -> None:
        self._base_url = base_url
        self._timeout = timeout_seconds
        self._ledger_id = ledger_id
        self._client: APIClient | None = None
        self._devices: dict[str, tuple[str, ...]] = {}
        """By container id. What a container was given never changes, so it is inspected once."""

    def info(self) -> EngineInfo:
        """Describe the Engine."""
        with self._asking(mark("describe itself")) as client:
            info = client.info()
            version = client.version()
        components = {c.get("Name"): c.get("Version", "") for c in version.get("Components") or ()}
        return EngineInfo(
            version=str(version["Version"]),
            cdi_spec_dirs=tuple(info.get("CDISpecDirs") or ()),
            default_runtime=str(info.get("DefaultRuntime", "")),
            runc_version=str(components.get("runc", "")),
            root_dir=str(info.get("DockerRootDir", "")),
        )

    def list_containers(self) -> list[Container]:
        """List every container, in any state, that carries our label or may use a GPU.

        A privileged container that asks for no GPU is left out: it might reach the cards, as root on the host
        might, and once it does, its process is seen on the card.
        """
        with self._asking(mark("list the containers")) as client:
            listed = client.containers(all=True)
            found = [self._describe(client, summary) for summary in listed]
        present = {summary["Id"] for summary in listed}
        self._devices = {id_: devices for id_, devices in self._devices.items() if id_ in present}
        return [container for container in found if container is not None]

    def read_log_tail(self, container_id: str, lines: int) -> str:
        """Return the last lines that a container printed; empty when it is gone or keeps no log."""
        with self._asking(mark("read a container's log")) as client:
            try:
                log: bytes = client.logs(container_id, tail=lines)
            except NotFound:
                return ""
            except APIError as error:
                if "does not support reading" in str(error.explanation):
                    return ""
                raise
        return log[-_MOST_LOG_BYTES:].decode(errors="replace")

    def locate(self, container_id: str) -> Address | None:
        """Where the server in a container listens; None when it is gone, ended, or in no network."""
        with self._asking(mark("say where a server listens")) as client:
            try:
                found = client.inspect_container(container_id)
            except NotFound:
                return None
            variables = dict(entry.partition("=")[::2] for entry in found["Config"]["Env"] or ())
            networks = found["NetworkSettings"]["Networks"] or {}
        address = next((one["IPAddress"] for one in networks.values() if one.get("IPAddress")), None)
        token, listens = variables.get("JUPYTERHUB_API_TOKEN"), variables.get("JUPYTERHUB_SERVICE_URL", "")
        parts = urlsplit(listens)
        if not (found["State"]["Running"] and address and token and parts.port):
            return None
        return Address(f"http://{address}:{parts.port}{parts.path}", token)

    def processor_seconds(self, container_id: str) -> float | None:
        """Processor time that a container has taken so far; None when it is gone, ended, or not measured."""
        with self._asking(mark("say what a container uses")) as client:
            try:
                # At once: without it, the Engine waits for a second look of its own.
                found = client.stats(container_id, stream=False, one_shot=True)
            except NotFound:
                return None
            taken: int = found["cpu_stats"]["cpu_usage"]["total_usage"]
        return taken / 1e9 if taken else None

    def typed_at(self, container_id: str) -> datetime | None:
        """When something was last typed into a terminal of a container, to some seconds; None for never."""
        with self._asking(mark("look at terminals")) as client:
            try:
                made = client.exec_create(container_id, ["/bin/sh", "-c", _WHEN_TYPED], stderr=False)
                said = hear(client, made["Id"], seconds=_TYPED_SECONDS, most_bytes=_MOST_TYPED_BYTES)
            except NotFound:
                return None
            except APIError as error:
                if error.status_code != 409:  # it has ended, or is paused
                    raise
                return None
        times = [int(one) for one in said.split() if one.isdigit() and len(one) <= _MOST_DIGITS]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def write_to_terminals(self, container_id: str, line: str) -> None:
        """Write a line into every terminal that is open in a container, as its own user.

        It is handed over as an argument, so that no shell reads it. The Engine waits for nothing: who works
        in there may have changed what runs, and how long that takes.
        """
        with self._asking(mark("write into terminals")) as client:
            try:
                made = client.exec_create(
                    container_id, ["/bin/sh", "-c", _INTO_TERMINALS, "sh", line], stdout=False, stderr=False
                )
                client.exec_start(made["Id"], detach=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409:  # it has ended, or is paused
                    raise

    def stop(self, container_id: str, grace_seconds: int) -> None:
        """End a container; one that is gone or has ended is success."""
        with self._asking(mark("stop a container")) as client:
            try:
                client.stop(container_id, timeout=grace_seconds)
            except NotFound:
                return

    def remove(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes; one that is gone or going is success."""
        with self._asking(mark("remove a container")) as client:
            try:
                client.remove_container(container_id, v=True, force=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409 or "in progress" not in str(error.explanation):
                    raise

    @contextmanager
    def _asking(self, what: str) -> Iterator[APIClient]:
        """Turn everything that can go wrong with an answer into one sentence."""
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except APIError as error:
            why = error.explanation or error
            raise EngineError(
                f"The Docker Engine did not {what}: {str(why).strip()} (HTTP {error.status_code})."
            ) from error
        except (DockerException, RequestException, HTTPError, OSError) as error:
            reason = self._explain(error)
            raise EngineError(f"The Docker Engine did not {what}: {reason}.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"The Docker Engine did not {what}: its answer makes no sense.") from error

    def _explain(self, error: BaseException) -> str:
        """What is under three libraries' wrappings, in words."""
        inner: BaseException | None = error
        while inner is not None:
            if isinstance(inner, Timeout):
                return mark(f"no answer within {self._timeout} s")
            if isinstance(inner, OSError) and inner.strerror:
                return mark(f"it cannot be reached ({inner.strerror})")
            inner = inner.__cause__ or inner.__context__
        return mark(f"it cannot be reached ({error})")

    def _connect(self) -> APIClient:
        where = {"base_url": self._base_url} if self._base_url else kwargs_from_env()
        return APIClient(version="auto", timeout=self._timeout, **where)

    def _describe(self, client: APIClient, summary: Mapping[str, Any]) -> Container | None:
        id_ = summary["Id"]
        labels = summary.get("Labels") or {}
        state = _STATES[summary["State"]]
        ours = self._ledger_id is not None and labels.get(LABEL_LEDGER) == self._ledger_id
        details: Mapping[str, Any] | None = None
        if id_ not in self._devices or (ours and state is ContainerState.EXITED):
            try:
                details = client.inspect_container(id_)
            except NotFound:  # it went after the list was made
                return None
            except APIError:
                if ours or state is ContainerState.RUNNING:
                    raise
                return (
                    None  # somebody else's, ended, and damaged: it holds no card and must not hide the rest
                )
            self._devices[id_] = find_devices(details)
        devices = self._devices[id_]
        labelled = LABEL_LEDGER in labels
        if not devices and not labelled:
            return None
        if labelled:
            written = [uuid for uuid in labels.get(LABEL_DEVICES, "").split(",") if uuid]
            devices = tuple(dict.fromkeys((*devices, *written)))
        outcome = None
        if ours and details is not None and state is ContainerState.EXITED:
            outcome = self._settle_outcome(client, id_, read_outcome(details))
        return Container(
            id=id_,
            name=(summary.get("Names") or [id_[:12]])[0].lstrip("/"),
            state=state,
            lease_id=(labels.get(LABEL_LEASE) or None) if ours else None,
            owner=(labels.get(LABEL_OWNER) or None) if ours else None,
            devices=devices,
            outcome=outcome,
        )

    @staticmethod
    def _settle_outcome(client: APIClient, id_: str, outcome: Outcome) -> Outcome:
        """Wait for the OOM flag of one that was killed just now.

        The Engine learns of the end and of the lack of memory by two messages; the second may come later, by
        up to 0.1 s on a machine under load.
        """
        deadline = time.monotonic() + _FLAG_TAKES_SECONDS
        while (
            outcome.exit_code == _KILLED
            and not outcome.oom_killed
            and outcome.finished_at is not None
            and (datetime.now(UTC) - outcome.finished_at).total_seconds() < _FLAG_TAKES_SECONDS
            and time.monotonic() < deadline
        ):
            time.sleep(_FLAG_TAKES_SECONDS / 20)
            try:
                outcome = read_outcome(client.inspect_container(id_))
            except NotFound:
                break
        return outcome


def find_devices(details: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which GPUs a container was given, by whatever way.

    Args:
        details: Docker's inspection of it.

    Returns:
        UUIDs; ``("all",)`` when it may use every card, and also when it names cards by index or by a short
        UUID: which ones these are depends on the driver's mood at its start.
    """
    config, host = details.get("Config") or {}, details.get("HostConfig") or {}
    named: list[str] = []
    for request in host.get("DeviceRequests") or ():
        named += _requested(request)
    if str(host.get("Runtime") or "").startswith("nvidia"):
        named += _visible(config.get("Env") or ())
    nodes = [device.get("PathOnHost") or "" for device in host.get("Devices") or ()]
    if any(_CARD_NODE.match(node) for node in nodes):
        named.append("all")
    if any(not _UUID.fullmatch(name) for name in named):
        return ALL_DEVICES
    return tuple(dict.fromkeys(named))


def _requested(request: Mapping[str, Any]) -> list[str]:
    ids = list(request.get("DeviceIDs") or ())
    if request.get("Driver") == "cdi":
        return [id_.partition("=")[2] for id_ in ids if id_.startswith(f"{CDI_KIND}=")]
    capabilities = {c for together in request.get("Capabilities") or () for c in together}
    if request.get("Driver") == "nvidia" or capabilities & {"gpu", "nvidia"}:
        return ids or ["all"]
    return []


def _visible(environment: Iterable[str]) -> list[str]:
    value = ""
    for line in environment:
        name, _, text = line.partition("=")
        if name == "NVIDIA_VISIBLE_DEVICES":
            value = text
    return [] if value in _NO_DEVICES else [id_.removeprefix(f"{CDI_KIND}=") for id_ in value.split(",")]


def read_outcome(details: Mapping[str, Any]) -> Outcome:
    """How an ended container ended, from Docker's inspection of it; the log tail is not part of that.

    Docker's OOM flag says that memory ran out for *some* process while the container ran, also under
    ``init: true``, where the one that was killed is not PID 1. A notebook kernel may have been killed hours
    before its server ended well, so the exit code must tell of a kill too.
    """
    state, host = details.get("State") or {}, details.get("HostConfig") or {}
    return Outcome(
        exit_code=state.get("ExitCode"),
        oom_killed=bool(state.get("OOMKilled")) and state.get("ExitCode") == _KILLED,
        memory_limit_bytes=host.get("Memory") or None,
        finished_at=_parse_time(state.get("FinishedAt") or ""),
        error=state.get("Error") or "",
    )


def _parse_time(text: str) -> datetime | None:
    """Docker's time, which has nanoseconds; its year 1 means *never*."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:\d\d)", text)
    if found is None or text.startswith("0001"):
        return None
    return datetime.fromisoformat(f"{found[1]}{found[2] or ''}{found[3].replace('Z', '+00:00')}")
