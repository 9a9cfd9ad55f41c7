"""The tick, its steps, and the step that ends sessions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Sessions
from gpuspawner.controller.ends import AGAIN_SECONDS, EndSessions, SteadyClock
from gpuspawner.controller.loop import Tick, Ticking, TickReport
from gpuspawner.core.errors import HubError, LedgerError
from gpuspawner.core.model import LeaseState
from support.build import HOST, NOW, lease
from support.fake_hub import FakeHub


def raising(error: Exception) -> Callable[[], Iterable[str]]:
    def step() -> Iterable[str]:
        raise error

    return step


def test_a_step_that_fails_keeps_no_other_from_being_taken() -> None:
    taken: list[str] = []

    def fine() -> Iterable[str]:
        taken.append("fine")
        return ["a small problem"]

    report = Tick(
        [("a", raising(LedgerError("The ledger is away."))), ("b", raising(RuntimeError("bug"))), ("c", fine)]
    ).run()
    assert taken == ["fine"]
    assert report.failed == ("a", "b")
    assert report.problems == (
        "The ledger is away.",
        "The step b failed unexpectedly: RuntimeError: bug",
        "a small problem",
    )
    assert report.seconds >= 0


def test_it_stops_between_two_steps() -> None:
    stop = threading.Event()

    def last() -> Iterable[str]:
        stop.set()
        return ()

    report = Tick([("last", last), ("never", raising(AssertionError()))]).run(stop.is_set)
    assert report.failed == ()


def test_ticking(caplog: pytest.LogCaptureFixture) -> None:
    enough = threading.Event()
    reports: list[TickReport] = []
    finished: list[float] = []

    def observe(report: TickReport) -> None:
        reports.append(report)
        if len(reports) == 3:
            enough.set()

    tick = Tick([("a", raising(LedgerError("The ledger is away.")))], finish=finished.append)
    ticking = Ticking(tick, 0.001, observe)
    ticking.start()
    assert enough.wait(10)
    assert ticking.stop(10)
    assert finished == [10]
    assert ticking.silent_seconds < 10
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert told == ["The ledger is away."], "once, however often it happens"


def test_a_step_that_hangs_is_not_waited_for_for_ever() -> None:
    go, entered = threading.Event(), threading.Event()

    def hang() -> Iterable[str]:
        entered.set()
        go.wait(10)
        return ()

    ticking = Ticking(Tick([("hang", hang)]), 0.001, lambda report: None)
    ticking.start()
    assert entered.wait(10)
    assert not ticking.stop(0.01)
    go.set()
    assert ticking.stop(10)


def test_silence_is_measured() -> None:
    now = 100.0
    ticking = Ticking(Tick([]), 1, lambda report: None, lambda: now)
    now = 170.0
    assert ticking.silent_seconds == 70


# -- ends of sessions ---------------------------------------------------------------------------------------


class House:
    """One session that ends in 20 minutes, and a clock of the host beside one that only goes forward."""

    def __init__(self, folder: Path) -> None:
        self.now, self.ticks = NOW, 0.0
        self.ledger = Ledger(folder / "ledger.db")
        self.hub = FakeHub(people={"ada": frozenset()})
        with self.ledger.write() as unit:
            unit.add_lease(
                lease(LeaseState.ACTIVE, ends_at=NOW + timedelta(minutes=20), end_reason="a lecture follows")
            )
        self.step = self.new_controller()

    def new_controller(self) -> EndSessions:
        sessions = Sessions(self.ledger, HOST, self.clock)
        steady = SteadyClock(self.clock, self.monotonic)
        self.step = EndSessions(sessions, self.hub, steady, monotonic=self.monotonic)
        return self.step

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def tick(self, minutes: float = 0) -> list[str]:
        """Let time pass, look, and wait for what was begun."""
        self.now += timedelta(minutes=minutes)
        self.ticks += minutes * 60
        problems = list(self.step())
        self.step.finish(10)
        return problems

    @property
    def messages(self) -> list[str]:
        with self.ledger.read() as unit:
            return [one.text.partition(":")[0] for one in reversed(unit.messages_for("ada"))]

    @property
    def stops(self) -> int:
        return self.hub.calls.count(("stop_server", "ada", ""))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_warnings_and_the_end(house: House) -> None:
    for _ in range(42):
        house.tick(0.5)
        if house.now < NOW + timedelta(minutes=20):
            assert house.stops == 0
    assert house.messages == [
        "Your session ends in 15 min, at 12",
        "Your session ends in 5 min, at 12",
        "Your session ends in 1 min, at 12",
        "Your session was ended",
    ]


def test_a_stop_that_fails_is_told_and_tried_again_after_a_while(house: House) -> None:
    house.tick(19)
    house.hub.fail("stop_server")
    house.tick(1)
    assert house.stops == 1
    (problem,) = house.tick(AGAIN_SECONDS / 60 - 0.1)
    assert problem == "Session lease1 could not be stopped: The Hub gives no answer: no answer within 20 s."
    assert house.stops == 1
    house.tick(0.2)
    assert house.stops == 2
    assert house.messages.count("Your session was ended") == 1


def test_a_controller_that_was_away_over_the_end_warns_before_it_stops(house: House) -> None:
    house.now += timedelta(hours=3)
    house.new_controller()
    house.tick()
    assert house.messages == ["Your session ends in 1 min, at 15"]
    house.tick(0.9)
    assert house.stops == 0
    house.tick(0.2)
    assert house.stops == 1


def test_a_restart_gives_no_warning_twice(house: House) -> None:
    house.tick(6)
    house.new_controller()
    house.tick(0.1)
    assert len(house.messages) == 1


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_and_comes_back_stops_nobody(house: House, hours: int) -> None:
    house.tick(5)
    house.now += timedelta(hours=hours)
    for _ in range(5):
        house.tick(1)
    assert house.stops == 0
    house.now -= timedelta(hours=hours)
    for _ in range(9):
        house.tick(1)
    assert house.stops == 0, "19 minutes have passed"


def test_a_clock_that_was_set_for_good_is_believed_in_the_end(house: House) -> None:
    house.tick(6)
    house.now += timedelta(hours=1)
    for _ in range(14):
        house.tick(1)
    assert house.stops == 0
    for _ in range(4):
        house.tick(1)
    assert house.stops


def test_at_the_end_of_the_process_hanging_stops_are_left(house: House) -> None:
    go = threading.Event()

    def hang(user: str, server: str) -> None:
        go.wait(10)
        raise HubError("late")

    house.tick(19)
    house.hub.stop_server = hang  # type: ignore[method-assign]
    house.now += timedelta(minutes=1)
    house.ticks += 60
    house.step()
    house.step.finish(0.01)
    go.set()
