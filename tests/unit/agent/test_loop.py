from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from gpuspawner.adapters.process import REPEAT_SECONDS, Complaints
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.agent import command
from gpuspawner.agent.loop import run_loop
from gpuspawner.agent.tick import TickReport
from gpuspawner.allocator import utc_now
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import LeaseState

if TYPE_CHECKING:
    from .conftest import House


class Scripted:
    """A keeper whose ticks do what they are told, and which stops the loop after the last."""

    def __init__(self, stop: threading.Event, *ticks: object) -> None:
        self.stop = stop
        self.ticks = list(ticks)
        self.finished = False

    def tick(self, stopping) -> TickReport:
        now = self.ticks.pop(0)
        if not self.ticks:
            self.stop.set()
        if isinstance(now, Exception):
            raise now
        return TickReport((), (str(now),) if now else ())

    def finish(self, wait_seconds: float) -> None:
        self.finished = True


def run(*ticks: object) -> Scripted:
    stop = threading.Event()
    keeper = Scripted(stop, *ticks)
    run_loop(lambda: keeper, stop, tick_seconds=0.001)
    return keeper


def test_a_tick_that_fails_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    full = LedgerError("The ledger is full.\nReally.")
    keeper = run(full, full, RuntimeError("bug"), "The Engine is down.", "The Engine is down.", None)
    assert keeper.ticks == []
    assert keeper.finished
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "The ledger is full. Really.",
        "A tick failed unexpectedly: RuntimeError: bug",
        "The Engine is down.",
    ]


def test_a_ledger_that_comes_late(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    keeper = Scripted(stop, None)
    makers = iter([LedgerError("It is not there."), keeper])

    def make():
        made = next(makers)
        if isinstance(made, Exception):
            raise made
        return made

    run_loop(make, stop, tick_seconds=0.001)
    assert keeper.finished
    assert "It is not there." in caplog.text


def test_a_problem_that_lasts_is_told_again() -> None:
    now = 0.0
    complaints = Complaints(logging.getLogger("test"), lambda: now)
    assert complaints.tell("x")
    now = REPEAT_SECONDS - 1
    assert not complaints.tell("x")
    now = REPEAT_SECONDS + 1
    assert complaints.tell("x")


@pytest.fixture
def agent(house: House, monkeypatch: pytest.MonkeyPatch):
    """The command, on the house and in the real present."""
    monkeypatch.setattr(
        command, "DockerEngine", lambda ledger_id: {house.engine.ledger_id: house.engine}[ledger_id]
    )
    monkeypatch.setattr(command, "NvmlProbe", lambda host: house.probe)
    monkeypatch.setattr(house.probe, "_clock", utc_now)

    def call(*arguments: str):
        return CliRunner().invoke(
            command.agent, ["--ledger", str(house.ledger.path), "--host", "gpu1", *arguments]
        )

    return call


def test_once_goes_on_until_nothing_follows(house: House, agent) -> None:
    lease, container = house.run()
    house.engine.end(container, 1)
    result = agent("--once")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "container.collected",
        "lease.released",
    ]
    assert house.state(lease) is LeaseState.RELEASED
    assert agent("--once").output == ""


def test_once_tells_what_could_not_be_done(house: House, agent) -> None:
    house.engine.fail("list_containers", "server error (HTTP 500)")
    result = agent("--once")
    assert result.exit_code == 1
    assert "Error: The Docker Engine did not list_containers: server error (HTTP 500)." in result.output


def test_a_second_agent_is_refused(house: House, agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuspawner.adapters.runlock._PATIENCE_SECONDS", 0)
    lock = RunLock(Path(f"{house.ledger.path}.agent.lock"), "agent")
    result = agent("--once")
    assert result.exit_code == 1
    assert "Another agent already works on this ledger" in result.output
    lock.release()
    assert agent("--once").exit_code == 0


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    result = CliRunner().invoke(command.agent, ["--ledger", str(tmp_path / "no" / "ledger.db"), "--once"])
    assert result.exit_code == 1
    assert "does not exist; create it." in result.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(tmp_path: Path, number: int) -> None:
    code = "from gpuspawner.agent.command import agent; agent()"
    arguments = ["--ledger", str(tmp_path / "ledger.db"), "--tick", "0.1"]
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr
    told = process.stderr.readline()
    assert "The Docker Engine did not list the containers" in told
    process.send_signal(number)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
