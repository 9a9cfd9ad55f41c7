"""The same demands on the fake Engine and on a real one."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import docker
import pytest
from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.procfs import find_container
from gpuspawner.core.container import build_device_requests
from gpuspawner.core.errors import EngineError
from gpuspawner.core.model import Container, ContainerState
from gpuspawner.ports import ContainerEngine
from gpuspawner.sim import Simulation
from support.fake_engine import FakeEngine

IMAGE = "gpuspawner/base:latest"
MEMORY_LIMIT_BYTES = 32 * 1024 * 1024
LEDGER = "contract-ledger"


class Hand(Protocol):
    """What a hub and a person do to containers."""

    def create(self, labels: dict[str, str], script: str, devices: tuple[str, ...] = ()) -> str: ...
    def start(self, container_id: str) -> None: ...
    def volume_of(self, container_id: str) -> str: ...
    def has_volume(self, name: str) -> bool: ...
    def terminals_of(self, container_id: str) -> str: ...


class FakeHand:
    """Plays the script's part: the fake Engine runs nothing."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.scripts: dict[str, str] = {}

    def create(self, labels: dict[str, str], script: str, devices: tuple[str, ...] = ()) -> str:
        id_ = self.engine.create(f"c-{secrets.token_hex(3)}", labels, devices, MEMORY_LIMIT_BYTES)
        self.scripts[id_] = script
        self.engine.volumes.add(id_[:8])
        self.engine.containers[id_].anonymous_volumes.add(id_[:8])
        return id_

    def start(self, container_id: str) -> None:
        self.engine.start(container_id)
        script = self.scripts[container_id]
        if "echo" in script:
            self.engine.print(container_id, "one\ntwo\nthree\n")
        if "/dev/zero" in script:
            self.engine.end(container_id, 137, oom_killed=True)
        elif "exit 3" in script:
            self.engine.end(container_id, 3)

    def volume_of(self, container_id: str) -> str:
        return next(iter(self.engine.containers[container_id].anonymous_volumes))

    def has_volume(self, name: str) -> bool:
        return name in self.engine.volumes

    def terminals_of(self, container_id: str) -> str:
        return "".join(self.engine.containers[container_id].written)


class RealHand:
    """Containers on the Engine of this machine, with the settings that servers get."""

    def __init__(self) -> None:
        self.client = docker.APIClient(version="auto", **docker.utils.kwargs_from_env())
        self.made: list[str] = []

    def create(self, labels: dict[str, str], script: str, devices: tuple[str, ...] = ()) -> str:
        config = self.client.create_host_config(
            init=True,
            mem_limit=MEMORY_LIMIT_BYTES,
            memswap_limit=MEMORY_LIMIT_BYTES,
            device_requests=build_device_requests(devices),
        )
        id_: str = self.client.create_container(
            IMAGE, ["/bin/sh", "-c", script], labels=labels, host_config=config, volumes=["/scratch"]
        )["Id"]
        self.made.append(id_)
        return id_

    def start(self, container_id: str) -> None:
        self.client.start(container_id)

    def volume_of(self, container_id: str) -> str:
        return str(self.client.inspect_container(container_id)["Mounts"][0]["Name"])

    def has_volume(self, name: str) -> bool:
        return any(v["Name"] == name for v in self.client.volumes()["Volumes"] or ())

    def terminals_of(self, container_id: str) -> str:
        return self.run(container_id, "cat /tmp/terminal-*")

    def run(self, container_id: str, script: str) -> str:
        made = self.client.exec_create(container_id, ["/bin/sh", "-c", script])
        return bytes(self.client.exec_start(made["Id"])).decode()

    def close(self) -> None:
        for id_ in self.made:
            try:
                self.client.remove_container(id_, v=True, force=True)
            except docker.errors.NotFound:
                continue


Bench = tuple[ContainerEngine, Hand]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "fake":
        fake = FakeEngine(LEDGER)
        yield fake, FakeHand(fake)
        return
    hand = RealHand()
    yield DockerEngine(ledger_id=LEDGER), hand
    hand.close()


