"""Reservations: seeing, making, changing, and calendars."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gpuspawner.controller.services import ReservationWish
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import Holder, Reservation
from gpuspawner.policy.units import read_duration

from . import models as m
from .access import require
from .routes import Call, Forbidden


def list_reservations(call: Call) -> m.Reservations:
    """All that stand: everybody needs to know when devices are kept. Of others' no names of people."""
    found = require(call.services.reservations, "reservations").list()
    return m.Reservations(at=call.services.clock(), reservations=[_info(call, one) for one in found])


def make(call: Call) -> m.ReservationInfo:
    """Reserve devices. For others than oneself only who manages can."""
    body: m.ReservationBody = call.body
    _require_right(call, body.holder)
    wish = ReservationWish(
        title=body.title,
        holder=Holder(body.holder.kind, body.holder.name),
        devices=body.devices,
        start=body.start,
        length=read_duration(body.length),
        zone=body.zone,
        users=tuple(body.users),
        pool=body.pool,
        cards=frozenset(body.cards),
        rule=body.rule,
        left_out=tuple(body.left_out),
        lead=read_duration(body.lead) if body.lead else timedelta(0),
    )
    return _info(
        call, require(call.services.reservations, "reservations").make(wish, actor=call.caller.actor)
    )


def change(call: Call) -> m.ReservationInfo:
    """Change a reservation of one's own, or any."""
    reservation = _find_own(call)
    changes: dict[str, Any] = call.body.model_dump(exclude_unset=True)
    for key, value in changes.items():
        if value is None:
            changes[key] = timedelta(0) if key == "lead" else _EMPTY.get(key)
        elif key in ("length", "lead"):
            changes[key] = read_duration(value)
        elif key in ("users", "left_out"):
            changes[key] = tuple(value)
        elif key == "cards":
            changes[key] = frozenset(value)
    wanted = {key: value for key, value in changes.items() if value is not None}
    return _info(
        call,
        require(call.services.reservations, "reservations").change(
            reservation.id, wanted, actor=call.caller.actor
        ),
    )


def cancel(call: Call) -> m.ReservationInfo:
    """Cancel a reservation of one's own, or any."""
    reservation = _find_own(call)
    return _info(
        call,
        require(call.services.reservations, "reservations").cancel(
            reservation.id, actor=call.caller.actor, reason=call.body.reason
        ),
    )


def export(call: Call) -> str:
    """All reservations as an iCalendar document."""
    return require(call.services.reservations, "reservations").export_ical()


def take_in(call: Call) -> m.Reservations:
    """Make the reservations of an iCalendar document: all, or none."""
    body: m.ImportBody = call.body
    _require_right(call, body.holder)
    made = require(call.services.reservations, "reservations").import_ical(
        body.calendar,
        holder=Holder(body.holder.kind, body.holder.name),
        devices=body.devices,
        actor=call.caller.actor,
    )
    return m.Reservations(at=call.services.clock(), reservations=[_info(call, one) for one in made])


_EMPTY: dict[str, Any] = {"rule": "", "pool": "", "users": (), "left_out": (), "cards": frozenset()}
"""What null takes away; the rest cannot be taken away, and null leaves it as it is."""


def _require_right(call: Call, holder: m.HolderBody) -> None:
    own = holder.kind == "person" and call.caller.person is not None and holder.name == call.caller.person
    taught = (
        holder.kind == "course"
        and call.caller.person is not None
        and holder.name in call.services.policies.courses_taught(call.caller.person)
    )
    if not (call.caller.manages or own or taught):
        raise Forbidden("You can reserve for yourself and for courses that you teach.")


def _find_own(call: Call) -> Reservation:
    """The reservation of the path, if the caller made it or manages. Everybody may see them all."""
    with call.services.ledger.read() as unit:
        reservation = unit.reservation(call.path["reservation_id"])
    if reservation is None or reservation.host != call.services.host or reservation.ended_at is not None:
        raise NotFound("There is no such reservation.")
    if not (call.caller.manages or reservation.actor == call.caller.actor):
        raise Forbidden("Only who made it, or an administrator, can change a reservation.")
    return reservation


def _info(call: Call, one: Reservation) -> m.ReservationInfo:
    known = call.caller.manages or one.actor == call.caller.actor
    known = known or (call.caller.person is not None and one.holder.name == call.caller.person)
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
