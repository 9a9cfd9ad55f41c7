"""When a session must end, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .claims import Ticket
from .words import describe_duration, mark


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a session must end, and why."""

    end: datetime | None = None
    reason: str = ""

    def within(self, end: datetime | None, reason: str) -> Bounds:
        """The earlier of two ends."""
        if end is None or (self.end is not None and self.end <= end):
            return self
        return Bounds(end, reason)


def own_limits(ticket: Ticket, now: datetime) -> Bounds:
    """How long a ticket's person may work, and wants to."""
    longest, session = ticket.terms.longest, ticket.request.session
    bounds = Bounds()
    if longest is not None:
        bounds = Bounds(now + longest, mark(f"a session may last {describe_duration(longest)} at most"))
    if session is not None:
        bounds = bounds.within(now + session, mark("you asked for so long"))
    return bounds


def is_later(one: datetime | None, other: datetime | None) -> bool:
    """Whether an end is later than another; no end is later than any."""
    return other is not None and (one is None or one > other)
