"""GPU-hours per week."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from gpuspawner.core.budget import (
    SHORTEST,
    Balance,
    begin_of_window,
    describe_budget_end,
    describe_hours,
    find_budget_end,
    judge_budget,
    take_balance,
)
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.policy import Limit
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
"""A Wednesday."""
HOUR = timedelta(hours=1)
STUDENTS = Limit(20.0, ("group `students`",))


def used(**hours: float) -> dict[date, float]:
    """Hours by day of November, as in ``used(d20=3)``."""
    return {date(2026, 11, int(day[1:])): 3600 * h for day, h in hours.items()}


def judge(gpus: int, held: dict[date, float], limit: Limit[float] = STUDENTS, running: int = 0) -> str | None:
    try:
        judge_budget(gpus, limit, held, running, NOW)
    except Refused as error:
        return str(error) if error.kind is RefusalKind.NOT_ALLOWED else repr(error.kind)
    return None


# -- the window ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (NOW, date(2026, 11, 19)),
        (datetime(2026, 11, 25, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(2026, 11, 26, 0, 30, tzinfo=UTC).astimezone(), date(2026, 11, 20)),
    ],
)
def test_the_window_is_today_and_six_days_before(now: datetime, first: date) -> None:
    assert begin_of_window(now) == first


def test_a_balance() -> None:
    held = used(d18=100, d19=0, d20=5, d25=9)
    assert take_balance(STUDENTS, held, 2, NOW) == Balance(
        STUDENTS, used_hours=14, left_hours=6, back_on=date(2026, 11, 27), ends_at=NOW + 3 * HOUR
    )
    assert take_balance(STUDENTS, held, 0, NOW).ends_at is None
    assert take_balance(STUDENTS, used(d24=30), 0, NOW).left_hours == 0
    free = take_balance(Limit(None, ("settings",)), held, 2, NOW)
    assert (free.used_hours, free.left_hours, free.ends_at) == (14, None, None)
    assert take_balance(STUDENTS, {}, 0, NOW).back_on is None


# -- when it is used up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "held", "devices", "after"),
    [
        (20, {}, 1, 20),
        (20, {}, 4, 5),
        (20, used(d24=15), 1, 5),
        (20, used(d24=15, d18=99), 1, 5),
        (20, used(d24=20), 1, 0),
        (20, used(d24=99), 1, 0),
        (20, used(d24=15), 0, None),
        (None, used(d24=15), 1, None),
        (0, {}, 1, 0),
        # Twelve hours to midnight, when four hours come back.
        (20, used(d19=4), 1, 20),
        (20, used(d19=8, d20=8), 1, 4),
        (20, used(d19=8), 1, 20),
        (20, used(d19=4, d20=1), 1, 19),
        # All hours of a week, which come back as they are used. One less is reached in the seventh night:
        # half of today is not used.
        (168, {}, 1, None),
        (167, {}, 1, 179),
        (335, {}, 2, 179.5),
        (336, {}, 2, None),
        (168, used(d19=12), 1, None),
        (144, used(d19=24, d20=24, d21=24, d22=24, d23=24), 1, 144),
    ],
)
def test_when_it_is_used_up(
    limit: float | None, held: dict[date, float], devices: int, after: float | None
) -> None:
    end = find_budget_end(limit, held, devices, NOW)
    assert end == (None if after is None else NOW + after * HOUR)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 60), min_size=8, max_size=8),
    st.integers(0, 250),
    st.integers(1, 4),
    st.integers(0, 23),
)
def test_going_on_by_the_hour_gives_the_same(days: list[int], limit: int, devices: int, hour: int) -> None:
    now = NOW.replace(hour=hour)
    held = {now.date() - timedelta(days=n): 3600.0 * h for n, h in enumerate(days)}
    found = find_budget_end(limit, held, devices, now)
    hours, at = dict(held), now
    while at < now + timedelta(days=10):
        total = sum(s for day, s in hours.items() if day >= begin_of_window(at)) / 3600
        if total + devices > limit:
            assert found == at + max(limit - total, 0) / devices * HOUR
            return
        hours[at.date()] = hours.get(at.date(), 0) + 3600 * devices
        at += HOUR
    assert found is None


# -- refusals -----------------------------------------------------------------------------------------------


def test_a_refusal_names_figures_rule_and_day() -> None:
    assert judge(1, used(d20=12, d24=8)) == (
        "You have used 20 h of 20 GPU-hours in the last seven days (group `students`); the first hours come "
        "back on Friday 27 November, at 0:00 UTC. A server without a GPU can still be started."
    )


def test_too_little_is_left_to_begin() -> None:
    assert judge(2, used(d20=19.9)) == (
        "You have used 19.9 h of 20 GPU-hours in the last seven days (group `students`); what is left is not "
        "enough for 5 min with 2 GPUs; the first hours come back on Friday 27 November, at 0:00 UTC. "
        "A server without a GPU can still be started."
    )
    assert judge(1, used(d20=19.9)) is None
    assert "5 min with 2 GPUs" in (judge(1, used(d20=19.9), running=1) or "")


@pytest.mark.parametrize(
    ("gpus", "limit"), [(0, STUDENTS), (1, Limit(None, ("settings",))), (4, Limit(40.0, ("default",)))]
)
def test_it_passes(gpus: int, limit: Limit[float]) -> None:
    assert judge(gpus, used(d24=25), limit) is None


def test_no_hours_at_all() -> None:
    assert judge(1, {}, Limit(0.0, ("person `bob`",))) == (
        "You have used 0 h of 0 GPU-hours in the last seven days (person `bob`). "
        "A server without a GPU can still be started."
    )


def test_what_passes_lasts_the_shortest_time() -> None:
    nearly = used(d24=20 - SHORTEST / HOUR)
    assert judge(1, nearly) is None
    end = find_budget_end(20, nearly, 1, NOW)
    assert end
    assert end - NOW == pytest.approx(SHORTEST, abs=timedelta(milliseconds=1))


def test_words() -> None:
    assert describe_budget_end(STUDENTS) == (
        "your 20 GPU-hours in seven days are used up then (group `students`)"
    )
    assert [describe_hours(h) for h in (0, 19.96, 20, 0.1 + 0.2)] == ["0 h", "19.9 h", "20 h", "0.3 h"]
