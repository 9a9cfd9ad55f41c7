"""What days a report is about: as somebody wrote them, and those that one press chooses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.words import mark

FIRST, LAST = date(2000, 1, 1), date(2199, 12, 31)
"""Days that can be asked for."""
LONGEST = timedelta(days=3660)
_WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
A_WEEK = timedelta(days=6)
"""From the first of seven days to the last."""


@dataclass(frozen=True, slots=True)
class Period:
    """UTC days, both included."""

    since: date
    until: date


def read_period(query: Mapping[str, str], today: date) -> Period:
    """The days that a form asks for; the last seven unless it says something else.

    Args:
        query: ``since`` and ``until``, as 2030-05-17; empty is not given. Hostile.
        today: The UTC day that it is.

    Raises:
        InvalidRequest: They are no days, the wrong way round, or too many.
    """
    until = read_day(query.get("until", ""), mark("last day")) or today
    since = read_day(query.get("since", ""), mark("first day")) or max(until - A_WEEK, FIRST)
    if until < since:
        raise InvalidRequest(f"The last day, {until}, is before the first, {since}. Exchange them.")
    if until - since > LONGEST:
        raise InvalidRequest("A report is about ten years at most. Choose days that are closer together.")
    return Period(since, until)


def read_day(text: str, what: str) -> date | None:
    """A day as somebody wrote it, which is hostile; None for nothing. Raises: InvalidRequest."""
    if not text:
        return None
    try:
        # fromisoformat() alone takes 20300517 and 2030-W20-5 too.
        day = date.fromisoformat(text if _WRITTEN.fullmatch(text) else "")
    except ValueError:
        raise InvalidRequest(f"The {what} is not a day. Write it like 2030-05-17.") from None
    if not FIRST <= day <= LAST:
        raise InvalidRequest(f"The {what} must lie between {FIRST} and {LAST}.")
    return day


def begin_of(day: date) -> datetime:
    """When a UTC day begins."""
    return datetime.combine(day, time.min, UTC)


def list_periods(today: date) -> tuple[tuple[str, Period], ...]:
    """What one press chooses, each with its label."""
    month = today.replace(day=1)
    last_month = month - timedelta(days=1)
    return (
        (mark("Today"), Period(today, today)),
        (mark("Last 7 days"), Period(today - A_WEEK, today)),
        (mark("Last 30 days"), Period(today - timedelta(days=29), today)),
        (mark("This month"), Period(month, today)),
        (mark("Last month"), Period(last_month.replace(day=1), last_month)),
    )
