"""One reservation as a page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gpuspawner.controller.api.linemodels import ReservationInfo
from gpuspawner.controller.links import Links
from gpuspawner.core.model import Lease
from gpuspawner.core.occurrences import Occurrence

from .reservations import What, describe_what

MOST_SHOWN = 10
"""Dates in the list."""
MOST_TO_CHOOSE = 200
"""Dates among which one to skip is chosen."""


@dataclass(frozen=True, slots=True)
class Date:
    """When it takes place, in the reader's time zone."""

    value: str
    """Its start, for the form that skips it."""
    start: datetime
    end: datetime
    on: bool


@dataclass(frozen=True, slots=True)
class ReservationPage:
    """The page."""

    what: What
    zone: str
    """The reader's time zone."""
    own_zone: str
    """The time zone in which it recurs."""
    rule: str
    lead: timedelta
    users: tuple[str, ...]
    """Those of them who may use it; none is all, or not told."""
    actor: str
    """Who made it; empty where the reader may not know."""
    in_shell: bool
    """Whether they made it on the host's command line, where names are those of Unix users."""
    made_at: datetime
    ended_at: datetime | None
    """When it was cancelled, or was over."""
    dates: tuple[Date, ...]
    """The next ones."""
    choice: tuple[Date, ...]
    """Those that can be skipped."""
    times: int
    """How often it is still to come, what is on included."""
    left_out: tuple[datetime, ...]
    given_back: int
    """GPUs of what is on that nobody used in time."""
    seated: tuple[str, ...]
    """People who have a seat of what is on, as far as the reader may know them."""
    seated_unnamed: int
    """Sessions of others that have one."""
    version: str
    """What a press sends back, so that it is done to nothing else than was shown."""
    change: str
    cancel: str
    skip: str
    calendar: str


def view_reservation(
    info: ReservationInfo,
    ahead: Sequence[Occurrence],
    left_out: Sequence[datetime],
    *,
    seated: Sequence[tuple[Lease, bool]],
    links: Links,
    zone: ZoneInfo,
    now: datetime,
    lead: timedelta,
    ended_at: datetime | None,
    given_back: int,
    version: str,
) -> ReservationPage:
    """Make the page.

    Args:
        info: What the reader may know.
        ahead: All that is still to come, what is on included, in order.
        left_out: Starts that do not take place.
        seated: Sessions that have a seat of what is on, each with whether the reader may know of it.
        links: Where things are.
        zone: The reader's time zone.
        now: The present.
        lead: So long before each start the GPUs are kept free.
        ended_at: When it was cancelled, or was over.
        given_back: GPUs of what is on that were given back.
        version: What the reservation is at this moment.
    """
    dates = tuple(
        Date(one.start.isoformat(), one.start.astimezone(zone), one.end.astimezone(zone), one.start <= now)
        for one in ahead[:MOST_TO_CHOOSE]
    )
    return ReservationPage(
        what=describe_what(info, links, zone.key),
        zone=zone.key,
        own_zone=info.zone,
        rule=info.rule,
        lead=lead,
        users=tuple(info.users),
        actor=info.actor,
        in_shell=info.actor_kind == "shell",
        made_at=info.made_at.astimezone(zone),
        ended_at=ended_at.astimezone(zone) if ended_at else None,
        dates=dates[:MOST_SHOWN],
        choice=dates,
        times=len(ahead),
        left_out=tuple(one.astimezone(zone) for one in left_out if one > now),
        given_back=given_back,
        seated=tuple(sorted({lease.owner for lease, known in seated if known})),
        seated_unnamed=sum(1 for _, known in seated if not known),
        version=version,
        change=links.page(f"reservations/{info.id}/change", zone=zone.key),
        cancel=links.below("reservations", info.id, "cancel"),
        skip=links.below("reservations", info.id, "skip"),
        calendar=links.page("reservations", zone=zone.key),
    )
