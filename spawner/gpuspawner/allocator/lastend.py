"""What became of a person's servers that they did not wish for, and asking for the same again."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.endings import LEFT, STOPPING, LastEnd, describe_end, describe_lost
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import Lease, SpawnRequest

TOLD_FOR = timedelta(days=1)
"""A place in line that was lost is news for so long, and so is the end of one server beside others."""


def find_last_end(unit: LedgerUnit, host: str, owner: str, server: str, now: datetime) -> LastEnd | None:
    """What is to be told of a server that does not run; None for nothing."""
    lease = unit.last_lease(owner, server)
    lost = [
        one
        for one in unit.ended_tickets_of(host, owner, server, now - TOLD_FOR)
        if one.reason != LEFT and (lease is None or one.state_since >= lease.created_at)
    ]
    if lost and unit.ticket_of(host, owner, server) is None:
        newest = max(lost, key=lambda one: one.state_since)
        return LastEnd(newest.state_since, describe_lost(newest), newest.id)
    return None if lease is None else tell_end(unit, lease)


def tell_end(unit: LedgerUnit, lease: Lease) -> LastEnd | None:
    """What is to be told of a session that is over; None for nothing."""
    text = describe_end(lease, unit.newest_of(lease.id, STOPPING))
    if text is None:
        return None
    return LastEnd(lease.ended_at or lease.state_since, text, find_again(unit, lease))


def find_again(unit: LedgerUnit, lease: Lease) -> str | None:
    """What asks for the same as a session once more; None where it is not known what was asked for."""
    return lease.id if unit.choices_of(lease.id) is not None else None


def find_choices(unit: LedgerUnit, owner: str, again: str) -> SpawnRequest:
    """What a person asked for with a session, or with a place in line, of theirs.

    Args:
        unit: A transaction.
        owner: The person.
        again: The id of either; anything may have been sent.

    Raises:
        NotFound: There is no such one of theirs, or it is not known what was asked for.
    """
    lease, ticket = unit.lease(again), unit.ticket(again)
    found = None
    if lease is not None and lease.owner == owner:
        found = unit.choices_of(lease.id)
    elif ticket is not None and ticket.owner == owner:
        found = ticket.request
    if found is None:
        raise NotFound("It is not known any more with what that server was started. Choose anew.")
    return found
