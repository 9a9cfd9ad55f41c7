"""Whose turn it is: reservation, guaranteed share, what was used lately, arrival."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from .claims import Holder, Ticket
from .model import Lease
from .shares import find_present_use
from .situation import Situation, count_shares


class Claim(IntEnum):
    """What a ticket's place rests on, the strongest first."""

    RESERVATION = 0
    """A reservation of theirs is on and has seats left."""
    SHARE = 1
    """A group of theirs holds less than its guaranteed share."""
    USE = 2
    """What they used lately, then arrival."""


def order_line(situation: Situation, book_seat: Callable[[Ticket], bool]) -> list[tuple[Ticket, Claim]]:
    """Put the tickets that wait in order, each with what its place rests on.

    Reserved seats and guaranteed shares are counted down on the way: twenty people of a group that has one
    GPU left of its share do not all come before everybody else.

    Args:
        situation: What is there.
        book_seat: Books a seat of a reservation for a ticket, if there is one for it.
    """
    standings, now = situation.standings, situation.now
    # Many have several tickets, and the same weight for all of them.
    owners = {ticket.owner for ticket in situation.tickets}
    used = {owner: find_present_use(standings.get(owner), now) for owner in owners}
    by_use = [
        (used[ticket.owner] / ticket.terms.weight, ticket.queued_at, ticket.id, ticket)
        for ticket in situation.tickets
    ]
    by_use.sort()  # no two have the same id, so that tickets themselves are never compared
    room = find_share_room(situation.leases, situation.tickets, len(situation.inventory))
    placed: dict[Claim, list[tuple[Ticket, Claim]]] = {claim: [] for claim in Claim}
    for _, _, _, ticket in by_use:
        claim = Claim.USE
        if book_seat(ticket):
            claim = Claim.RESERVATION
        else:
            for holder, _ in ticket.terms.shares:
                if room[holder] >= ticket.request.gpus:
                    room[holder] -= ticket.request.gpus
                    claim = Claim.SHARE
                    break
        placed[claim].append((ticket, claim))
    return [pair for claim in Claim for pair in placed[claim]]


def find_share_room(leases: Sequence[Lease], tickets: Sequence[Ticket], devices: int) -> dict[Holder, int]:
    """How many devices each guaranteed share has left; the share is of all devices, rounded down."""
    # Most have none, and many the same ones.
    found = {ticket.terms.shares for ticket in tickets}
    shares = {holder: share for some in found for holder, share in some}
    if not shares:
        return {}
    held = count_shares(leases, shares)
    return {holder: int(share * devices + 1e-9) - held[holder] for holder, share in shares.items()}
