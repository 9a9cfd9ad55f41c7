"""Use cases that keep what they are told in the ledger and decide next to nothing, for tests of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.controller.services import ReservationWish
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.model import (
    Holder,
    Reservation,
)

from .build import HOST, NOW


class FakeReservations:
    """Two reservations of the same title are a conflict."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.made = 0

    def list(self) -> Sequence[Reservation]:
        with self.ledger.read() as unit:
            return unit.reservations(HOST)

    def make(self, wish: ReservationWish, *, actor: str) -> Reservation:
        if any(one.title == wish.title for one in self.list()):
            raise Conflict("It collides with the reservation of the same title.")
        self.made += 1
        return self._store(
            Reservation(
                id=f"reservation{self.made}",
                host=HOST,
                title=wish.title,
                holder=wish.holder,
                devices=wish.devices,
                start=wish.start,
                length=wish.length,
                zone=wish.zone,
                actor=actor,
                made_at=NOW,
                users=wish.users,
                cards=wish.cards,
                pool=wish.pool,
                rule=wish.rule,
                left_out=wish.left_out,
                lead=wish.lead,
            )
        )

    def change(self, reservation_id: str, changes: Mapping[str, Any], *, actor: str) -> Reservation:
        return self._store(replace(self._find(reservation_id), **changes))

    def cancel(self, reservation_id: str, *, actor: str, reason: str) -> Reservation:
        return self._store(replace(self._find(reservation_id), ended_at=NOW))

    def export_ical(self) -> str:
        return "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"

    def import_ical(self, text: str, *, holder: Holder, devices: int, actor: str) -> Sequence[Reservation]:
        if not text.startswith("BEGIN:VCALENDAR"):
            raise InvalidRequest("This is no iCalendar document.")
        return self.list()

    def _find(self, reservation_id: str) -> Reservation:
        with self.ledger.read() as unit:
            found = unit.reservation(reservation_id)
        assert found
        return found

    def _store(self, reservation: Reservation) -> Reservation:
        with self.ledger.write() as unit:
            unit.put_reservation(reservation)
        return reservation
