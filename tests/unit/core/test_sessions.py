"""Ends of sessions: each warning once, and nobody stopped without one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.sessions import Stop, Warn, choose_end, plan_ends
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, lease

S = LeaseState


def session(minutes_left: float | None, warned: int | None = None, state: S = S.ACTIVE) -> Lease:
    ends_at = None if minutes_left is None else NOW + timedelta(minutes=minutes_left)
    return lease(state, ends_at=ends_at, end_reason="a lecture needs the GPUs", warned=warned)


@pytest.mark.parametrize(
    ("minutes_left", "warned", "planned"),
    [
        (None, None, None),
        (16, None, None),
        (15, None, 15),
        (14.9, None, 15),
        (14.9, 15, None),
        (5, 15, 5),
        (5, None, 5),  # the controller was away: one warning, the last that is due
        (4, 5, None),
        (1, 5, 1),
        (0.5, 1, None),
        (0.5, 15, 1),
        (0, 1, "stop"),
        (-60, 1, "stop"),
        (0, 15, "stop"),  # warned, though not by all warnings
        (-3, 0, "stop again"),
        (20, 5, None),
    ],
)
def test_what_is_due(minutes_left: float | None, warned: int | None, planned: object) -> None:
    found = plan_ends([session(minutes_left, warned)], NOW)
    match found:
        case ():
            assert planned is None
        case (Warn() as one,):
            assert one.minutes == planned
            assert one.ends_at == one.lease.ends_at
        case (Stop() as one,):
            assert ("stop" if one.first else "stop again") == planned


def test_an_end_that_passed_without_any_warning_is_moved_by_the_last_one() -> None:
    (warning,) = plan_ends([session(-30)], NOW)
    assert isinstance(warning, Warn)
    assert (warning.minutes, warning.ends_at) == (1, NOW + timedelta(minutes=1))
    assert "ends in 1 min" in warning.text


@pytest.mark.parametrize("state", [S.RESERVED, S.RELEASING, S.QUARANTINED, S.RELEASED])
def test_only_sessions_that_run_come_to_an_end(state: S) -> None:
    assert plan_ends([session(-1, 1, state)], NOW) == ()


def test_while_the_clock_is_in_doubt_nothing_has_passed() -> None:
    assert plan_ends([session(-1, 1), session(-60)], NOW, hold_stops=True) == ()
    assert len(plan_ends([session(3)], NOW, hold_stops=True)) == 1


def test_other_minutes() -> None:
    assert plan_ends([session(14.6)], NOW, (10, 2)) == ()
    (warning,) = plan_ends([session(9)], NOW, (10, 2))
    assert (isinstance(warning, Warn), warning.text[:28]) == (True, "Your session ends in 9 min, ")
    assert choose_end(NOW, NOW, (30, 1)) == NOW + timedelta(minutes=30)


def test_the_words() -> None:
    (warning,) = plan_ends([session(14.6)], NOW)
    assert warning.text == (
        "Your session ends in 15 min, at 12:14 UTC: a lecture needs the GPUs. Save your work."
    )
    (stop,) = plan_ends([session(0, 1)], NOW)
    assert stop.text == "Your session was ended: a lecture needs the GPUs."


@pytest.mark.parametrize(("minutes", "given"), [(-5, 15), (3, 15), (15, 15), (60, 60)])
def test_an_end_set_later_leaves_the_time_of_the_first_warning(minutes: int, given: int) -> None:
    assert choose_end(NOW + timedelta(minutes=minutes), NOW) == NOW + timedelta(minutes=given)


@given(
    st.lists(st.floats(min_value=0.01, max_value=40), min_size=1, max_size=60),
    st.floats(min_value=-30, max_value=60),
)
def test_however_often_the_controller_looks(pauses: list[float], first_left: float) -> None:
    """Warnings only go down, none comes twice, and a stop follows on a warning of a minute or more before."""
    now: datetime = NOW
    held = session(first_left)
    given_at: list[tuple[int, datetime]] = []
    for pause in pauses:
        for planned in plan_ends([held], now):
            if isinstance(planned, Stop):
                assert given_at
                assert now >= held.ends_at  # type: ignore[operator]
                held = replace(held, warned=0)
                continue
            assert held.warned != 0
            assert all(planned.minutes < minutes for minutes, _ in given_at)
            given_at.append((planned.minutes, now))
            held = replace(held, warned=planned.minutes, ends_at=planned.ends_at)
        now += timedelta(minutes=pause)
