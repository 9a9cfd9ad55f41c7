"""Whether people who paused come to use their GPUs, counted by hand."""

from __future__ import annotations

from gpuspawner.simulate.habits import Habits, find_habits
from support.traces import ms, trace

WHAT = trace(
    ("never", 0, 100, 1, []),
    ("too short to say", 0, 30, 1, []),
    ("late", 10, 200, 1, [(60, 70), (90, 100), (150, 160)]),
    ("at once", 0, 100, 1, [(0, 10), (50, 60)]),
)
"""Two without work for more than 30 minutes at first, one of which begins. Pauses of more than 30 after work:
50 (back), 40 (stop); 40 (back), 40 (stop)."""


def test_who_begins_late_and_who_comes_back() -> None:
    assert find_habits(WHAT, ms(30)) == Habits(begin_late=0.5, come_back=0.5)
    assert find_habits(WHAT, ms(45)) == Habits(begin_late=0.5, come_back=1.0)


def test_of_nobody_there_is_no_part() -> None:
    assert find_habits(trace(("a", 0, 10, 1, [(0, 5)])), ms(30)) == Habits(None, None)
