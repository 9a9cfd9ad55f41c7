"""Places in line as people and the controller see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gpuspawner.core.claims import Ticket
from gpuspawner.core.estimate import Estimate
from gpuspawner.core.model import Lease
from gpuspawner.core.situation import Situation


@dataclass(frozen=True, slots=True)
class Place:
    """A ticket, and where it stands."""

    ticket: Ticket
    ahead: int | None
    """How many come before it; None when its turn has come."""
    reason: str
    """What it waits for, for people."""
    estimate: Estimate | None
    """When its turn may come; None when nothing can be said."""
    ends_at: datetime | None = None
    """For an offer: when the session would end."""
    other: Lease | None = None
    """A server of the same name that runs, without what is reserved for the ticket."""
    starting: bool = False
    """For an offer: whether a hub has taken it up, so that its server starts or runs."""

    @property
    def position(self) -> int:
        """1 for the first in line; 0 when its turn has come."""
        return 0 if self.ahead is None else self.ahead + 1


@dataclass(frozen=True, slots=True)
class LineView:
    """The whole line at one moment."""

    at: datetime
    places: tuple[Place, ...]
    """Offers first, then the line in order."""
    situation: Situation
    """The cards, who holds them, and what else it rests on."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An offer, and what is known of the server that it is for."""

    ticket: Ticket
    lease: Lease | None
    """What was reserved for it, as it is now."""
    other: Lease | None
    """A server of the same name that runs, without this lease."""
    unfit: str | None = None
    """Before a hub has taken it up: why what was reserved cannot be used any more."""

    @property
    def over(self) -> bool:
        """Whether what was reserved is gone, without having been claimed."""
        return self.lease is None or self.lease.state.ending

    @property
    def started(self) -> bool:
        """Whether a hub has taken it up: the server starts or runs."""
        return self.lease is not None and self.lease.claim_by is None


def find_other(live: Iterable[Lease], ticket: Ticket) -> Lease | None:
    """The lease of a server that runs under the ticket's name, without what was reserved for the ticket."""
    same = (ticket.owner, ticket.server)
    return next(
        (
            lease
            for lease in live
            if (lease.owner, lease.server) == same and lease.id != ticket.lease_id and not lease.state.ending
        ),
        None,
    )


def place_of_offer(ticket: Ticket, lease: Lease | None, other: Lease | None) -> Place:
    """The place of somebody whose turn has come."""
    started = lease is not None and lease.claim_by is None
    ends_at = lease.ends_at if lease else None
    return Place(ticket, None, ticket.reason, None, ends_at=ends_at, other=other, starting=started)
