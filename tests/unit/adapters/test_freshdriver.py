"""A new process is asked now and then what it finds of the driver."""

from __future__ import annotations

import pytest
from gpuspawner.adapters.freshdriver import ANSWER_WITHIN_SECONDS, ASK_EVERY_SECONDS, FreshDriver
from support.fake_probe import FakeProbe


class Answer:
    def __init__(self) -> None:
        self.status: int | None = None
        self.killed = 0

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed += 1


class Asking:
    """A probe with a clock of its own and the processes that it started."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers: list[Answer] = []
        self.fails = False
        self.cards = FakeProbe(cards=2)
        self.probe = FreshDriver(self.cards, self.ask, lambda: self.now)

    def ask(self) -> Answer:
        if self.fails:
            raise OSError
        self.answers.append(Answer())
        return self.answers[-1]

    def look(self, after: float = ASK_EVERY_SECONDS) -> bool:
        self.now += after
        report = self.probe.look()
        assert len(report.devices) == 2
        return report.driver_replaced


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_it_asks_at_its_time_and_one_at_a_time(asking: Asking) -> None:
    assert asking.look(0) is False
    asking.look(ASK_EVERY_SECONDS - 1)
    assert asking.answers == []
    for _ in range(3):
        asking.look()
    assert len(asking.answers) == 1


def test_only_a_clear_answer_changes_what_is_known(asking: Asking) -> None:
    told = []
    for status in (0, 18, 1, -9, 0):
        asking.look()
        asking.answers[-1].status = status
        told.append(asking.look(1))
    assert told == [False, True, True, True, False]


def test_one_that_hangs_is_killed_and_hides_nothing(asking: Asking) -> None:
    asking.look()
    asking.look(ANSWER_WITHIN_SECONDS)
    assert asking.answers[0].killed == 0
    asking.look(1)
    assert asking.answers[0].killed == 1
    asking.answers[0].status = -9
    asking.look()
    assert len(asking.answers) == 2


def test_one_that_cannot_be_started_says_nothing(asking: Asking) -> None:
    asking.fails = True
    assert asking.look() is False


def test_what_the_probe_says_by_itself_stands(asking: Asking) -> None:
    asking.cards.driver_replaced = True
    assert asking.look() is True
