"""GPU-hours per week: what a person has held in today and the six UTC days before, and what that leaves.

Held time counts, whatever was done in it: the accounts, and what leases that live hold beyond them
(:func:`gpuspawner.core.usage.held_by_day`). A day counts whole until it is seven days old, so hours come back
at UTC midnights, a day's hours at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from .errors import RefusalKind, Refused
from .policy import Limit
from .words import describe_duration

WINDOW_DAYS = 7
"""Days that count, today included."""
SHORTEST = timedelta(minutes=5)
"""A session for which less is left is not begun."""
_HOUR = 3600.0
_DAY = timedelta(days=1)
_ROUNDING = 1e-3
"""Seconds by which sums of many amounts may be off."""

Held = Mapping[date, float]
"""GPU-seconds that one person held, by UTC day; other days than those of the window do no harm."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How a person stands with their GPU-hours."""

    limit: Limit[float]
    """GPU-hours in seven days, and the rule that says so."""
    used_hours: float
    left_hours: float | None
    """Never negative; None when there is no limit."""
    back_on: date | None
    """At the beginning of which UTC day the first hours come back; None when none were used."""
    ends_at: datetime | None
    """When the sessions that run will have used it up; None when they will not."""


def begin_of_window(now: datetime) -> date:
    """The first UTC day that counts."""
    return now.astimezone(UTC).date() - timedelta(days=WINDOW_DAYS - 1)


def take_balance(limit: Limit[float], held: Held, running: int, now: datetime) -> Balance:
    """Say how a person stands.

    Args:
        limit: Their limit.
        held: What they have held.
        running: Devices in their sessions now.
        now: The present.
    """
    used = _used_seconds(held, begin_of_window(now)) / _HOUR
    return Balance(
        limit=limit,
        used_hours=used,
        left_hours=None if limit.value is None else max(limit.value - used, 0.0),
        back_on=find_return(held, now),
        ends_at=find_budget_end(limit.value, held, running, now),
    )


def find_return(held: Held, now: datetime) -> date | None:
    """The UTC day on which the first of the used hours come back; None when none are used."""
    days = [day for day, seconds in held.items() if seconds > 0 and day >= begin_of_window(now)]
    return min(days) + timedelta(days=WINDOW_DAYS) if days else None


def find_budget_end(limit_hours: float | None, held: Held, devices: int, now: datetime) -> datetime | None:
    """When the budget is used up if so many devices are held from now on.

    Hours that come back at midnights meanwhile are counted in.

    Args:
        limit_hours: GPU-hours in seven days; None for no limit.
        held: What was held.
        devices: Devices in all sessions of the person, the one in question included.
        now: The present.

    Returns:
        The time, ``now`` if nothing is left; None when it is never used up.
    """
    if limit_hours is None or devices == 0:
        return None
    start, oldest = now.astimezone(UTC), begin_of_window(now)
    left = limit_hours * _HOUR - _used_seconds(held, oldest)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
    today, more = start.date(), devices * (midnight - start).total_seconds()
    more_today = more
    # A week from now only what is held from now on counts, and each day is like the one before.
    for _ in range(WINDOW_DAYS + 1):
        if left < more - _ROUNDING:
            return start + timedelta(seconds=max(left, 0.0) / devices)
        left += held.get(oldest, 0.0) + (more_today if oldest == today else 0.0) - more
        start, oldest, midnight = midnight, oldest + _DAY, midnight + _DAY
        more = devices * _DAY.total_seconds()
    return None


def is_enough(limit_hours: float | None, used_seconds: float, more_seconds: float) -> bool:
    """Whether a budget is sure to hold more; hours that come back meanwhile are not counted.

    Args:
        limit_hours: GPU-hours in seven days; None for no limit.
        used_seconds: GPU-seconds that were held in the days that count, or more.
        more_seconds: GPU-seconds that are to be held.
    """
    return limit_hours is None or limit_hours * _HOUR - used_seconds >= more_seconds


def judge_budget(gpus: int, limit: Limit[float], held: Held, running: int, now: datetime) -> None:
    """Let a request pass if enough is left of the person's GPU-hours to begin it.

    Args:
        gpus: Devices that are asked for; 0 always passes.
        limit: GPU-hours in seven days, and the rule.
        held: What the person has held.
        running: Devices in their other sessions now.
        now: The present.

    Raises:
        Refused: ``NOT_ALLOWED``, with the limit that forbids it, and when hours come back.
    """
    if gpus == 0 or limit.value is None:
        return
    end = find_budget_end(limit.value, held, running + gpus, now)
    if end is None or end - now >= SHORTEST:
        return
    balance = take_balance(limit, held, running, now)
    text = (
        f"You have used {describe_hours(balance.used_hours)} of {limit.value:g} GPU-hours in the last seven "
        f"days{limit.because}"
    )
    if balance.left_hours:
        several = f"{running + gpus} GPU{'' if running + gpus == 1 else 's'}"
        text += f"; what is left is not enough for {describe_duration(SHORTEST)} with {several}"
    if balance.back_on:
        back = balance.back_on
        text += f"; the first hours come back on {back:%A} {back.day} {back:%B}, at 0:00 UTC"
    raise Refused(RefusalKind.NOT_ALLOWED, f"{text}. A server without a GPU can still be started.")


def describe_budget_end(limit: Limit[float]) -> str:
    """Why a session ends when :func:`find_budget_end` says so, for people: to follow on *it ends because*."""
    value = 0 if limit.value is None else limit.value
    return f"your {value:g} GPU-hours in seven days are used up then{limit.because}"


def describe_hours(hours: float) -> str:
    """Hours with their unit, rounded down to a tenth, so that what is not reached does not look reached."""
    return f"{math.floor(hours * 10 + 1e-6) / 10:g} h"


def _used_seconds(held: Held, since: date) -> float:
    return sum(seconds for day, seconds in held.items() if day >= since)
