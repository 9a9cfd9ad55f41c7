"""One's places in line as a page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.links import Links
from gpuspawner.core.model import Lease, LeaseState

STEP = timedelta(minutes=5)
"""An estimate is told to this, so that it does not change at every look."""


@dataclass(frozen=True, slots=True)
class PlaceCard:
    """A place in line."""

    id: str
    gpus: int
    slice_bytes: int | None
    """Least memory, where it is for a slice of a card."""
    model: str | None
    server: str
    """Name; empty for the default server."""
    ahead: int | None
    """How many come before it; None when its turn has come."""
    reason: str
    earliest: datetime | None
    """When its turn may come; None when nothing can be said."""
    latest: datetime | None
    basis: str
    claim_by: datetime | None
    ends_at: datetime | None
    """For an offer: when the session would end."""
    starting: bool
    """Whether it was claimed, and its server does not run yet."""
    switches: bool
    """Whether a server without the GPU runs, which a claim restarts."""
    claim: str
    """Where *Open my server* leads."""
    leave: str


@dataclass(frozen=True, slots=True)
class SessionCard:
    """A session with GPUs that runs."""

    server: str
    gpus: int
    ends_at: datetime | None
    href: str


@dataclass(frozen=True, slots=True)
class QueuePage:
    """The page."""

    places: tuple[PlaceCard, ...]
    sessions: tuple[SessionCard, ...]
    length: int
    """Places in line in all."""
    start: str
    """Where a server is started."""
    goes_to: str | None
    """Where the reader is to be led now."""


def view_queue(view: LineView, person: str | None, links: Links, *, goes_to: str | None = None) -> QueuePage:
    """Make the page of a person.

    Args:
        view: The line.
        person: Whose page it is; None for a service, which has nothing.
        links: Where things are.
        goes_to: Where the reader is to be led now.
    """
    return QueuePage(
        places=tuple(_show_place(p, links) for p in view.places if p.ticket.owner == person),
        sessions=tuple(_show_session(one, links) for one in view.situation.leases if _runs(one, person)),
        length=len(view.places),
        start=links.spawn(),
        goes_to=goes_to,
    )


def _show_place(place: Place, links: Links) -> PlaceCard:
    ticket, estimate = place.ticket, place.estimate
    return PlaceCard(
        id=ticket.id,
        gpus=ticket.request.gpus,
        slice_bytes=ticket.request.slice_bytes,
        model=ticket.request.model,
        server=ticket.server,
        ahead=place.ahead,
        reason=place.reason,
        earliest=round_time(estimate.earliest) if estimate else None,
        latest=round_time(estimate.latest) if estimate and estimate.latest else None,
        basis=estimate.basis if estimate else "",
        claim_by=ticket.claim_by,
        ends_at=place.ends_at,
        starting=ticket.switch_at is not None,
        switches=place.other is not None,
        claim=links.press(ticket, "claim"),
        leave=links.press(ticket, "leave"),
    )


def _show_session(lease: Lease, links: Links) -> SessionCard:
    return SessionCard(lease.server, len(lease.devices), lease.ends_at, links.server(lease))


def _runs(lease: Lease, person: str | None) -> bool:
    return bool(lease.devices) and lease.owner == person and lease.state is LeaseState.ACTIVE


def round_time(moment: datetime) -> datetime:
    """A time to :data:`STEP`."""
    since_midnight = moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return moment - since_midnight % STEP
