from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.idleness import IdleLimits, IdleVerdict, Step, choose_idle_limit, judge_idle
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, ago

LIMITS = IdleLimits()


def minutes(amount: float) -> timedelta:
    return timedelta(minutes=amount)


def judge(idle: float, *, demanded=False, warned: float | None = None, limits=LIMITS, **more: int):
    """Idle for so many minutes, warned so many minutes ago: the step, and minutes from now to what comes."""
    verdict = judge_idle(
        ago(60 * idle),
        NOW,
        demanded=demanded,
        limits=limits,
        warned_at=None if warned is None else ago(60 * warned),
        **more,
    )
    return verdict.step, None if verdict.at is None else (verdict.at - NOW) / minutes(1)


def test_the_limit_is_short_while_somebody_waits() -> None:
    assert choose_idle_limit(LIMITS, demanded=False) == minutes(120)
    assert choose_idle_limit(LIMITS, demanded=True) == minutes(30)


@pytest.mark.parametrize(
    ("gpus", "free", "wanted", "expected"),
    [
        (1, 120, 30, 90),
        (2, 120, 30, 45),
        (3, 120, 30, 30),
        (8, 120, 30, 30),
        (1, 50, 30, 50),
        (1, 30, 30, 30),
        (1, 20, 30, 30),
        (1, None, 30, 90),
    ],
)
def test_gpus_that_have_worked_share_three_times_the_short_limit_up_to_the_long_one(
    gpus: int, free: float | None, wanted: float, expected: float
) -> None:
    limits = IdleLimits(None if free is None else minutes(free), minutes(wanted))
    assert choose_idle_limit(limits, demanded=True, worked=gpus) == minutes(expected)
    assert choose_idle_limit(limits, demanded=True) == limits.wanted
    assert choose_idle_limit(limits, demanded=False, worked=gpus) == limits.free


def test_without_a_limit_while_somebody_waits_there_is_none_for_gpus_that_have_worked() -> None:
    limits = IdleLimits(minutes(120), None)
    assert choose_idle_limit(limits, demanded=True, worked=1) is None


CASES = {
    "just idle": ({"idle": 0}, (Step.KEEP, 105)),
    "just idle, and wanted": ({"idle": 0, "demanded": True}, (Step.KEEP, 15)),
    "time to warn": ({"idle": 105}, (Step.WARN, 15)),
    "warned": ({"idle": 115, "warned": 10}, (Step.WARN, 5)),
    "at the limit": ({"idle": 120, "warned": 15}, (Step.STOP, 0)),
    "late": ({"idle": 500, "warned": 300}, (Step.STOP, -285)),
    "looked at late, never warned": ({"idle": 500}, (Step.WARN, 15)),
    "somebody comes": ({"idle": 50, "demanded": True}, (Step.WARN, 15)),
    "somebody comes when it is warned already": (
        {"idle": 110, "demanded": True, "warned": 5},
        (Step.WARN, 10),
    ),
    "somebody comes, and it has worked": ({"idle": 30, "demanded": True, "worked": 1}, (Step.KEEP, 45)),
    "somebody comes, and one of two has worked": (
        {"idle": 30, "demanded": True, "worked": 2},
        (Step.WARN, 15),
    ),
    "it has worked, but long ago": ({"idle": 80, "demanded": True, "worked": 1}, (Step.WARN, 15)),
    "somebody comes in time": ({"idle": 10, "demanded": True}, (Step.KEEP, 5)),
    "they go again": ({"idle": 60, "warned": 10}, (Step.KEEP, 45)),
    "warned before it worked last": ({"idle": 30, "demanded": True, "warned": 40}, (Step.WARN, 15)),
}


@pytest.mark.parametrize(("given_", "expected"), CASES.values(), ids=CASES)
def test_each_case(given_: dict, expected: tuple) -> None:
    assert judge(**given_) == expected


def test_a_limit_shorter_than_the_warning_warns_as_long_as_it_is() -> None:
    limits = IdleLimits(free=minutes(10), wanted=minutes(10))
    assert judge(0, limits=limits) == (Step.KEEP, 2), "who did something a moment ago is not warned"
    assert judge(2, limits=limits) == (Step.WARN, 10)
    assert judge(10, warned=10, limits=limits) == (Step.STOP, 0)


def test_without_a_warning_it_stops_at_the_limit() -> None:
    limits = IdleLimits(free=minutes(10), wanted=minutes(10), warning=minutes(0))
    assert judge(9, limits=limits) == (Step.KEEP, 1)
    assert judge(10, limits=limits) == (Step.STOP, 0)


def test_the_reason_has_the_figures() -> None:
    assert judge_idle(ago(3000), NOW, demanded=True, limits=LIMITS) == IdleVerdict(
        Step.WARN, NOW + minutes(15), "idle for 50 min of the 30 min allowed while somebody waits"
    )
    worked = judge_idle(ago(3000), NOW, demanded=True, limits=LIMITS, worked=1)
    assert worked.reason == (
        "idle for 50 min of the 90 min allowed while somebody waits, as they have worked before"
    )


@given(
    st.integers(0, 300),
    st.none() | st.integers(0, 300),
    st.booleans(),
    st.integers(0, 8),
    st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 60)),
)
def test_nothing_is_stopped_before_its_limit_nor_within_its_warning(
    idle, warned, demanded, worked, amounts
) -> None:
    limits = IdleLimits(*map(minutes, amounts))
    step, _ = judge(idle, warned=warned, demanded=demanded, limits=limits, worked=worked)
    if step is Step.STOP:
        limit = amounts[1] if demanded else amounts[0]
        assert idle >= limit
        lead = min(amounts[2], limit)
        assert lead == 0 or (warned is not None and lead <= warned <= idle)
