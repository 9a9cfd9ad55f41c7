"""Reservations: seeing, making, changing, and calendars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuspawner.controller.services import MadeView, ReservationCases
from gpuspawner.core.errors import InvalidRequest, NotFound
from gpuspawner.core.model import Reservation

from . import models as m
from .access import require
from .routes import Call, Forbidden

_HOLDERS = ("person", "group", "course")


def list_reservations(call: Call) -> m.Reservations:
    """All that stand: everybody needs to know when devices are kept. Of others' no names of people."""
    found = _cases(call).standing()
    return m.Reservations(at=call.services.clock(), reservations=[_info(call, one) for one in found])


def make(call: Call) -> m.ReservationMade:
    """Reserve devices. For others than oneself and one's courses only who manages can."""
    fields = call.body.fields()
    _require_right(call, fields, whole=True)
    return _made(call, _cases(call).make(fields, actor=call.caller.actor))


def change(call: Call) -> m.ReservationMade:
    """Change a reservation of one's own, or any."""
    reservation, fields = _find_own(call), call.body.fields()
    _require_right(call, fields, whole=False)
    return _made(call, _cases(call).change(reservation.id, fields, actor=call.caller.actor))


def cancel(call: Call) -> m.ReservationInfo:
    """Cancel a reservation of one's own, or any."""
    reservation, actor = _find_own(call), call.caller.actor
    return _info(call, _cases(call).cancel(reservation.id, actor=actor, reason=call.body.reason))


def export(call: Call) -> str:
    """All reservations as an iCalendar document; names of people are for who manages."""
    return _cases(call).export_ical(people=call.caller.manages)


def take_in(call: Call) -> m.ReservationsMade:
    """Make the reservations of an iCalendar document: all, or none.

    Only for who manages: an event may say itself whom it is for, and change any reservation by its id.
    """
    body: m.ImportBody = call.body
    made = _cases(call).import_ical(body.calendar, body.defaults.fields(), actor=call.caller.actor)
    return m.ReservationsMade(made=[_made(call, one) for one in made])


def _cases(call: Call) -> ReservationCases:
    return require(call.services.reservations, "reservations")


def _require_right(call: Call, fields: Mapping[str, Any], *, whole: bool) -> None:
    """Judge whom a reservation is to be for.

    Args:
        call: The request.
        fields: What was sent.
        whole: Whether this is all of it, or only what is to be different.

    Raises:
        InvalidRequest: It is for several, or for nobody.
        Forbidden: Others decide on that.
    """
    given = [(kind, fields[kind]) for kind in _HOLDERS if fields.get(kind) is not None]
    if len(given) > 1 or (whole and not given):
        raise InvalidRequest("Give exactly one of person, group and course: who the reservation is for.")
    person = call.caller.person
    if call.caller.manages or not given:
        return
    (kind, name) = given[0]
    own = person is not None and kind == "person" and name == person
    if not own and person is not None and kind == "course":
        own = name in call.services.policies.courses_taught(person)
    if not own:
        raise Forbidden("You can reserve for yourself and for courses that you teach.")


def _find_own(call: Call) -> Reservation:
    """The reservation of the path, if the caller made it or manages. Everybody may see that it is there.

    Raises:
        NotFound: It is not, or not any more.
        Forbidden: Somebody else made it.
    """
    with call.services.ledger.read() as unit:
        reservation = unit.reservation(call.path["reservation_id"])
    if reservation is None or reservation.host != call.services.host or reservation.ended_at is not None:
        raise NotFound("There is no such reservation.")
    if not (call.caller.manages or reservation.actor == call.caller.actor):
        raise Forbidden("Only who made it, or an administrator, can change a reservation.")
    return reservation


def _made(call: Call, one: MadeView) -> m.ReservationMade:
    return m.ReservationMade(reservation=_info(call, one.reservation), warnings=list(one.warnings))


def _info(call: Call, one: Reservation) -> m.ReservationInfo:
    person = call.caller.person
    mine = person is not None and (one.holder.kind, one.holder.name) == ("person", person)
    known = call.caller.manages or mine or one.actor == call.caller.actor
    secret = not known and one.holder.kind == "person"
    return m.ReservationInfo(
        id=one.id,
        title="" if secret else one.title,
        holder=m.HolderInfo(kind=one.holder.kind, name="" if secret else one.holder.name),  # type: ignore[arg-type]
        devices=one.devices,
        start=one.start,
        length_seconds=one.length.total_seconds(),
        zone=one.zone,
        rule=one.rule,
        left_out=list(one.left_out),
        lead_seconds=one.lead.total_seconds(),
        users=list(one.users) if known else [],
        pool=one.pool,
        cards=sorted(one.cards),
        actor=one.actor if known else "",
    )
