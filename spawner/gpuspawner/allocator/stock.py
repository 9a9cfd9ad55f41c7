"""What a person can choose from at a start, and how they stand: gathered for the start page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.budget import Balance, Held, judge_budget, take_balance
from gpuspawner.core.claims import Terms, Ticket, TicketState
from gpuspawner.core.drains import find_stop, why_drained
from gpuspawner.core.errors import Refused
from gpuspawner.core.estimate import LOOK_BACK
from gpuspawner.core.line import plan_line
from gpuspawner.core.model import Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.placement import Offer, survey, why_nothing_is_known
from gpuspawner.core.policy import Allowance
from gpuspawner.core.prospects import add_up, see_any, see_turn
from gpuspawner.core.quota import why_no_more
from gpuspawner.core.situation import Situation, find_unavailable

from .desk import new_ticket
from .gather import gather
from .usage import count_running, held_in_window


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """A place that the person has in line."""

    server: str
    """Name; empty for the default server."""
    gpus: int
    model: str | None
    position: int | None
    """1 for the first in line; None when its turn has come."""
    claim_by: datetime | None = None
    """When its turn has come: until when it can be taken."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What a person can choose from, and how they stand."""

    offers: tuple[Offer, ...] = ()
    """By model."""
    any_gpu: Offer | None = None
    """For whoever takes any whole GPU; None when there is none."""
    problem: str | None = None
    """Why nothing of it can be given out: its state is not known. None when some of it is."""
    stopped: str | None = None
    """Why no server without a GPU is started now; None when they are."""
    refused: str | None = None
    """Why the person would be refused any GPU now, however long they waited; None when they would not."""
    holding: int = 0
    """GPUs in the person's other servers."""
    waiting: int | None = None
    """Places in line, of everybody; None when that is not known."""
    places: tuple[OwnPlace, ...] = ()
    """Those of the person."""
    balance: Balance | None = None
    """How the person stands with their GPU-hours; None where there is no limit."""


def take_stock(
    unit: LedgerUnit,
    host: str,
    *,
    owner: str,
    server: str,
    party: Party,
    terms: Terms,
    allowance: Allowance,
    now: datetime,
    stale_after: timedelta,
) -> Stock:
    """Say what there is, and what a start now would get.

    Args:
        unit: A transaction.
        host: The host.
        owner: The person.
        server: The server that would be started; a place that it has in line stays its own.
        party: Their groups.
        terms: What the line needs to know of their allowance.
        allowance: What they may use.
        now: The present.
        stale_after: Age from which a report on a device is no longer believed.
    """
    own = unit.ticket_of(host, owner, server)
    probe = new_ticket(
        SpawnRequest(1),
        host=host,
        owner=owner,
        server=server,
        image="",
        party=party,
        terms=terms,
        now=own.queued_at if own else now,
    )
    without = frozenset({own.id} if own else ())
    situation = gather(unit, host, now=now, stale_after=stale_after, asking=(probe,), without=without)
    line = replace(situation, tickets=[one for one in situation.tickets if one.id != probe.id])
    tickets = unit.live_tickets(host)
    places = _list_places([t for t in tickets if t.owner == owner], line, own)
    leases = [_as_if_begun(lease, owner, server) for lease in situation.leases]
    balance, refused = _judge(unit, probe, allowance, leases, now)
    drain = find_stop(situation.drains, now)
    stock = Stock(
        stopped=why_drained(drain, now) if drain else None,
        refused=refused,
        holding=count_running(leases, owner),
        waiting=sum(ticket.state is TicketState.WAITING for ticket in tickets),
        places=places,
        balance=balance,
    )
    return _see_offers(stock, unit, replace(line, leases=leases), probe, allowance)


def _see_offers(
    stock: Stock, unit: LedgerUnit, line: Situation, probe: Ticket, allowance: Allowance
) -> Stock:
    now, stale_after = line.now, line.stale_after
    problem = why_nothing_is_known(line.inventory, now=now, stale_after=stale_after)
    unavailable = find_unavailable(line, probe)
    offers = survey(line.inventory, unavailable, allowance, now=now, stale_after=stale_after)
    if problem is not None:
        whole = [offer for offer in offers if offer.barred is None and not offer.sliced]
        return replace(stock, offers=offers, any_gpu=add_up(whole), problem=problem)
    past = unit.session_seconds(probe.host, now - LOOK_BACK)
    any_gpu = see_any(offers, line, probe, past)
    seen = [offer if offer.barred else see_turn(offer, line, probe, offer.model, past) for offer in offers]
    return replace(stock, offers=tuple(seen), any_gpu=any_gpu)


def _as_if_begun(lease: Lease, owner: str, server: str) -> Lease:
    """A lease as a start of this server leaves it: what the server held before is let go of."""
    if (lease.owner, lease.server) != (owner, server) or lease.state.ending:
        return lease
    return replace(lease, state=LeaseState.RELEASING)


def _judge(
    unit: LedgerUnit, probe: Ticket, allowance: Allowance, leases: Sequence[Lease], now: datetime
) -> tuple[Balance | None, str | None]:
    """The person's GPU-hours, and why they would be refused one GPU."""
    limit, owner = allowance.gpu_hours_per_week, probe.owner
    running = count_running(leases, owner)
    refused = why_no_more(running, allowance)
    if limit.value is None:
        return None, refused
    held: Held = held_in_window(unit, probe.host, leases, now, owner=owner).get(owner, {})
    try:
        judge_budget(1, limit, held, running, now)
    except Refused as error:
        refused = refused or str(error)
    return take_balance(limit, held, running, now), refused


def _list_places(tickets: Sequence[Ticket], line: Situation, own: Ticket | None) -> tuple[OwnPlace, ...]:
    """The person's places, each where the page of the line has it."""
    waiting = [own] if own is not None and own.state is TicketState.WAITING else []
    if not tickets:
        return ()
    plan = plan_line(replace(line, tickets=[*line.tickets, *waiting]))
    order = [grant.ticket.id for grant in plan.grants] + [wait.ticket.id for wait in plan.waits]
    return tuple(
        OwnPlace(
            ticket.server,
            ticket.request.gpus,
            ticket.request.model,
            order.index(ticket.id) + 1 if ticket.id in order else None,
            ticket.claim_by,
        )
        for ticket in tickets
    )
