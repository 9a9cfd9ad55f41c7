"""When a turn is given again whose server did not come up: that is nobody's fault in the line."""

from __future__ import annotations

from datetime import datetime, timedelta

from .claims import Ticket

FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=5)
MOST_FAILURES = 100
"""After about eight hours of failures a ticket is given up: no administrator looks after this server."""


def find_next_try(failures: int, now: datetime) -> datetime:
    """When a ticket may be offered something again after so many failures: ever later."""
    pause: timedelta = FIRST_PAUSE * 2 ** min(failures - 1, 10)
    return now + min(pause, LONGEST_PAUSE)


def left_until_next_try(ticket: Ticket, now: datetime) -> timedelta | None:
    """How long a ticket still pauses; None when it does not. A clock that was set back ends the pause."""
    left = timedelta(0) if ticket.not_before is None else ticket.not_before - now
    return left if timedelta(0) < left <= LONGEST_PAUSE else None