def labels(ledger: str = LEDGER, lease: str = "lease-1", devices: str = "") -> dict[str, str]:
    return {
        "gpuspawner.ledger": ledger,
        "gpuspawner.lease": lease,
        "gpuspawner.owner": "ana",
        "gpuspawner.server": "",
        "gpuspawner.devices": devices,
    }


def find(engine: ContainerEngine, container_id: str) -> Container | None:
    return next((c for c in engine.list_containers() if c.id == container_id), None)


def wait_for(
    engine: ContainerEngine, container_id: str, holds: Callable[[Container | None], bool]
) -> Container | None:
    deadline = time.monotonic() + 20
    while not holds(found := find(engine, container_id)):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def ended(container: Container | None) -> bool:
    return container is not None and container.state is ContainerState.EXITED


def test_info(bench: Bench) -> None:
    info = bench[0].info()
    assert int(info.version.split(".")[0]) >= 20
    assert info.cdi_spec_dirs
    assert info.default_runtime == "runc"
    assert info.runc_version[:1].isdigit()
    assert info.root_dir.startswith("/")


def test_ours_from_creation_to_removal(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(devices="GPU-a,GPU-b"), "sleep 60")
    created = find(engine, id_)
    assert created
    assert (created.state, created.lease_id, created.owner) == (ContainerState.CREATED, "lease-1", "ana")
    assert created.devices == ("GPU-a", "GPU-b")
    assert created.name
    assert "/" not in created.name
    hand.start(id_)
    running = find(engine, id_)
    assert running
    assert (running.state, running.outcome) == (ContainerState.RUNNING, None)
    engine.stop(id_, 1)
    wait_for(engine, id_, ended)  # the Engine's list may lag a moment behind its own answer
    engine.remove(id_)
    assert find(engine, id_) is None


def test_a_start_without_a_lease_is_ours_and_has_none(bench: Bench) -> None:
    engine, hand = bench
    found = find(engine, hand.create(labels(lease=""), "sleep 60"))
    assert found
    assert (found.lease_id, found.owner, found.devices) == (None, "ana", ())


def test_another_installation_is_shown_without_its_lease(bench: Bench) -> None:
    engine, hand = bench
    found = find(engine, hand.create(labels(ledger="another", devices="GPU-a"), "sleep 60"))
    assert found
    assert (found.lease_id, found.owner, found.devices) == (None, None, ("GPU-a",))


def test_a_container_that_is_nobody_s_and_has_no_gpu_is_left_out(bench: Bench) -> None:
    engine, hand = bench
    assert find(engine, hand.create({}, "sleep 60")) is None


def test_exit_code_limit_and_log_of_one_that_ended_by_itself(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(), "echo one; echo two; echo three; exit 3")
    hand.start(id_)
    found = wait_for(engine, id_, ended)
    assert found
    assert found.outcome
    assert (found.outcome.exit_code, found.outcome.oom_killed) == (3, False)
    assert found.outcome.memory_limit_bytes == MEMORY_LIMIT_BYTES
    assert found.outcome.finished_at
    assert abs(datetime.now(UTC) - found.outcome.finished_at) < timedelta(seconds=30)
    assert engine.read_log_tail(id_, 2) == "two\nthree\n"


def test_out_of_memory_of_the_server_under_an_init(bench: Bench) -> None:
    # docker-init is PID 1 here and lives on; the process that the kernel kills is its child.
    engine, hand = bench
    id_ = hand.create(labels(), "exec tail /dev/zero")
    hand.start(id_)
    found = wait_for(engine, id_, ended)
    assert found
    assert found.outcome
    assert (found.outcome.exit_code, found.outcome.oom_killed) == (137, True)


def test_remove_takes_anonymous_volumes_and_ends_a_running_one(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(), "sleep 60")
    hand.start(id_)
    volume = hand.volume_of(id_)
    assert hand.has_volume(volume)
    engine.remove(id_)
    assert find(engine, id_) is None
    assert not hand.has_volume(volume)


