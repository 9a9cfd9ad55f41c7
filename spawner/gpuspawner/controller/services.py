"""What the controller's handlers and steps need of the use cases, so that they can be tried without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Line, Sessions, UsageReports
from gpuspawner.core.model import Holder, Reservation
from gpuspawner.ports import HubApi

from .people import PolicyReader


@dataclass(frozen=True, slots=True)
class ReservationWish:
    """What somebody wants to reserve, its form checked."""

    title: str
    holder: Holder
    devices: int
    start: datetime
    length: timedelta
    zone: str
    users: tuple[str, ...] = ()
    pool: str = ""
    cards: frozenset[str] = frozenset()
    rule: str = ""
    left_out: tuple[datetime, ...] = ()
    lead: timedelta = timedelta(0)


class ReservationCases(Protocol):
    """Reservations: see :class:`gpuspawner.allocator.reservations.Reservations`."""

    def list(self) -> Sequence[Reservation]:
        """Those that stand."""

    def make(self, wish: ReservationWish, *, actor: str) -> Reservation:
        """Reserve. Raises: Conflict: with what it collides with."""

    def change(self, reservation_id: str, changes: Mapping[str, Any], *, actor: str) -> Reservation:
        """Change fields of :class:`ReservationWish` by name. Raises: NotFound, Conflict."""

    def cancel(self, reservation_id: str, *, actor: str, reason: str) -> Reservation:
        """Cancel. Raises: NotFound."""

    def export_ical(self) -> str:
        """All as an iCalendar document."""

    def import_ical(self, text: str, *, holder: Holder, devices: int, actor: str) -> Sequence[Reservation]:
        """Make the reservations of an iCalendar document: all or none. Raises: InvalidRequest, Conflict."""


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, one of each."""

    ledger: Ledger
    host: str
    sessions: Sessions
    hub: HubApi
    policies: PolicyReader
    clock: Callable[[], datetime]
    stale_after: timedelta
    line: Line
    cards: Cards
    usage: UsageReports
    reservations: ReservationCases | None = None
