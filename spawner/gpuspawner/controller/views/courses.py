"""A course as its teachers see it: who works, who waits, and what an extension would come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.cardstate import fresh_sample
from gpuspawner.controller.links import Links
from gpuspawner.core.coursework import course_link
from gpuspawner.core.model import DeviceRecord, Lease, LeaseState
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import Right, Role
from gpuspawner.core.situation import count_seats
from gpuspawner.core.words import mark

EXTENSIONS = (30, 60, 120)
"""By how many minutes a session can be extended with one press."""
_MOST_SLOTS = 5

Limits = Mapping[str, tuple[datetime | None, str]]
"""By lease, the latest end that is possible (None: any), and what stands there, as a sentence."""


@dataclass(frozen=True, slots=True)
class CourseLine:
    """A course in the list of them."""

    name: str
    href: str
    taken: int
    """Seats."""
    seats: int | None
    """How many may work at once; None is no limit."""
    waiting: int


@dataclass(frozen=True, slots=True)
class CoursesPage:
    """The list."""

    courses: tuple[CourseLine, ...]


@dataclass(frozen=True, slots=True)
class SeatCard:
    """A GPU of a session."""

    uuid: str
    model: str | None
    percent: int | None
    """Utilisation now; None while the sensor is silent."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A session of the course."""

    id: str
    person: str
    server: str
    """Name; empty for the default server."""
    state: str
    """``starting``, ``running`` or ``ending``."""
    since: datetime
    ends_at: datetime | None
    end_reason: str
    cards: tuple[SeatCard, ...]
    href: str
    """Where something can be done about it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody in line for the course."""

    id: str
    person: str
    position: int
    """In the whole line; 0 when their turn has come."""
    gpus: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which GPUs are reserved for the course."""

    title: str
    start: datetime
    end: datetime
    gpus: int
    on: bool
    """Whether it takes place now."""


@dataclass(frozen=True, slots=True)
class CoursePage:
    """The page of a course."""

    line: CourseLine
    sessions: tuple[Seat, ...]
    waiting: tuple[Waiting, ...]
    slots: tuple[Slot, ...]
    message: str
    """Where all are told something."""
    extend: str
    """Where all are extended."""
    list: str
    reservations: str
    """Where something is reserved; empty for who may not."""
    roster: str
    timetable: str
    notebooks: str
    """What opens its notebooks for whoever follows it; empty where it has none."""
    grading: str
    """Where who looks grades what was handed in, in their own server; empty for who does not."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What extending one session by some minutes would come to."""

    seat: Seat
    minutes: int
    until: datetime | None
    """Its new end; None where it cannot be."""
    why_not: str

    @property
    def sent(self) -> str:
        """The new end as a form sends it."""
        return self.until.isoformat() if self.until else ""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Before all of a course are told something."""

    line: CourseLine
    people: tuple[str, ...]
    send: str


@dataclass(frozen=True, slots=True)
class ExtendPage:
    """Before all of a course are extended."""

    line: CourseLine
    minutes: int
    choices: tuple[tuple[int, str], ...]
    """Other lengths, and where they are shown."""
    planned: tuple[Extension, ...]
    send: str

    @property
    def possible(self) -> tuple[Extension, ...]:
        """Those that can be extended."""
        return tuple(one for one in self.planned if one.until)


@dataclass(frozen=True, slots=True)
class SeatPage:
    """What can be done about one session."""

    line: CourseLine
    seat: Seat
    extensions: tuple[Extension, ...]
    message: str
    extend: str
    stop: str
    """Where it is stopped; empty for who may not."""


def view_courses(view: LineView, courses: Iterable[Course], links: Links) -> CoursesPage:
    """Make the list of courses."""
    lines = (_show_line(view, course, links) for course in courses)
    return CoursesPage(tuple(sorted(lines, key=lambda one: one.name.casefold())))


def view_course(
    view: LineView,
    course: Course,
    links: Links,
    *,
    rights: frozenset[Right] = frozenset(Right),
    role: Role | None = None,
) -> CoursePage:
    """Make the page of a course, with what can be done there by who has these rights and is this in it."""
    places = [place for place in view.places if course.name in place.ticket.party.courses]
    return CoursePage(
        line=_show_line(view, course, links),
        sessions=list_seats(view, course.name, links),
        waiting=tuple(map(_show_waiting, places)),
        slots=_list_slots(view, course.name),
        message=links.below("courses", course.name, "message"),
        extend=links.below("courses", course.name, "extend"),
        list=links.page("courses"),
        reservations=links.page("reservations") if Right.RESERVE in rights else "",
        roster=links.below("courses", course.name, "roster"),
        timetable=links.below("courses", course.name, "timetable"),
        notebooks=course_link(links.hub, course.name, course.work.notebooks) if course.work.notebooks else "",
        grading=f"{links.hub}user-redirect/formgrader" if role in course.work.graders else "",
    )


def view_message(view: LineView, course: Course, links: Links) -> MessagePage:
    """Make the page that asks what all are to be told."""
    people = {seat.person: None for seat in list_seats(view, course.name, links) if seat.state != "ending"}
    send = links.below("courses", course.name, "message", "send")
    return MessagePage(_show_line(view, course, links), tuple(people), send)


def view_extend(view: LineView, course: Course, links: Links, minutes: int, limits: Limits) -> ExtendPage:
    """Make the page that shows what extending all would come to."""
    here = links.below("courses", course.name, "extend")
    leases = {lease.id: lease for lease in leases_of(view, course.name)}
    seats = list_seats(view, course.name, links)
    return ExtendPage(
        line=_show_line(view, course, links),
        minutes=minutes,
        choices=tuple((one, f"{here}?by={one}") for one in EXTENSIONS),
        planned=tuple(
            _plan_extension(seat, leases[seat.id], view.at, minutes, limits)
            for seat in seats
            if seat.id in limits
        ),
        send=f"{here}/send",
    )


def view_seat(
    view: LineView,
    course: Course,
    links: Links,
    lease: Lease,
    limits: Limits,
    *,
    rights: frozenset[Right] = frozenset(Right),
) -> SeatPage:
    """Make the page of one session of a course, with what can be done there by who has these rights."""
    seat = _show_seat(lease, view, _records(view), course.name, links)
    return SeatPage(
        line=_show_line(view, course, links),
        seat=seat,
        extensions=tuple(_plan_extension(seat, lease, view.at, one, limits) for one in EXTENSIONS),
        message=f"{seat.href}/message",
        extend=f"{seat.href}/extend",
        stop=f"{seat.href}/stop" if Right.STOP in rights else "",
    )


def leases_of(view: LineView, course: str) -> tuple[Lease, ...]:
    """The sessions of a course; what is offered to somebody is a place in line."""
    return tuple(
        lease
        for lease in view.situation.leases
        if course in lease.party.courses
        and lease.claim_by is None
        and lease.state is not LeaseState.QUARANTINED
    )


def list_seats(view: LineView, course: str, links: Links) -> tuple[Seat, ...]:
    """The sessions of a course as they are shown, by person."""
    records = _records(view)
    seats = [_show_seat(lease, view, records, course, links) for lease in leases_of(view, course)]
    return tuple(sorted(seats, key=lambda one: (one.person.casefold(), one.person, one.server)))


def _records(view: LineView) -> Mapping[str, DeviceRecord]:
    return {record.device.uuid: record for record in view.situation.inventory}


def _show_line(view: LineView, course: Course, links: Links) -> CourseLine:
    return CourseLine(
        name=course.name,
        href=links.below("courses", course.name),
        taken=count_seats(view.situation.leases)[course.name],
        seats=course.seats,
        waiting=sum(course.name in place.ticket.party.courses for place in view.places),
    )


def _show_seat(
    lease: Lease, view: LineView, records: Mapping[str, DeviceRecord], course: str, links: Links
) -> Seat:
    running = lease.state is LeaseState.ACTIVE
    return Seat(
        id=lease.id,
        person=lease.owner,
        server=lease.server,
        state="ending" if lease.state.ending else "running" if running else "starting",
        since=lease.created_at,
        ends_at=lease.ends_at,
        end_reason=lease.end_reason,
        cards=tuple(_show_card(uuid, records.get(uuid), view) for uuid in lease.devices),
        href=links.below("courses", course, "seats", lease.id),
    )


def _show_card(uuid: str, record: DeviceRecord | None, view: LineView) -> SeatCard:
    if record is None:
        return SeatCard(uuid, None, None)
    sample = fresh_sample(record, now=view.at, stale_after=view.situation.stale_after)
    return SeatCard(uuid, record.device.model, sample.utilization_percent if sample else None)


def _show_waiting(place: Place) -> Waiting:
    ticket = place.ticket
    return Waiting(ticket.id, ticket.owner, place.position, ticket.request.gpus, ticket.asked_at)


def _list_slots(view: LineView, course: str) -> tuple[Slot, ...]:
    mine = [
        one
        for one in view.situation.occurrences
        if (one.reservation.holder.kind, one.reservation.holder.name) == ("course", course)
    ]
    return tuple(
        Slot(one.title, one.start, one.end, one.seats, one.on(view.at)) for one in mine[:_MOST_SLOTS]
    )


def _plan_extension(seat: Seat, lease: Lease, now: datetime, minutes: int, limits: Limits) -> Extension:
    if lease.ends_at is None:
        return Extension(seat, minutes, None, mark("It has no end, so there is nothing to extend."))
    if lease.warned == 0 or lease.state.ending:
        return Extension(seat, minutes, None, mark("Its end has come."))
    until = max(now, lease.ends_at) + timedelta(minutes=minutes)
    limit, reason = limits.get(seat.id, (None, ""))
    if limit is not None and until > limit:
        why = mark(f"It cannot go on beyond {limit:%Y-%m-%d %H:%M} UTC: {reason}")
        return Extension(seat, minutes, None, why)
    return Extension(seat, minutes, until, "")
