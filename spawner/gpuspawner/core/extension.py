"""Letting one's own session go on: by one step at a time, as far as it costs nobody else anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from .budget import Held, describe_budget_end, find_budget_end
from .drains import find_drain, find_pin
from .model import Lease
from .policy import Allowance
from .seating import Calendar
from .situation import Board, Situation, count_held
from .words import describe_duration

STEP = timedelta(hours=1)
"""By so much at once, or by what is left of the bound."""
LEAST = timedelta(minutes=1)
"""What is left of the bound and less than this is nothing."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What extending one's own session once would come to."""

    by: timedelta
    """How much; a whole step where nothing can be said."""
    until: datetime | None
    """Its new end; None where it cannot be extended."""
    why_not: str = ""
    """Why it cannot, as a sentence."""


def plan_own_extension(lease: Lease, situation: Situation, allowance: Allowance, held: Held) -> Extension:
    """Say what extending a session by its own person would come to.

    Args:
        lease: The session.
        situation: The moment.
        allowance: What its person may use.
        held: What its person has held in the days that count for their GPU-hours.
    """
    now, end = situation.now, lease.ends_at
    if lease.state.ending or lease.warned == 0:
        return _refuse("Its end has come.")
    if end is None:
        return _refuse("It has no end, so there is nothing to extend.")
    most, longest = allowance.extension, allowance.longest_session
    if not most.value:
        return _refuse(f"You cannot extend it by yourself{most.because}.")
    until = max(now, end) + STEP
    if longest.value is not None:
        until = min(until, lease.created_at + longest.value + most.value)
    if until - max(now, end) < LEAST:
        return _refuse(
            f"It goes on for as long as you may let it: {describe_duration(most.value)} beyond the longest "
            f"session{most.because}."
        )
    why_not = (
        _find_claim(lease, situation)
        or _find_waiting(lease, situation)
        or _find_reservation(lease, situation, until)
        or _find_end_of_budget(lease, situation, allowance, held, until)
    )
    by = until - max(now, end)
    return Extension(by, None, why_not) if why_not else Extension(by, until)


def _refuse(why_not: str) -> Extension:
    return Extension(STEP, None, why_not)


def _find_claim(lease: Lease, situation: Situation) -> str:
    """What an administrator said of its devices that stands in the way."""
    for record in situation.inventory:
        if record.device.uuid not in lease.devices:
            continue
        drain = find_drain(record.device, situation.drains, situation.now)
        if drain is not None:
            return f"Its GPU is taken out of service: {drain.reason}"
        pin = find_pin(record.device, situation.pins)
        if pin is not None and not pin.holder.has(lease.owner, lease.party):
            return "Its GPU is kept for somebody else from now on."
    return ""


def _find_waiting(lease: Lease, situation: Situation) -> str:
    """Whether somebody else waits who could be given one of its devices."""
    others = [ticket for ticket in situation.tickets if ticket.owner != lease.owner]
    if not lease.devices or not others:
        return ""
    board = Board(situation)
    mask = board.mask(lease.devices)
    waiting = {ticket.owner for ticket in others if board.want(ticket).open & mask}
    if not waiting:
        return ""
    who = "1 person waits" if len(waiting) == 1 else f"{len(waiting)} people wait"
    return f"{who} for what it holds."


def _find_reservation(lease: Lease, situation: Situation, until: datetime) -> str:
    """The reservation that it would run into."""
    ahead = [one for one in situation.occurrences if one.held_from < until]
    if not lease.devices or not ahead:
        return ""
    others = [one for one in situation.leases if one.id != lease.id]
    calendar = Calendar(Board(situation).serving, others, ahead, situation.now)
    limit, reason = calendar.limit(lease.devices, lease.owner, lease.party, until=until)
    if limit is None:
        return ""
    return f"It cannot go on beyond {limit:%Y-%m-%d %H:%M} UTC: {reason}."


def _find_end_of_budget(
    lease: Lease, situation: Situation, allowance: Allowance, held: Held, until: datetime
) -> str:
    """Whether its person's GPU-hours end before."""
    budget = allowance.gpu_hours_per_week
    count = count_held(situation.leases)[lease.owner] if lease.devices else 0
    end = find_budget_end(budget.value, held, count, situation.now)
    if end is None or end >= until:
        return ""
    return f"It cannot go on beyond {end:%Y-%m-%d %H:%M} UTC: {describe_budget_end(budget)}."
