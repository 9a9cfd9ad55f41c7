"""How long people waited for their turns, and who left without a server: from tickets and the audit trail.

A place counts once, by its first turn: what it waited after a turn that was not taken is another matter. Who
started at once never had a place, and waited for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .claims import Ticket, TicketState
from .errors import RefusalKind
from .model import Event
from .order import Claim

OFFERED = "ticket.offered"
"""Kind of the audit trail's line for a turn."""
GRANTED = "lease.granted"
REFUSED = "lease.refused"


@dataclass(frozen=True, slots=True)
class Spread:
    """How long some people waited."""

    count: int
    """Places in line."""
    people: int
    p50_seconds: float | None
    """None where nobody waited; so are the others."""
    p95_seconds: float | None
    longest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Waits:
    """Of one period."""

    turns: Spread
    """From asking to the first turn."""
    by_claim: Mapping[Claim, Spread]
    """The same, by what the place rested on; only what there was."""
    self_started: Spread
    """Those of the turns that people took by starting the server: what the place rested on is not kept."""
    left: Spread
    """Who left, or had to leave, before a turn; from asking to leaving."""
    untaken: Spread
    """Who had a turn, and left without having taken it."""
    at_once: int
    """Sessions with GPUs that began without a place in line."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often one reason was given."""

    kind: RefusalKind | None
    """None for a kind that is not known here."""
    times: int
    people: int


@dataclass(frozen=True, slots=True)
class _Wait:
    owner: str
    seconds: float
    claim: Claim | None = None


def percentile(values: Iterable[float], part: float) -> float | None:
    """The smallest of the values that at least this part of them does not exceed (*nearest rank*).

    It is always one that occurred: of one value it is that one, and the 95th of fewer than 20 is the largest.

    Args:
        values: In any order.
        part: Above 0, up to 1.

    Returns:
        None of no values.
    """
    ordered = sorted(values)
    # Rounded before, or what is 19 but for the last binary digit would come to 20.
    return ordered[max(math.ceil(round(part * len(ordered), 9)), 1) - 1] if ordered else None


def take_waits(
    ended: Iterable[Ticket],
    offers: Iterable[Event],
    grants: Iterable[Event],
    since: datetime,
    until: datetime,
) -> Waits:
    """Say how long people waited who had a turn, or left, in a period.

    Args:
        ended: Tickets that came to their end in the period; others do no harm.
        offers: The trail's :data:`OFFERED` of the period, and of some time before it: who was offered
            something before counts for the time of that offer.
        grants: The trail's :data:`GRANTED` of the period.
        since: Its first moment.
        until: The first moment after it.
    """
    tickets = [one for one in ended if since <= one.state_since < until]
    known = list(offers)
    first: dict[str, Event] = {}
    for offer in sorted(known, key=lambda one: one.at):
        first.setdefault(str(offer.data.get("ticket")), offer)
    offered = [_read(one) for one in first.values() if since <= one.at < until]
    served = [one for one in tickets if one.state is TicketState.CLAIMED]
    own = [_until_end(one) for one in served if one.id not in first]
    unserved = [one for one in tickets if one.state is TicketState.ENDED]
    waited = {one.lease_id for one in known} | {one.lease_id for one in served}
    return Waits(
        turns=_spread([*offered, *own]),
        by_claim={
            claim: _spread(some)
            for claim in Claim
            if (some := [one for one in offered if one.claim is claim])
        },
        self_started=_spread(own),
        left=_spread([_until_end(one) for one in unserved if not had_turn(one)]),
        untaken=_spread([_until_end(one) for one in unserved if had_turn(one)]),
        at_once=sum(
            1
            for one in grants
            if since <= one.at < until and one.data.get("devices") and one.lease_id not in waited
        ),
    )


def had_turn(ticket: Ticket) -> bool:
    """Whether something was ever offered to a ticket that ended without a server."""
    return bool(ticket.lease_id or ticket.returns or ticket.failures)


def count_refusals(events: Iterable[Event]) -> tuple[Refusals, ...]:
    """Count refusals by their reasons, the most frequent first; other events are passed over."""
    actors: dict[RefusalKind | None, list[str]] = {}
    for event in events:
        if event.kind == REFUSED:
            actors.setdefault(_kind(event), []).append(event.actor)
    found = [Refusals(kind, len(those), len(set(those))) for kind, those in actors.items()]
    return tuple(sorted(found, key=lambda one: (-one.times, one.kind or "~")))


def _kind(event: Event) -> RefusalKind | None:
    word = event.data.get("kind")
    return next((kind for kind in RefusalKind if kind.value == word), None)


def _read(offer: Event) -> _Wait:
    word, seconds = str(offer.data.get("claim")).upper(), offer.data.get("waited_seconds")
    return _Wait(
        str(offer.data.get("owner")),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
        Claim[word] if word in Claim.__members__ else None,
    )


def _until_end(ticket: Ticket) -> _Wait:
    return _Wait(ticket.owner, max((ticket.state_since - ticket.asked_at).total_seconds(), 0.0))


def _spread(waits: Sequence[_Wait]) -> Spread:
    seconds = [one.seconds for one in waits]
    return Spread(
        count=len(waits),
        people=len({one.owner for one in waits}),
        p50_seconds=percentile(seconds, 0.5),
        p95_seconds=percentile(seconds, 0.95),
        longest_seconds=max(seconds, default=None),
    )