def test_processor_time_of_one_that_runs(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(), "for n in $(seq 20000); do :; done; sleep 60")
    assert engine.processor_seconds(id_) is None
    hand.start(id_)
    wait_for(engine, id_, lambda found: (engine.processor_seconds(found.id) or 0) > 0)
    engine.stop(id_, 1)
    assert engine.processor_seconds(id_) is None


TERMINAL = "script -qfc 'sleep 60' /tmp/terminal-{n} >/dev/null </dev/null & "
LINE = "*** Stopped at 15:40; $(touch /tmp/run) `touch /tmp/run` %s \\n 'a' \"b\" ***"


def test_a_line_in_terminals(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(), TERMINAL.format(n=1) + TERMINAL.format(n=2) + "wait")
    engine.write_to_terminals(id_, LINE)
    hand.start(id_)
    deadline = time.monotonic() + 20
    while LINE not in hand.terminals_of(id_):
        assert time.monotonic() < deadline, "no line came"
        engine.write_to_terminals(id_, LINE)
        time.sleep(0.5)
    engine.stop(id_, 1)
    engine.write_to_terminals(id_, LINE)


def test_what_is_gone_is_success(bench: Bench) -> None:
    engine, _ = bench
    gone = "0" * 64
    assert engine.processor_seconds(gone) is None
    engine.write_to_terminals(gone, "line")
    engine.stop(gone, 1)
    engine.remove(gone)
    assert engine.read_log_tail(gone, 10) == ""


def test_stopping_what_has_ended_is_success(bench: Bench) -> None:
    engine, hand = bench
    id_ = hand.create(labels(), "exit 3")
    hand.start(id_)
    wait_for(engine, id_, ended)
    engine.stop(id_, 1)


# -- the real Engine alone ----------------------------------------------------------------------------------


@pytest.fixture
def real() -> Iterator[tuple[DockerEngine, RealHand]]:
    hand = RealHand()
    yield DockerEngine(ledger_id=LEDGER), hand
    hand.close()


@pytest.mark.docker
def test_a_home_outlives_its_container(real: tuple[DockerEngine, RealHand]) -> None:
    engine, hand = real
    name = f"gpuspawner-contract-{secrets.token_hex(4)}"
    config = hand.client.create_host_config(
        mounts=[docker.types.Mount("/home/user", name, type="volume")], init=True
    )
    id_ = hand.client.create_container(IMAGE, ["/bin/sleep", "60"], labels=labels(), host_config=config)["Id"]
    hand.start(id_)
    engine.remove(id_)
    try:
        assert hand.has_volume(name)
    finally:
        hand.client.remove_volume(name)


