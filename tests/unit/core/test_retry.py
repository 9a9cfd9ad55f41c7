from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.retry import LONGEST_PAUSE, find_next_try, left_until_next_try
from support.build import NOW, ticket


@pytest.mark.parametrize(("failures", "seconds"), [(1, 15), (2, 30), (3, 60), (5, 240), (6, 300), (99, 300)])
def test_each_pause_is_twice_the_one_before(failures: int, seconds: int) -> None:
    assert find_next_try(failures, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "left"), [(None, None), (-1, None), (0, None), (7, 7), (300, 300), (301, None)]
)
def test_what_is_left_of_a_pause(seconds: int | None, left: int | None) -> None:
    """More than the longest pause ahead means that the clock was set back: nobody waits for that."""
    paused = ticket(1, not_before=None if seconds is None else NOW + timedelta(seconds=seconds))
    assert left_until_next_try(paused, NOW) == (None if left is None else timedelta(seconds=left))
    assert timedelta(seconds=300) == LONGEST_PAUSE
