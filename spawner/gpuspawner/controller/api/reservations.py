"""Reservations: seeing, making, changing, and calendars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gpuspawner.allocator.made import Made, Preview
from gpuspawner.controller.identity import RESERVE
from gpuspawner.core.claims import Reservation
from gpuspawner.core.errors import InvalidRequest, NotFound
from gpuspawner.core.reservations import Occurrence
from gpuspawner.core.roster import Right
from gpuspawner.policy.ical import from_ical, to_ical
from gpuspawner.policy.reservations import ReservationBody, to_body

from . import linemodels as m
from .access import courses_with
from .routes import Call, Forbidden

LONGEST_LIST = timedelta(days=400)
_USUAL_LIST = timedelta(days=14)
_HOLDERS = ("person", "group", "course")


def list_reservations(call: Call) -> m.Reservations:
    """All that stand, and what takes place: everybody needs to know when devices are kept."""
    query: m.ReservationsQuery = call.query
    now, book = call.services.clock(), call.services.reservations
    since = query.since or now.date()
    until = query.until or since + _USUAL_LIST
    if not timedelta(0) <= until - since <= LONGEST_LIST:
        raise InvalidRequest("since must be a day before until, and not more than 400 days before it.")
    begin, end = (datetime.combine(day, time(), UTC) for day in (since, until + timedelta(days=1)))
    return m.Reservations(
        at=now,
        since=since,
        until=until,
        reservations=[show(call, one) for one in book.standing()],
        occurrences=[_occurrence(one) for one in book.list(begin, end)],
    )


def make(call: Call) -> m.ReservationInfo:
    """Reserve devices."""
    body: ReservationBody = call.body
    _require_right(call, body)
    made = call.services.reservations.make(
        body, actor=call.caller.as_actor, names=call.services.policies.names(), people=call.caller.manages
    )
    return show(call, made.reservation, made)


def preview(call: Call) -> Preview:
    """What reserving, or with a path changing one's own, would do now; nothing is changed."""
    body: ReservationBody = call.body
    replaced = find_own(call) if "reservation_id" in call.path else None
    _require_right(call, body)
    return call.services.reservations.preview(
        body,
        actor=call.caller.as_actor,
        names=call.services.policies.names(),
        people=call.caller.manages,
        replaces=replaced.id if replaced else "",
    )


def change(call: Call, seen: str = "") -> m.ReservationInfo:
    """Put another reservation in the place of one's own, or of any.

    Args:
        call: The request.
        seen: The version that the caller was shown, if they were shown one: no other is changed.
    """
    body: ReservationBody = call.body
    reservation = find_own(call)
    _require_right(call, body)
    made = call.services.reservations.change(
        reservation.id,
        body,
        actor=call.caller.as_actor,
        names=call.services.policies.names(),
        people=call.caller.manages,
        seen=seen,
    )
    return show(call, made.reservation, made)


def cancel(call: Call, seen: str = "") -> m.ReservationInfo:
    """Cancel a reservation of one's own, or any; ``seen`` as for :func:`change`."""
    reservation = find_own(call)
    ended = call.services.reservations.cancel(
        reservation.id, actor=call.caller.as_actor, reason=call.body.reason, seen=seen
    )
    return show(call, ended)


def skip(call: Call, start: datetime, seen: str = "") -> m.ReservationInfo:
    """Let one occurrence of a reservation of one's own, or any, not take place; ``seen`` likewise."""
    reservation = find_own(call)
    changed = call.services.reservations.leave_out(
        reservation.id, start, actor=call.caller.as_actor, reason=call.body.reason, seen=seen
    )
    return show(call, changed)


def export(call: Call) -> str:
    """All reservations as an iCalendar document, in which only an administrator finds persons named."""
    services = call.services
    found = to_ical(services.reservations.standing(), now=services.clock(), people=call.caller.manages)
    return found.decode()