@pytest.mark.docker
def test_cdi_device_of_a_stranger_is_seen(
    real: tuple[DockerEngine, RealHand], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    engine, hand = real
    simulation = Simulation.create(
        tmp_path / "sim",
        "1xl40s",
        instance=f"contract-{secrets.token_hex(3)}",
        build_dir=Path(request.config.cache.mkdir("sim-native")),
    )
    try:
        uuid = simulation.cards[0].uuid
        id_ = hand.create({}, "sleep 60", (uuid,))
        hand.start(id_)
        found = find(engine, id_)
        assert found
        assert (found.devices, found.lease_id, found.state) == ((uuid,), None, ContainerState.RUNNING)
    finally:
        hand.close()
        simulation.destroy()


@pytest.mark.docker
def test_a_line_is_in_each_terminal_and_one_that_takes_nothing_holds_up_none(
    real: tuple[DockerEngine, RealHand],
) -> None:
    engine, hand = real
    stuck = "script -qfc 'exec yes' /dev/null >/dev/null </dev/null & sleep 0.5; kill -STOP $!; "
    script = stuck + TERMINAL.format(n=1) + TERMINAL.format(n=2) + "touch /tmp/begun; wait"
    id_ = hand.create(labels(), script)
    hand.start(id_)
    ready = "test -e /tmp/begun && ls /tmp/terminal-1 /tmp/terminal-2 && ls /dev/pts/[0-9]* | wc -l"
    deadline = time.monotonic() + 20
    while not hand.run(id_, ready).endswith("3\n"):
        assert time.monotonic() < deadline, "three terminals never came"
        time.sleep(0.1)
    began = time.monotonic()
    engine.write_to_terminals(id_, LINE)
    assert time.monotonic() - began < 2
    while hand.terminals_of(id_).count(LINE) < 2:
        assert time.monotonic() < deadline, hand.terminals_of(id_)
        time.sleep(0.1)
    assert hand.run(id_, "ls /tmp/run").startswith("ls: cannot access"), "the line is no shell's"
    left = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c 'for [t]erminal in'"
    while hand.run(id_, left) != "0\n":
        assert time.monotonic() < deadline, "the one that is stuck is never left"
        time.sleep(0.2)


@pytest.mark.docker
def test_an_out_of_memory_kernel_long_before_a_good_end_is_not_the_cause(
    real: tuple[DockerEngine, RealHand],
) -> None:
    engine, hand = real
    id_ = hand.create(labels(), "(tail /dev/zero); sleep 1; exit 3")
    hand.start(id_)
    found = wait_for(engine, id_, ended)
    assert hand.client.inspect_container(id_)["State"]["OOMKilled"] is True
    assert found
    assert found.outcome
    assert (found.outcome.exit_code, found.outcome.oom_killed) == (3, False)


@pytest.mark.docker
def test_a_process_is_traced_to_its_container(real: tuple[DockerEngine, RealHand]) -> None:
    _, hand = real
    id_ = hand.create({}, "sleep 60")
    hand.start(id_)
    assert find_container(hand.client.inspect_container(id_)["State"]["Pid"]) == id_
    assert find_container(os.getpid()) != id_


@pytest.mark.docker
def test_a_second_list_inspects_nothing_again(real: tuple[DockerEngine, RealHand]) -> None:
    engine, hand = real
    id_ = hand.create(labels(), "sleep 60")
    hand.start(id_)
    engine.list_containers()
    asked: list[str] = []
    inspect = engine._client.inspect_container  # type: ignore[union-attr]

    def counted(container_id: str) -> Any:
        asked.append(container_id)
        return inspect(container_id)

    engine._client.inspect_container = counted  # type: ignore[union-attr,method-assign]
    assert find(engine, id_)
    assert id_ not in asked


# -- an Engine that gives no answer -------------------------------------------------------------------------


def ask_everything(engine: ContainerEngine) -> Iterator[Callable[[], object]]:
    yield engine.info
    yield engine.list_containers
    yield lambda: engine.read_log_tail("0" * 64, 1)
    yield lambda: engine.write_to_terminals("0" * 64, "line")
    yield lambda: engine.stop("0" * 64, 1)
    yield lambda: engine.remove("0" * 64)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


def test_an_engine_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    for ask in ask_everything(DockerEngine(f"unix://{tmp_path}/nothing.sock", ledger_id=LEDGER)):
        with pytest.raises(EngineError, match=r"cannot be reached \(No such file or directory\)"):
            ask()


def test_an_engine_that_is_deaf_proves_nothing(deaf_port: int) -> None:
    engine = DockerEngine(f"tcp://127.0.0.1:{deaf_port}", timeout_seconds=1, ledger_id=LEDGER)
    with pytest.raises(EngineError, match=r"within 1 s"):
        engine.list_containers()


def test_the_fake_fails_where_it_is_told_to() -> None:
    engine = FakeEngine(LEDGER)
    for point in ("info", "list_containers", "read_log_tail", "write_to_terminals", "stop", "remove"):
        engine.fail(point)
    for ask in ask_everything(engine):
        with pytest.raises(EngineError):
            ask()
    with pytest.raises(LookupError):
        engine.fail("lunch")
