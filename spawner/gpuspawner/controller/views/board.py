"""The administrators' board as a page shows it: cards, sessions, the line, and what adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gpuspawner.allocator.places import LineView, Place
from gpuspawner.allocator.ssh_disputes import DISPUTED
from gpuspawner.controller.links import Links
from gpuspawner.core.culling import Watch
from gpuspawner.core.model import Event, Lease
from gpuspawner.core.undo import Undoing
from gpuspawner.core.words import mark

from .boardcards import ActionLink, CardGroup, CardRow, find_silence, link_action, list_units, view_cards
from .boardundo import link_undo, name_subject
from .queue import round_time

_HELD = ("held", "releasing")


@dataclass(frozen=True, slots=True)
class Totals:
    """What adds up. A slice counts like a card."""

    free: int
    held: int
    out: int
    """Drained, faulty, in use by others, or not proved free in time."""
    unknown: int
    """Of which nothing is known at the moment."""
    working: int
    """People with a session."""
    waiting: int
    """People in line."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that holds something; one without a GPU too."""

    id: str
    owner: str
    server: str
    """Name; empty for the default server."""
    state: str
    image: str
    devices: tuple[str, ...]
    """UUIDs."""
    since: datetime
    ends_at: datetime | None
    end_reason: str
    actions: tuple[ActionLink, ...]
    """None where it ends already."""


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A place in line."""

    id: str
    owner: str
    server: str
    position: int
    """1 for the first; 0 when the turn has come."""
    gpus: int
    slice_bytes: int | None
    """Least memory, where it is for a slice of a card."""
    model: str | None
    reason: str
    """What it waits for."""
    since: datetime
    earliest: datetime | None
    """When its turn may come; None when nothing can be said."""
    latest: datetime | None
    remove: str
    """Where it is removed from the line."""


@dataclass(frozen=True, slots=True)
class BoardPage:
    """The page."""

    host: str
    totals: Totals
    trouble: tuple[CardRow, ...]
    """Cards that somebody must look after."""
    silent_since: datetime | None
    """The agent's last report, where that is too old for every card."""
    login_silent: str
    """That the login service does not answer, and what; empty where it does."""
    login_trouble: tuple[int, str] | None
    """How much else was wrong with logins in the last day, and where that is listed."""
    disputes: tuple[int, str] | None
    """How often somebody wanted to add a key of another's in the last day, and where that is listed."""
    cards: tuple[CardGroup, ...]
    sessions: tuple[SessionRow, ...]
    line: tuple[WaitingRow, ...]
    announce: str
    """Where everybody is told something."""
    audit: str
    undo: tuple[ActionLink, str] | None
    """What takes back what was just done, and what that was done to."""


def view_board(
    view: LineView,
    host: str,
    links: Links,
    *,
    undo: Undoing | None = None,
    watches: Mapping[str, Watch] | None = None,
    logins: tuple[Event | None, int] = (None, 0),
    disputes: int = 0,
) -> BoardPage:
    """Make the page.

    Args:
        view: The line, the cards and who holds them.
        host: The host's name.
        links: Where things are.
        undo: What was just done, if it can be taken back.
        watches: What is known of sessions, by the lease's id.
        logins: What is wrong with logins, see :func:`~gpuspawner.allocator.identities.find_login_trouble`.
        disputes: How often somebody wanted to add a key of another's.
    """
    situation = view.situation
    cards = view_cards(situation, links, watches or {})
    units = list_units(cards)
    return BoardPage(
        host=host,
        totals=_add_up(units, situation.leases, view.places),
        trouble=tuple(row for row in units if row.needs_you),
        silent_since=find_silence(situation.inventory, situation.now, situation.stale_after),
        login_silent=logins[0].reason if logins[0] else "",
        login_trouble=(logins[1], links.page("audit", kind="login.")) if logins[1] else None,
        disputes=(disputes, links.page("audit", kind=DISPUTED)) if disputes else None,
        cards=cards,
        sessions=tuple(_show_session(one, links) for one in sorted(situation.leases, key=_by_age)),
        line=tuple(_show_place(place, links) for place in view.places),
        announce=link_action(links, "announce", host),
        audit=links.page("audit"),
        undo=_link_undo(undo, links) if undo else None,
    )


def _add_up(units: Sequence[CardRow], leases: Iterable[Lease], places: Iterable[Place]) -> Totals:
    states = Counter(row.state for row in units)
    free, unknown = states["free"], states["unknown"]
    held = sum(states[state] for state in _HELD)
    return Totals(
        free=free,
        held=held,
        out=len(units) - free - held - unknown,
        unknown=unknown,
        working=len({lease.owner for lease in leases if not lease.state.ending}),
        waiting=len({place.ticket.owner for place in places}),
    )


def _by_age(lease: Lease) -> tuple[datetime, str]:
    return lease.created_at, lease.id


def _show_session(lease: Lease, links: Links) -> SessionRow:
    names = ((mark("Message"), "message"), (mark("Extend"), "extend"), (mark("Stop"), "stop"))
    actions = tuple(ActionLink(label, link_action(links, name, lease.id)) for label, name in names)
    return SessionRow(
        id=lease.id,
        owner=lease.owner,
        server=lease.server,
        state=lease.state.value,
        image=lease.image,
        devices=lease.devices,
        since=lease.created_at,
        ends_at=lease.ends_at,
        end_reason=lease.end_reason,
        actions=() if lease.state.ending else actions,
    )


def _show_place(place: Place, links: Links) -> WaitingRow:
    ticket, estimate = place.ticket, place.estimate
    return WaitingRow(
        id=ticket.id,
        owner=ticket.owner,
        server=ticket.server,
        position=place.position,
        gpus=ticket.request.gpus,
        slice_bytes=ticket.request.slice_bytes,
        model=ticket.request.model,
        reason=place.reason,
        since=ticket.asked_at,
        earliest=round_time(estimate.earliest) if estimate else None,
        latest=round_time(estimate.latest) if estimate and estimate.latest else None,
        remove=link_action(links, "remove", ticket.id),
    )


def _link_undo(undoing: Undoing, links: Links) -> tuple[ActionLink, str] | None:
    link = link_undo(undoing, links)
    return None if link is None else (link, name_subject(undoing))
