"""Waits and refusals, from tickets and the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.errors import RefusalKind
from gpuspawner.core.model import Event
from gpuspawner.core.order import Claim
from gpuspawner.core.waits import Refusals, Spread, Waits, count_refusals, percentile, take_waits
from support.build import NOW, ticket

HOUR = timedelta(hours=1)
NOBODY = Spread(0, 0, None, None, None)


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [
        ([], None, None),
        ([7], 7, 7),
        ([3, 1], 1, 3),
        ([3, 1, 2], 2, 3),
        (range(1, 20), 10, 19),
        (range(1, 21), 10, 19),
        (range(1, 22), 11, 20),
        (range(1, 101), 50, 95),
        ([0, 0, 0, 60], 0, 60),
    ],
)
def test_percentiles(values: Sequence[float], p50: float | None, p95: float | None) -> None:
    assert percentile(reversed(list(values)), 0.5) == p50
    assert percentile(values, 0.95) == p95
    assert percentile(values, 1) == max(values, default=None)


def offer(name: str, waited: float, claim: str = "use", minutes: float = 0) -> Event:
    data = {"ticket": name, "owner": name[:3], "waited_seconds": waited, "claim": claim}
    return Event(
        NOW + timedelta(minutes=minutes), "ticket.offered", "", "controller", f"of-{name}", data=data
    )


def granted(lease_id: str, devices: tuple[str, ...] = ("GPU-0",), hours: float = 0) -> Event:
    return Event(NOW + hours * HOUR, "lease.granted", "", "ada", lease_id, data={"devices": list(devices)})


def ended(name: str, state: TicketState, waited: float, **changes: Any) -> Ticket:
    asked = NOW - timedelta(seconds=waited)
    values = {"owner": name[:3], "asked_at": asked, "state_since": NOW}
    return ticket(id=name, state=state, **values | changes)


def take(tickets: Sequence[Ticket] = (), offers: Sequence[Event] = (), grants: Sequence[Event] = ()) -> Waits:
    return take_waits(tickets, offers, grants, NOW - HOUR, NOW + HOUR)


def test_nothing() -> None:
    assert take() == Waits(NOBODY, {}, NOBODY, NOBODY, NOBODY, 0)


def test_turns_by_what_the_place_rested_on() -> None:
    waits = take(
        offers=[offer("ada1", 60), offer("ada2", 120, "share"), offer("bob1", 30), offer("cyd", 9, "new")]
    )
    assert waits.turns == Spread(4, 3, 30, 120, 120)
    assert waits.by_claim == {Claim.SHARE: Spread(1, 1, 120, 120, 120), Claim.USE: Spread(2, 2, 30, 60, 60)}


def test_a_place_counts_once_by_its_first_turn() -> None:
    again = offer("ada1", 900, minutes=10)
    assert take(offers=[again, offer("ada1", 60)]).turns == Spread(1, 1, 60, 60, 60)
    before = offer("ada1", 60, minutes=-90)
    assert take(offers=[before, again]).turns == NOBODY, "its turn was in the period before"


def test_a_turn_that_was_taken_by_starting_the_server() -> None:
    own = ended("ada1", TicketState.CLAIMED, 300, lease_id="l1")
    offered = ended("bob1", TicketState.CLAIMED, 400, lease_id="of-bob1")
    waits = take([own, offered], [offer("bob1", 60)], [granted("l1"), granted("of-bob1"), granted("l3")])
    assert waits.turns == Spread(2, 2, 60, 300, 300)
    assert waits.self_started == Spread(1, 1, 300, 300, 300)
    assert waits.at_once == 1, "the other two waited"


def test_who_left() -> None:
    waits = take(
        [
            ended("ada1", TicketState.ENDED, 100),
            ended("bob1", TicketState.ENDED, 200, lease_id="l1"),
            ended("bob2", TicketState.ENDED, 300, returns=1),
            ended("bob3", TicketState.ENDED, 300, failures=4),
            ended("cyd1", TicketState.ENDED, 100, state_since=NOW + HOUR),
        ]
    )
    assert waits.left == Spread(1, 1, 100, 100, 100)
    assert waits.untaken == Spread(3, 1, 300, 300, 300)
    assert waits.turns == NOBODY


def test_what_began_at_once_had_a_gpu_and_was_in_the_period() -> None:
    grants = [granted("a"), granted("b", ()), granted("c", hours=1), granted("d", hours=-1)]
    assert take(grants=grants).at_once == 2


def refused(kind: object, actor: str = "ada") -> Event:
    return Event(NOW, "lease.refused", "no", actor, data={"kind": kind})


def test_refusals() -> None:
    events = [
        refused("not_allowed"),
        refused("never_possible", "bob"),
        refused("never_possible"),
        refused("never_possible"),
        refused(["<script>"]),
        Event(NOW, "lease.granted", ""),
    ]
    assert count_refusals(events) == (
        Refusals(RefusalKind.NEVER, 3, 2),
        Refusals(RefusalKind.NOT_ALLOWED, 1, 1),
        Refusals(None, 1, 1),
    )
    assert count_refusals([]) == ()
