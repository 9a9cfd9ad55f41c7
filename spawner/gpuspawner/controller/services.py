"""What the controller's handlers and steps need of the use cases, so that they can be tried without them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Sessions
from gpuspawner.core.model import Holder, Lease, Party, Reservation, SpawnRequest, Terms, Ticket
from gpuspawner.ports import HubApi


class EstimateView(Protocol):
    """When a turn may come."""

    @property
    def earliest(self) -> datetime:
        """At the earliest."""

    @property
    def latest(self) -> datetime | None:
        """At the latest; None when it cannot be bounded."""

    @property
    def basis(self) -> str:
        """What it rests on, in words."""


class PlaceView(Protocol):
    """A ticket, and where it stands."""

    @property
    def ticket(self) -> Ticket:
        """The ticket."""

    @property
    def position(self) -> int:
        """1 for the first in line; 0 when its turn has come."""

    @property
    def ahead(self) -> int | None:
        """How many come before it; None when its turn has come."""

    @property
    def reason(self) -> str:
        """What it waits for."""

    @property
    def estimate(self) -> EstimateView | None:
        """When its turn may come; None when nothing can be said."""

    @property
    def ends_at(self) -> datetime | None:
        """For an offer: when the session would end."""


class LineView(Protocol):
    """The whole line at one moment."""

    @property
    def places(self) -> Sequence[PlaceView]:
        """Offers first, then the line in order."""


class LineCases(Protocol):
    """The line: see :class:`gpuspawner.allocator.line.Line`."""

    def view(self) -> LineView:
        """Every place in line."""

    def ask(
        self, request: SpawnRequest, *, owner: str, server: str, party: Party, terms: Terms, image: str
    ) -> Ticket:
        """Take a place in line."""

    def change(self, ticket_id: str, request: SpawnRequest, *, actor: str) -> Ticket:
        """Change what a ticket asks for."""

    def leave(self, ticket_id: str, *, actor: str, reason: str) -> Ticket:
        """Give up a place."""

    def claim(self, ticket_id: str, *, actor: str) -> Ticket:
        """Take what is offered."""


class CardCases(Protocol):
    """What an administrator does to cards: see :class:`gpuspawner.allocator.cards.Cards`."""

    def drain(self, device: str, *, reason: str, actor: str, until: datetime | None, now: bool) -> object:
        """Take a device out of use."""

    def undrain(self, device: str, *, reason: str, actor: str) -> object:
        """Give it back."""

    def pin(self, device: str, holder: Holder, *, reason: str, actor: str) -> object:
        """Keep a device for somebody."""

    def unpin(self, device: str, *, reason: str, actor: str) -> object:
        """Keep it for nobody."""

    def clear_fault(self, device: str, *, reason: str, actor: str) -> object:
        """Say that a standing fault is mended."""


class MadeView(Protocol):
    """A reservation that was made or changed."""

    @property
    def reservation(self) -> Reservation:
        """The reservation."""

    @property
    def warnings(self) -> Sequence[str]:
        """What may stand in its way, in words."""


class ReservationCases(Protocol):
    """Reservations, for :class:`gpuspawner.allocator.reservations.Reservations`.

    ``fields`` are what was sent; what they mean, and whether it makes sense, is judged there and not here.
    """

    def standing(self) -> Sequence[Reservation]:
        """Those that stand."""

    def make(self, fields: Mapping[str, Any], *, actor: str) -> MadeView:
        """Reserve. Raises: InvalidRequest, Conflict: with what it collides with."""

    def change(self, reservation_id: str, fields: Mapping[str, Any], *, actor: str) -> MadeView:
        """Change these fields; None takes one away. Raises: InvalidRequest, Conflict."""

    def cancel(self, reservation_id: str, *, actor: str, reason: str) -> Reservation:
        """Cancel. Raises: InvalidRequest."""

    def export_ical(self, *, people: bool) -> str:
        """All as an iCalendar document, with names of people or without."""

    def import_ical(self, data: str, defaults: Mapping[str, Any], *, actor: str) -> Sequence[MadeView]:
        """Make or change the reservations of an iCalendar document: all or none."""


class UsageRow(Protocol):
    """One line of a report: see :class:`gpuspawner.core.reports.ReportRow`."""

    @property
    def key(self) -> str:
        """The person, group, course, image, model, device, day or lease; empty for what belongs to none."""

    @property
    def about(self) -> str:
        """Whose a lease was, which model a device is; else empty."""

    @property
    def held_hours(self) -> float:
        """GPU-hours that sessions held."""

    @property
    def sampled_hours(self) -> float:
        """Of these, those that samples cover."""

    @property
    def active_hours(self) -> float | None:
        """Of the sampled ones, those in which some kernel ran; None when none were sampled."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most memory in use on one device; None when it is not known."""

    @property
    def energy_kwh(self) -> float | None:
        """None when no card says what it draws."""

    @property
    def sessions(self) -> int:
        """How many leases."""


class UsageReport(Protocol):
    """A report."""

    @property
    def rows(self) -> Sequence[UsageRow]:
        """Its lines."""


class UsageCases(Protocol):
    """Reports on use: see :class:`gpuspawner.allocator.usage.UsageReports`."""

    def report(self, by: str, since: date, until: date, owner: str | None = None) -> UsageReport:
        """What was used on these days, both included; of one person if one is named."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, checked, with all that the line needs to know of it."""

    request: SpawnRequest
    image: str
    """Image reference."""
    party: Party
    terms: Terms


class Policies(Protocol):
    """What the policy in force says."""

    def find_wish(self, person: str, groups: Collection[str], options: Mapping[str, Any]) -> Wish:
        """Judge what somebody asks for. Raises: InvalidRequest, Refused, SettingsError."""

    def courses_taught(self, person: str) -> frozenset[str]:
        """Names of the courses that somebody teaches. Raises: SettingsError."""


def no_limit(lease: Lease) -> tuple[datetime | None, str]:
    """Nothing stands in the way of a session."""
    return None, ""


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, one of each. A part that is None does not exist in this installation."""

    ledger: Ledger
    host: str
    sessions: Sessions
    hub: HubApi
    policies: Policies
    clock: Callable[[], datetime]
    stale_after: timedelta
    line: LineCases | None = None
    cards: CardCases | None = None
    reservations: ReservationCases | None = None
    usage: UsageCases | None = None
    latest_end: Callable[[Lease], tuple[datetime | None, str]] = no_limit
    """Until when a session could be extended, and what stands there; None for no limit."""