def take_in(call: Call) -> m.Imported:
    """Make the reservations of an iCalendar document: all, or none."""
    body: m.ImportBody = call.body
    book = call.services.reservations
    data = body.calendar.encode()
    defaults = {
        key: value
        for key, value in body.model_dump(exclude_unset=True, exclude={"calendar"}).items()
        if value is not None
    }
    # An event says for whom it is, and which reservation it changes: neither is to be believed.
    for event in from_ical(data, defaults):
        _require_right(call, event.body)
        known = book.find(event.reservation_id)
        if known is not None and not may_change(call, known):
            raise Forbidden(f"The calendar would change a reservation of somebody else ({known.title!r}).")
    made = book.import_ical(
        data,
        defaults,
        actor=call.caller.as_actor,
        names=call.services.policies.names(),
        people=call.caller.manages,
    )
    return m.Imported(
        reservations=[show(call, one.reservation, one) for one in made],
        changed=[one.reservation.id for one in made if one.replaced],
    )


def _may_reserve(call: Call, kind: str, name: str) -> bool:
    """Whether somebody may be reserved for: anybody by who manages, courses by their teachers, oneself."""
    caller = call.caller
    if caller.manages or (kind == "course" and name in courses_with(call, Right.RESERVE)):
        return True
    return kind == "person" and name == caller.person and caller.may(RESERVE)


def _require_right(call: Call, body: ReservationBody) -> None:
    given = [(kind, getattr(body, kind)) for kind in _HOLDERS if getattr(body, kind) is not None]
    # Several, or none, are refused as malformed later on.
    if not all(_may_reserve(call, kind, name) for kind, name in given):
        raise Forbidden(
            f"You can reserve for courses that you teach, and with the scope {RESERVE} for yourself. "
            "Ask an administrator."
        )


def may_change(call: Call, one: Reservation) -> bool:
    """Whether the caller may change or cancel a reservation.

    Who could make it now can: administrators any, the present teachers of a course those of the course. For
    themselves people can change what they made themselves, and not what somebody else set aside for them.
    """
    if call.caller.manages:
        return True
    theirs = one.holder.kind == "course" or one.actor.is_person(call.caller.person)
    return theirs and _may_reserve(call, one.holder.kind, one.holder.name)


def find_own(call: Call) -> Reservation:
    """The reservation of the path, if the caller may change it. Everybody may see them all."""
    found = call.services.reservations.find(call.path["reservation_id"])
    if found is None or found.ended_at is not None:
        raise NotFound("There is no such reservation.")
    if not may_change(call, found):
        raise Forbidden(
            "You cannot change this reservation. Administrators can, teachers those of their present "
            "courses, and people those that they made for themselves."
        )
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody may know of a reservation beside what everybody may."""

    mine: bool
    """Whether they can change it."""
    known: bool
    """Whether they may know its people: for whom it is, who may use it, who made it."""


def see(call: Call, one: Reservation) -> Seen:
    """What the caller may know of a reservation."""
    mine, person = may_change(call, one), call.caller.person
    theirs = person is not None and one.holder.kind == "person" and one.holder.name == person
    return Seen(mine, mine or theirs)


def show(call: Call, one: Reservation, made: Made | None = None) -> m.ReservationInfo:
    """A reservation as far as the caller may know of it."""
    seen = see(call, one)
    mine, known = seen.mine, seen.known
    sent: dict[str, Any] = to_body(one)
    holder = dict.fromkeys(_HOLDERS) | {one.holder.kind: one.holder.name}
    if not known and one.holder.kind == "person":
        holder["person"] = ""
    zone = ZoneInfo(one.zone)
    return m.ReservationInfo(
        **holder,
        id=one.id,
        title=one.title,
        users=list(one.users) if known else [],
        devices=one.devices,
        models=sent.get("models", []),
        pool=one.pool or None,
        cards=sent.get("cards", []),
        start=one.start.astimezone(zone),
        length=sent["length"],
        zone=one.zone,
        rule=one.rule,
        left_out=[start.astimezone(zone) for start in one.left_out],
        lead=sent.get("lead", "0"),
        actor=one.actor.name if known else "",
        actor_kind=one.actor.kind.value if known else None,
        made_at=one.made_at,
        mine=mine,
        warnings=list(made.warnings) if made else [],
    )


def _occurrence(one: Occurrence) -> m.OccurrenceInfo:
    return m.OccurrenceInfo(
        reservation=one.reservation_id,
        title=one.title,
        start=one.start,
        end=one.end,
        held_from=one.held_from,
        devices=one.reservation.devices,
        seats=one.seats,
    )
