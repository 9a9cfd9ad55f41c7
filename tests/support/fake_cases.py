"""Use cases that keep what they are told in the ledger and decide next to nothing, for tests of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.model import (
    Drain,
    Holder,
    Party,
    Pin,
    Reservation,
    SpawnRequest,
    Terms,
    Ticket,
    TicketState,
)

from .build import HOST, NOW


@dataclass(frozen=True)
class Estimate:
    earliest: datetime
    latest: datetime | None
    basis: str


@dataclass(frozen=True)
class Place:
    ticket: Ticket
    position: int
    ahead: int | None
    reason: str
    estimate: Estimate | None
    ends_at: datetime | None = None


@dataclass(frozen=True)
class View:
    places: Sequence[Place]


class FakeLine:
    """First come, first served; nobody's turn ever comes by itself."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.asked = 0

    def view(self) -> View:
        with self.ledger.read() as unit:
            tickets = unit.live_tickets(HOST)
        offered = [t for t in tickets if t.state is TicketState.OFFERED]
        waiting = [t for t in tickets if t.state is TicketState.WAITING]
        places = [Place(t, 0, None, t.reason, None, NOW) for t in offered]
        places += [
            Place(t, n + 1, n, "it waits for a GPU", Estimate(NOW, None, "nothing") if n else None)
            for n, t in enumerate(waiting)
        ]
        return View(places)

    def ask(
        self, request: SpawnRequest, *, owner: str, server: str, party: Party, terms: Terms, image: str
    ) -> Ticket:
        self.asked += 1
        ticket = Ticket(
            f"ticket{self.asked}", HOST, owner, server, request, image, NOW, NOW, TicketState.WAITING, NOW,
            "asked", terms, party,
        )  # fmt: skip
        with self.ledger.write() as unit:
            if unit.ticket_of(HOST, owner, server):
                raise Conflict("This server has a place in line already. Change or leave it.")
            unit.add_ticket(ticket)
        return ticket

    def offer(self, ticket: Ticket) -> Ticket:
        return self._store(replace(ticket, state=TicketState.OFFERED, claim_by=NOW))

    def change(self, ticket_id: str, request: SpawnRequest, *, actor: str) -> Ticket:
        return self._store(replace(self._find(ticket_id), request=request))

    def leave(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        return self._store(replace(self._find(ticket_id), state=TicketState.ENDED, reason=reason))

    def claim(self, ticket_id: str, *, actor: str) -> Ticket:
        ticket = self._find(ticket_id)
        if ticket.state is not TicketState.OFFERED:
            raise InvalidRequest("Your turn has not come yet.")
        return self._store(replace(ticket, state=TicketState.CLAIMED))

    def _find(self, ticket_id: str) -> Ticket:
        with self.ledger.read() as unit:
            ticket = unit.ticket(ticket_id)
        assert ticket
        if not ticket.state.live:
            raise Conflict("This place has come to its end.")
        return ticket

    def _store(self, ticket: Ticket) -> Ticket:
        with self.ledger.write() as unit:
            unit.update_ticket(ticket)
        return ticket


class FakeCards:
    """Does what it is told."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.done: list[tuple[str, ...]] = []

    def drain(self, device: str, *, reason: str, actor: str, until: datetime | None, now: bool) -> Drain:
        drain = Drain(device, reason, actor, NOW, until, now)
        with self.ledger.write() as unit:
            unit.put_drain(HOST, drain)
        return drain

    def undrain(self, device: str, *, reason: str, actor: str) -> None:
        with self.ledger.write() as unit:
            if not any(drain.device == device for drain in unit.drains(HOST)):
                raise Conflict("This GPU is not drained.")
            unit.remove_drain(HOST, device)

    def pin(self, device: str, holder: Holder, *, reason: str, actor: str) -> Pin:
        pin = Pin(device, holder, reason, actor, NOW)
        with self.ledger.write() as unit:
            unit.put_pin(HOST, pin)
        return pin

    def unpin(self, device: str, *, reason: str, actor: str) -> None:
        with self.ledger.write() as unit:
            unit.remove_pin(HOST, device)

    def clear_fault(self, device: str, *, reason: str, actor: str) -> None:
        self.done.append(("clear", device, reason, actor))


@dataclass(frozen=True)
class Made:
    reservation: Reservation
    warnings: Sequence[str] = ()


class FakeReservations:
    """Two reservations of the same title are a conflict; everything lasts an hour."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.people: bool | None = None

    def standing(self) -> Sequence[Reservation]:
        with self.ledger.read() as unit:
            return unit.reservations(HOST)

    def make(self, fields: Mapping[str, Any], *, actor: str) -> Made:
        self.told.append((actor, fields))
        if any(one.title == fields["title"] for one in self.standing()):
            raise Conflict("It collides with the reservation of the same title.")
        (holder,) = [Holder(k, fields[k]) for k in ("person", "group", "course") if fields.get(k)]
        return self._store(
            Reservation(
                id=f"reservation{len(self.told)}",
                host=HOST,
                title=fields["title"],
                holder=holder,
                devices=fields["devices"],
                start=datetime.fromisoformat(fields["start"]),
                length=timedelta(hours=1),
                zone=fields.get("zone") or "UTC",
                actor=actor,
                made_at=NOW,
                users=tuple(fields.get("users") or ()),
            )
        )

    def change(self, reservation_id: str, fields: Mapping[str, Any], *, actor: str) -> Made:
        self.told.append((actor, fields))
        changes = {name: fields[name] for name in ("title", "devices") if name in fields}
        return self._store(replace(self._find(reservation_id), **changes))

    def cancel(self, reservation_id: str, *, actor: str, reason: str) -> Reservation:
        return self._store(replace(self._find(reservation_id), ended_at=NOW)).reservation

    def export_ical(self, *, people: bool) -> str:
        self.people = people
        return "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"

    def import_ical(self, data: str, defaults: Mapping[str, Any], *, actor: str) -> Sequence[Made]:
        if not data.startswith("BEGIN:VCALENDAR"):
            raise InvalidRequest("This is no iCalendar document.")
        self.told.append((actor, defaults))
        return [Made(one) for one in self.standing()]

    def _find(self, reservation_id: str) -> Reservation:
        with self.ledger.read() as unit:
            found = unit.reservation(reservation_id)
        assert found
        return found

    def _store(self, reservation: Reservation) -> Made:
        with self.ledger.write() as unit:
            unit.put_reservation(reservation)
        return Made(reservation, ("a session may still run then",))


@dataclass(frozen=True)
class Row:
    key: str
    about: str = ""
    held_hours: float = 10.0
    sampled_hours: float = 8.0
    active_hours: float | None = 4.5
    peak_memory_bytes: int | None = None
    energy_kwh: float | None = None
    sessions: int = 2


@dataclass(frozen=True)
class Report:
    rows: Sequence[Row]


class FakeUsage:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, date, date, str | None]] = []

    def report(self, by: str, since: date, until: date, owner: str | None = None) -> Report:
        self.asked.append((by, since, until, owner))
        return Report([Row(owner or "everybody")])
