"""Reading what a decision about the line rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.claims import Reservation, SeatReturn, Ticket, TicketState
from gpuspawner.core.occurrences import Occurrence, open_occurrences
from gpuspawner.core.situation import Situation

from .usage import held_in_window

HORIZON = timedelta(days=35)
"""How far ahead reservations are looked for: a session without an end is told of the next one within this."""
LONGEST_OCCURRENCE = timedelta(days=32)
"""How far back: an occurrence that is on began within this."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Reservations, and when they take place from now on: worked out before the ledger is locked."""

    reservations: tuple[Reservation, ...]
    returns: tuple[SeatReturn, ...]
    occurrences: tuple[Occurrence, ...]
    until: datetime
    """What takes place later is not among them."""


def look_ahead(
    unit: LedgerUnit,
    host: str,
    now: datetime,
    *,
    reach: timedelta = HORIZON,
    known: Ahead | None = None,
) -> Ahead:
    """Say when reservations take place.

    Args:
        unit: The transaction.
        host: The host.
        now: The present.
        reach: From now on for so long.
        known: What was found a moment ago; it is returned if it reaches as far, and nobody has changed a
            reservation since.
    """
    reservations = unit.reservations(host)
    returns = unit.seat_returns(host, now - LONGEST_OCCURRENCE) if reservations else ()
    until = now + reach
    same = known is not None and (known.reservations, known.returns) == (reservations, returns)
    if known is not None and same and known.until >= until:
        return known
    return Ahead(reservations, returns, open_occurrences(reservations, returns, now, until), until)


def find_reach(longest: Iterable[timedelta | None]) -> timedelta:
    """How far ahead sessions can come upon reservations.

    Args:
        longest: How long each may last; None for no limit.
    """
    return min(max((HORIZON if one is None else one for one in longest), default=HORIZON), HORIZON)


def gather(
    unit: LedgerUnit,
    host: str,
    *,
    now: datetime,
    stale_after: timedelta,
    asking: Iterable[Ticket] = (),
    without: frozenset[str] = frozenset(),
    ahead: Ahead | None = None,
) -> Situation:
    """Read everything that a decision about the line rests on.

    Args:
        unit: The transaction in which it is decided.
        host: The host.
        now: The present.
        stale_after: Age from which a report on a device is no longer believed.
        asking: Tickets that are not stored, or not like this: each stands for the stored one of its id.
        without: Ids of stored tickets that are left out.
        ahead: What :func:`look_ahead` found a moment ago, if it was asked: then only what the sessions of
            these tickets can come upon is gathered, and not all within :data:`HORIZON`.
    """
    asked = {ticket.id: ticket for ticket in asking}
    stored = [
        ticket
        for ticket in unit.live_tickets(host)
        if ticket.state is TicketState.WAITING and ticket.id not in asked and ticket.id not in without
    ]
    tickets = (*stored, *asked.values())
    leases = unit.live_leases(host)
    reach = find_reach(ticket.terms.longest for ticket in tickets) if ahead is not None else HORIZON
    budgeted = any(ticket.terms.gpu_hours is not None for ticket in tickets)
    return Situation(
        now=now,
        inventory=unit.inventory(host),
        leases=leases,
        tickets=tickets,
        standings=unit.standings(host, {ticket.owner for ticket in tickets}),
        drains=unit.drains(host),
        pins=unit.pins(host),
        occurrences=look_ahead(unit, host, now, reach=reach, known=ahead).occurrences,
        held=held_in_window(unit, host, leases, now) if budgeted else {},
        stale_after=stale_after,
    )
