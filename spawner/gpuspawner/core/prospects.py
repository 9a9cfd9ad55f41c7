"""What the line would say to somebody who asked now: for the start page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from .claims import Ticket
from .estimate import estimate_turns
from .line import SHORTEST_SESSION, WAITS_FOR_A_HEAD, Grant, Wait, plan_line
from .model import SpawnRequest
from .occurrences import Occurrence, may_serve
from .placement import Offer, Shortage
from .situation import Board, Situation


def see_turn(
    offer: Offer, situation: Situation, probe: Ticket, model: str | None, past_seconds: Sequence[float] = ()
) -> Offer:
    """What a request for one device of an offer would get, or wait for and how long.

    Args:
        offer: What there is.
        situation: What the line rests on, without the probe.
        probe: A ticket of the person who asks.
        model: What they ask for; None for any whole GPU.
        past_seconds: How long sessions with GPUs lasted that ended lately.
    """
    asking = replace(probe, request=SpawnRequest(1, model, shorten=True))
    asked = replace(situation, tickets=(*situation.tickets, asking))
    plan = plan_line(asked)
    for grant in plan.grants:
        if grant.ticket.id == asking.id:
            until = _find_early_end(grant, situation.now)
            return replace(offer, until=until, because=grant.end_reason if until else "")
    wait = next(wait for wait in plan.waits if wait.ticket.id == asking.id)
    lacks = wait.obstacle
    out = isinstance(lacks, Shortage) and lacks.unfit == lacks.total
    found = replace(offer, waits=wait.reason, ahead=wait.ahead, out_of_service=out)
    reservation = None
    if offer.free and wait.reason != WAITS_FOR_A_HEAD:
        reservation = _find_reservation(asked, asking)
    if reservation is not None:
        return replace(found, reserved=reservation.title, until=reservation.end)
    # What would be granted now is granted at the controller's next tick.
    before = [Wait(one.ticket, 0, one.reason, one.claim) for one in plan.grants]
    estimate = estimate_turns(asked, [*before, *plan.waits[: wait.ahead + 1]], past_seconds)[-1]
    return found if estimate is None else replace(found, soonest=estimate.earliest, latest=estimate.latest)


def see_any(
    offers: Sequence[Offer], situation: Situation, probe: Ticket, past_seconds: Sequence[float] = ()
) -> Offer | None:
    """What a request for any whole GPU would get; None where the person may use none."""
    whole = add_up([offer for offer in offers if offer.barred is None and not offer.sliced])
    return None if whole is None else see_turn(whole, situation, probe, None, past_seconds)


def add_up(offers: Sequence[Offer]) -> Offer | None:
    """Several models as one offer of whichever is free; None for none."""
    if not offers:
        return None
    total, free = sum(offer.total for offer in offers), sum(offer.free for offer in offers)
    return Offer("", min(offer.memory_bytes for offer in offers), total, free)


def _find_early_end(grant: Grant, now: datetime) -> datetime | None:
    """When a session must end, if that is before the person's own longest session is over."""
    longest = grant.ticket.terms.longest
    early = grant.ends_at is not None and (longest is None or grant.ends_at < now + longest)
    return grant.ends_at if early else None


def _find_reservation(situation: Situation, asking: Ticket) -> Occurrence | None:
    """The reservation of others, on or about to begin, that keeps what would be free; the first to end."""
    board, now = Board(situation), situation.now
    want = board.want(asking)
    devices = board.devices(board.free & want.open)
    keeping = [
        one
        for one in situation.occurrences
        if one.held_from < now + SHORTEST_SESSION
        and one.end > now
        and not one.reservation.admits(asking.owner, asking.party)
        and any(may_serve(device, one.reservation.cards) for device in devices)
    ]
    return min(keeping, key=lambda one: one.end, default=None)
