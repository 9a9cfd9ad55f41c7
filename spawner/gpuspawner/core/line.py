"""Who in the line is given which devices now, until when, and what everybody else waits for.

The line is gone through in order (:mod:`gpuspawner.core.order`). The first ticket that must wait for devices
is a *head*: nobody behind it may be given what would make it wait longer. So a smaller request passes it only
if its session ends before the head's earliest possible start, or takes devices that the head does not need
then (EASY backfill). A request for eight GPUs is thus never starved by a stream of requests for one. Tickets
that wait for other devices than all heads before them are heads of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from .bounds import Bounds, is_later, own_limits
from .budget import describe_budget_end
from .claims import Ticket
from .heads import Heads
from .model import Lease, LeaseState
from .occurrences import Occurrence
from .order import Claim, order_line
from .people import People
from .placement import Shortage, describe_shortage, pick, why_nothing_is_known
from .policy import Limit
from .seating import Calendar
from .situation import Board, Mask, Situation, Want, list_within_reach, union
from .words import describe_duration

SHORTEST_SESSION = timedelta(minutes=10)
"""Nobody is given less time than this."""
FOR_A_HEAD = "somebody who has waited longer is to have these GPUs then"
WAITS_FOR_A_HEAD = f"Waiting, because {FOR_A_HEAD}."
ACCEPT = " Ask for a shorter session, or accept that it is shortened."


@dataclass(frozen=True, slots=True)
class Grant:
    """A ticket's turn has come."""

    ticket: Ticket
    devices: tuple[str, ...]
    """UUIDs, in inventory order."""
    ends_at: datetime | None
    end_reason: str
    """Why the session must end then; empty without an end."""
    reason: str
    """Why it is granted now, for people."""
    claim: Claim
    shortened: bool = False
    """Whether the end is earlier than the person's own limits would have it."""
    reservation: tuple[str, datetime] | None = None
    """The reservation, and the start of its occurrence, that it takes a seat of."""


class Wait(NamedTuple):
    """A ticket waits on."""

    ticket: Ticket
    ahead: int
    """How many tickets come before it."""
    obstacle: str | Shortage
    """What it waits for."""
    claim: Claim

    @property
    def reason(self) -> str:
        """What it waits for, for people."""
        if isinstance(self.obstacle, str):
            return self.obstacle
        return describe_shortage(self.ticket.request, self.obstacle)


@dataclass(frozen=True, slots=True)
class LinePlan:
    """What follows from a situation."""

    grants: tuple[Grant, ...]
    waits: tuple[Wait, ...]
    """In the order of the line."""


def plan_line(situation: Situation) -> LinePlan:
    """Go through the line once: grant what can be granted, and say of everybody else what they wait for."""
    return _Planner(situation).plan()


