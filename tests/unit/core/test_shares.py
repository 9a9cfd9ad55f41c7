"""Decayed GPU-seconds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.claims import Standing
from gpuspawner.core.shares import HALF_LIFE, accrue, decay, find_present_use
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW

HOUR = timedelta(hours=1)
NOBODY = Standing(0, NOW)
SECONDS = st.floats(0, 60 * 86400)
AMOUNTS = st.floats(0, 1e7)


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("age", "left"),
    [
        (timedelta(0), 1000),
        (HALF_LIFE, 500),
        (2 * HALF_LIFE, 250),
        (HALF_LIFE / 2, 707.1068),
        (timedelta(days=4000), 0),
        (-HOUR, 1000),
    ],
    ids=str,
)
def test_decay(age: timedelta, left: float) -> None:
    found = decay(Standing(1000, NOW), NOW + age)
    assert found.gpu_seconds == pytest.approx(left)
    assert found.at == NOW + age


@given(AMOUNTS, SECONDS, SECONDS)
def test_decay_in_two_steps_is_decay_in_one(amount: float, first: float, second: float) -> None:
    at_once = decay(Standing(amount, NOW), after(first + second))
    in_steps = decay(decay(Standing(amount, NOW), after(first)), after(first + second))
    assert in_steps.gpu_seconds == pytest.approx(at_once.gpu_seconds, abs=1e-6)


def test_what_was_used_just_now_counts_whole() -> None:
    assert accrue(NOBODY, 20, NOW, after(10)).gpu_seconds == pytest.approx(20, rel=1e-5)
    assert accrue(NOBODY, 20, NOW, NOW) == Standing(20, NOW)


def test_use_of_one_device_over_a_half_life() -> None:
    """The integral of 2 ** (-s / H) from 0 to H is H / (2 ln 2)."""
    used = HALF_LIFE.total_seconds()
    assert accrue(NOBODY, used, NOW, NOW + HALF_LIFE).gpu_seconds == pytest.approx(used * 0.7213475)


def test_somebody_who_always_holds_one_device_comes_to_ten_days() -> None:
    """The integral to infinity is H / ln 2: 10.1 days of a device for every device that is held for ever."""
    standing = NOBODY
    for day in range(365):
        standing = accrue(standing, 86400, after(day * 86400), after((day + 1) * 86400))
    assert standing.gpu_seconds / 86400 == pytest.approx(10.099, rel=1e-3)


@given(AMOUNTS, st.floats(0, 64), SECONDS, SECONDS)
def test_use_in_two_parts_is_use_in_one(before: float, rate: float, first: float, second: float) -> None:
    start = Standing(before, NOW)
    middle, end = after(first), after(first + second)
    one = rate * (middle - NOW).total_seconds()
    two = rate * (end - middle).total_seconds()
    at_once = accrue(start, one + two, NOW, end)
    in_parts = accrue(accrue(start, one, NOW, middle), two, middle, end)
    assert in_parts.at == at_once.at == end
    assert in_parts.gpu_seconds == pytest.approx(at_once.gpu_seconds, rel=1e-9, abs=1e-6)


@given(AMOUNTS, AMOUNTS, SECONDS, SECONDS)
def test_the_order_of_two_sessions_does_not_matter(one: float, two: float, first: float, last: float) -> None:
    short = (one, NOW, after(first))
    long = (two, NOW, after(last))
    found = accrue(accrue(NOBODY, *short), *long), accrue(accrue(NOBODY, *long), *short)
    assert found[0].at == found[1].at
    assert found[0].gpu_seconds == pytest.approx(found[1].gpu_seconds, rel=1e-9, abs=1e-6)


@given(AMOUNTS, AMOUNTS, SECONDS, SECONDS)
def test_use_never_counts_more_than_it_was(before: float, amount: float, since: float, until: float) -> None:
    """In whatever order the times are: a clock that jumps makes nothing of nothing, and nothing negative."""
    found = accrue(Standing(before, NOW), amount, after(since), after(until))
    assert 0 <= found.gpu_seconds <= (before + amount) * (1 + 1e-9)
    assert accrue(Standing(before, NOW), -amount, after(since), after(until)).gpu_seconds <= before


def test_a_clock_that_was_set_back() -> None:
    used = accrue(NOBODY, 3600, NOW, NOW + HOUR)
    back = decay(used, NOW)
    assert back == Standing(used.gpu_seconds, NOW)
    again = accrue(back, 10, NOW + HOUR, NOW)
    assert again.gpu_seconds == used.gpu_seconds + 10


def test_present_use() -> None:
    assert find_present_use(None, NOW) == 0
    assert find_present_use(Standing(1000, NOW - HALF_LIFE), NOW) == 500
    assert find_present_use(Standing(1000, NOW + HALF_LIFE), NOW) == 1000  # the clock was set back
