"""The product's own line (core/line.py) as an order of the simulation: reservation, share, use, arrival,
backfill."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from gpuspawner.core.claims import Standing, Ticket, TicketState
from gpuspawner.core.line import plan_line
from gpuspawner.core.model import Device, DeviceRecord, Health, Lease, LeaseState, SpawnRequest
from gpuspawner.core.order import order_line
from gpuspawner.core.shares import accrue
from gpuspawner.core.situation import Situation

from .orders import Grant, Holding, Request
from .rules import to_moment

_HOST = "simulated"


class OurLine:
    """Asks :func:`gpuspawner.core.line.plan_line`, for people of one weight, without reservations or limits.

    Cards are alike. Nobody has a longest session, so no request that is not first can be known to be out of
    the way in time, and none passes one that waits for more cards.

    Args:
        cards: How many cards there are.
    """

    def __init__(self, cards: int) -> None:
        # Telemetry never ages here: that is another test's business.
        self._inventory = tuple(
            DeviceRecord(Device(_HOST, _uuid(n), "simulated", 0, n), Health.OK, "", to_moment(0))
            for n in range(cards)
        )
        self._standings: dict[str, Standing] = {}
        self._tickets: dict[tuple[int, int], Ticket] = {}
        """Of those that wait, by session and time: a long line is gone through at each change of it."""

    def grant(
        self, now: int, free: Sequence[int], waiting: Collection[Request], holdings: Collection[Holding]
    ) -> Sequence[Grant]:
        """See :class:`gpuspawner.simulate.orders.Order`."""
        known, self._tickets = self._tickets, {}
        for request in waiting:
            place = (request.key, request.asked_at)
            self._tickets[place] = known.get(place) or _ticket(request)
        situation = Situation(
            now=to_moment(now),
            inventory=self._inventory,
            leases=[_lease(holding) for holding in holdings],
            tickets=list(self._tickets.values()),
            standings=self._stand(holdings, now),
            stale_after=timedelta.max,
        )
        # Nobody passes anybody here, so that behind as many as there are free cards nobody is served.
        order = order_line(situation, lambda ticket: False)
        grants = plan_line(replace(situation, tickets=[one for one, _ in order[: len(free) + 1]])).grants
        requests = {str(request.key): request for request in waiting} if grants else {}
        return [
            Grant(requests[granted.ticket.id], tuple(_card(uuid) for uuid in granted.devices))
            for granted in grants
        ]

    def settle(self, holding: Holding, until: int) -> None:
        """See :class:`gpuspawner.simulate.orders.Order`."""
        self._standings[holding.user] = _accrue(self._standings, holding, until)

    def _stand(self, holdings: Collection[Holding], now: int) -> Mapping[str, Standing]:
        """What people have used until now, what they hold included."""
        standings = dict(self._standings)
        for holding in holdings:
            standings[holding.user] = _accrue(standings, holding, now)
        return standings


def _accrue(standings: Mapping[str, Standing], holding: Holding, until: int) -> Standing:
    since, end = to_moment(holding.since), to_moment(until)
    before = standings.get(holding.user, Standing(0.0, since))
    return accrue(before, len(holding.cards) * (end - since).total_seconds(), since, end)


def _ticket(request: Request) -> Ticket:
    asked = to_moment(request.asked_at)
    return Ticket(
        id=str(request.key),
        host=_HOST,
        owner=request.user,
        server=str(request.key),
        request=SpawnRequest(request.gpus),
        image="",
        asked_at=asked,
        queued_at=asked,
        state=TicketState.WAITING,
        state_since=asked,
        reason="",
    )


def _lease(holding: Holding) -> Lease:
    since = to_moment(holding.since)
    return Lease(
        id=str(holding.key),
        host=_HOST,
        owner=holding.user,
        server=str(holding.key),
        devices=tuple(_uuid(card) for card in holding.cards),
        state=LeaseState.ACTIVE,
        reason="",
        claimant="",
        created_at=since,
        state_since=since,
    )


def _uuid(card: int) -> str:
    return f"GPU-{card}"


def _card(uuid: str) -> int:
    return int(uuid.removeprefix("GPU-"))