class _Planner:
    """One pass; what is granted on the way is taken into account for those behind."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.now = situation.now
        self.board = Board(situation)
        self.occurrences = list_within_reach(situation)
        self.calendar = Calendar(self.board.serving, situation.leases, self.occurrences, situation.now)
        self.people = People(situation)
        self.on = [one for one in self.occurrences if one.on(self.now)]
        self.room = [one.seats - self.calendar.used(one) for one in self.on]
        self.seats_left = max(self.room, default=0) > 0
        self.unhurried = all(one.end - self.now >= SHORTEST_SESSION for one in self.on)
        self.heads = Heads(self.board)
        self.stuck: dict[Want, str | Shortage] = {}
        """What those wait for who want what is not free; until something more is given out."""
        self.picked: dict[object, tuple[str, ...]] = {}
        """By how many of which devices: most of those who wait ask for the same."""

    def plan(self) -> LinePlan:
        unknown = why_nothing_is_known(
            self.situation.inventory, now=self.now, stale_after=self.situation.stale_after
        )
        grants: list[Grant] = []
        waits: list[Wait] = []
        for ticket, claim in order_line(self.situation, self._book_seat):
            outcome = unknown or self._decide(ticket, claim)
            if isinstance(outcome, Grant):
                grants.append(outcome)
            else:
                waits.append(Wait(ticket, len(waits), outcome, claim))
        return LinePlan(tuple(grants), tuple(waits))

    def _book_seat(self, ticket: Ticket) -> bool:
        """Whether a reservation that is on has seats left for a ticket, those of earlier ones counted."""
        if not self.seats_left:
            return False
        gpus = ticket.request.gpus
        for n, one in enumerate(self.on):
            if self.room[n] >= gpus and one.reservation.admits(ticket.owner, ticket.party):
                cards = self.calendar.serving(one, self.board.uuids(self.board.want(ticket).reach))
                if len(cards) >= gpus:
                    self.room[n] -= gpus
                    self.seats_left = max(self.room) > 0
                    return True
        return False

    # -- one ticket -----------------------------------------------------------------------------------------

    def _decide(self, ticket: Ticket, claim: Claim) -> Grant | str | Shortage:
        """The grant, or what it waits for."""
        personal = self.people.why_not_yet(ticket)
        if personal:
            return personal
        want = self.board.want(ticket)
        stuck = self.stuck.get(want)
        if stuck is not None and (stuck != WAITS_FOR_A_HEAD or not self._may_be_short(ticket)):
            return stuck
        usable = self.board.free & want.open
        serving = {
            model: mask & usable
            for model, mask in want.models.items()
            if (mask & usable).bit_count() >= want.gpus
        }
        if not serving:
            self.heads.add(want)
            self.stuck[want] = self._find_shortage(want)
            return self.stuck[want]
        return self._choose(ticket, claim, want, serving)

    # -- choosing devices -----------------------------------------------------------------------------------

    def _choose(
        self, ticket: Ticket, claim: Claim, want: Want, serving: dict[str, Mask]
    ) -> Grant | str | Shortage:
        """Of the models that can serve, the one that gives the whole session, or else the longest."""
        if self._is_hopeless(want, serving) and not self._may_be_short(ticket):
            self.heads.add(want)
            self.stuck[want] = WAITS_FOR_A_HEAD
            return WAITS_FOR_A_HEAD
        seat = self._find_seat(ticket, serving)
        wanted = self._wanted_end(ticket)
        if seat is not None:
            # What rests on a reservation ends with it.
            wanted = wanted.within(seat.end, f"the reservation {seat.title!r} ends then")
        insists = _insists(ticket)
        needed = wanted.end if insists and wanted.end else self.now + self._shortest(wanted)
        lasting = self.heads.lasting(needed)
        if all((mask & lasting).bit_count() < ticket.request.gpus for mask in serving.values()):
            self.heads.add(want)
            return WAITS_FOR_A_HEAD + (ACCEPT if insists else "")
        best: tuple[tuple[str, ...], Bounds] | None = None
        for stocks in self._alternatives(ticket, want, serving, wanted, seat):
            devices = self._pick(ticket, stocks)
            bounds = self._find_bounds(ticket, self.board.mask(devices), devices, wanted)
            if best is None or is_later(bounds.end, best[1].end):
                best = (devices, bounds)
            if bounds.end == wanted.end:
                break
        if best is None:
            self.heads.add(want)
            return self._find_shortage(want)
        devices, bounds = best
        obstacle = self._why_too_short(ticket, wanted, bounds)
        if obstacle:
            self.heads.add(want, self.calendar.find_next_end(bounds.end))
            return obstacle
        return self._grant(ticket, claim, devices, bounds, wanted)

    def _is_hopeless(self, want: Want, serving: Mapping[str, Mask]) -> bool:
        """Whether those who wait longer need all of these devices too soon for any but a short session."""
        lasting = self.heads.lasting(self.now + SHORTEST_SESSION)
        return all((mask & lasting).bit_count() < want.gpus for mask in serving.values())

    def _may_be_short(self, ticket: Ticket) -> bool:
        """Whether a session of less than :data:`SHORTEST_SESSION` may be wanted."""
        if not self.unhurried or not self.people.have_hours_for(ticket, SHORTEST_SESSION):
            return True
        limits = (ticket.terms.longest, ticket.request.session)
        return any(one is not None and one < SHORTEST_SESSION for one in limits)

    def _find_seat(self, ticket: Ticket, serving: Mapping[str, Mask]) -> Occurrence | None:
        """The reservation that is on and has a seat for this ticket among these devices."""
        if not self.on:
            return None
        usable = self.board.uuids(union(serving.values()))
        return self.calendar.seat_for(ticket.owner, ticket.party, usable, ticket.request.gpus)

    def _alternatives(
        self,
        ticket: Ticket,
        want: Want,
        serving: Mapping[str, Mask],
        wanted: Bounds,
        seat: Occurrence | None,
    ) -> list[Mapping[str, Mask]]:
        """Sets of devices to choose from, the best first.

        A reserved seat comes before all, then cards that are kept for this person, then those that no
        reservation needs back soon.
        """
        gpus = want.gpus
        narrower: list[Mask] = []
        if self.occurrences:
            usable = self.board.uuids(union(serving.values()))
            narrower += [self.board.mask(self.calendar.serving(seat, usable))] if seat else []
        narrower += [want.kept] if want.kept else []
        if self.occurrences:
            widest = self.calendar.choose_widest(usable, gpus, ticket.owner, ticket.party, until=wanted.end)
            narrower.append(self.board.mask(widest))
        found: list[Mapping[str, Mask]] = []
        for mask in narrower:
            some = {model: stock & mask for model, stock in serving.items()}
            stocks = {model: stock for model, stock in some.items() if stock.bit_count() >= gpus}
            found += [stocks] if stocks and stocks not in found else []
        found += [serving] if serving not in found else []
        return [*found, *({model: mask} for model, mask in serving.items())] if len(serving) > 1 else found

    def _pick(self, ticket: Ticket, stocks: Mapping[str, Mask]) -> tuple[str, ...]:
        gpus = ticket.request.gpus
        key = (gpus, *stocks.items())
        if key not in self.picked:
            chosen = pick(gpus, {model: self.board.devices(mask) for model, mask in stocks.items()})
            self.picked[key] = tuple(device.uuid for device in chosen)
        return self.picked[key]

    # -- how long -------------------------------------------------------------------------------------------

    def _wanted_end(self, ticket: Ticket) -> Bounds:
        """How long the person would be given if nobody else were there."""
        bounds = own_limits(ticket, self.now)
        if ticket.terms.gpu_hours is None:
            return bounds
        end = self.people.find_budget_end(ticket)
        reason = describe_budget_end(Limit(ticket.terms.gpu_hours, ("settings",))) if end else ""
        return bounds.within(end, reason)

    def _find_bounds(self, ticket: Ticket, mask: Mask, devices: tuple[str, ...], wanted: Bounds) -> Bounds:
        # What a head is to have is quick to find, and often leaves no reservation to be looked at.
        bounds = wanted.within(self.heads.due(mask), FOR_A_HEAD)
        if self.occurrences and (bounds.end is None or bounds.end > self.now):
            limit = self.calendar.limit(devices, ticket.owner, ticket.party, until=bounds.end)
            bounds = bounds.within(*limit)
        return bounds

    def _shortest(self, wanted: Bounds) -> timedelta:
        """The shortest session that is given at all."""
        return SHORTEST_SESSION if wanted.end is None else min(SHORTEST_SESSION, wanted.end - self.now)

    def _why_too_short(self, ticket: Ticket, wanted: Bounds, bounds: Bounds) -> str | None:
        """Why the session that could be had now is not given; None when it is."""
        if bounds.end is None or bounds.end == wanted.end:
            return None
        left = bounds.end - self.now
        if left < self._shortest(wanted):
            return f"Waiting, because {bounds.reason}."
        if _insists(ticket):
            return f"GPUs are free, but only for {describe_duration(left)}, because {bounds.reason}.{ACCEPT}"
        return None

    # -- what follows ---------------------------------------------------------------------------------------

    def _grant(
        self, ticket: Ticket, claim: Claim, devices: tuple[str, ...], bounds: Bounds, wanted: Bounds
    ) -> Grant:
        mask = self.board.mask(devices)
        self.stuck = {}
        self.board.free &= ~mask
        self.board.held |= mask
        self.people.give(ticket)
        seat = self._take_seat(ticket, devices, bounds.end)
        for uuid in devices:
            self.board.ends[uuid] = bounds.end
        count = len(devices)
        return Grant(
            ticket=ticket,
            devices=devices,
            ends_at=bounds.end,
            end_reason=bounds.reason,
            reason=f"{count} GPU{'' if count == 1 else 's'} {'was' if count == 1 else 'were'} free",
            claim=claim,
            shortened=bounds.end != wanted.end,
            reservation=seat,
        )

    def _take_seat(
        self, ticket: Ticket, devices: tuple[str, ...], ends_at: datetime | None
    ) -> tuple[str, datetime] | None:
        """The seat of a reservation that a grant takes, if any; the calendar then knows of the grant."""
        if not self.occurrences:
            return None
        seat = self.calendar.seat_for(ticket.owner, ticket.party, devices, len(devices))
        lease = Lease(
            id=ticket.id,
            host=ticket.host,
            owner=ticket.owner,
            server=ticket.server,
            devices=devices,
            state=LeaseState.RESERVED,
            reason="",
            claimant="",
            created_at=self.now,
            state_since=self.now,
            party=ticket.party,
            ends_at=ends_at,
            reservation=seat.key if seat else None,
        )
        self.calendar = self.calendar.taking(lease)
        return lease.reservation

    def _find_shortage(self, want: Want) -> Shortage:
        missing = want.reach & ~(self.board.free & want.open)
        held = (missing & self.board.held).bit_count()
        kept = (missing & self.board.free).bit_count()
        return Shortage(want.reach.bit_count(), held, kept, missing.bit_count() - held - kept)


def _insists(ticket: Ticket) -> bool:
    """Whether a session of another length than the one that was asked for is of no use."""
    return ticket.request.session is not None and not ticket.request.shorten


def grant_without_gpu(ticket: Ticket, now: datetime) -> Grant:
    """A server without a GPU waits for nobody; only its person's own limits end it."""
    bounds = own_limits(ticket, now)
    return Grant(ticket, (), bounds.end, bounds.reason, "a server without a GPU", Claim.USE)


def describe_shortened(grant: Grant, now: datetime) -> str:
    """What a person reads who could have a GPU now, but not for as long as they may."""
    left = describe_duration((grant.ends_at or now) - now)
    return (
        f"GPUs are free, but only for {left}, because {grant.end_reason}. "
        "To take one until then, accept a shortened session."
    )
