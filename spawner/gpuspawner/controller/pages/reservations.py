"""The reservations calendar, one reservation, and what its buttons do."""

from __future__ import annotations

from datetime import datetime, timedelta

from tornado.web import HTTPError

from gpuspawner.allocator.feeds import Feeds
from gpuspawner.controller.api import models, reservations
from gpuspawner.controller.api.access import courses_with, sees_lease
from gpuspawner.controller.api.handler import check
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.identity import RESERVE
from gpuspawner.controller.views.reservation import ReservationPage, view_reservation
from gpuspawner.controller.views.reservations import (
    LIST,
    WEEK,
    Asked,
    CalendarPage,
    choose_first,
    describe_what,
    view_calendar,
)
from gpuspawner.core.claims import Reservation
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.occurrences import LONGEST
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import Occurrence, expand
from gpuspawner.core.roster import Right
from gpuspawner.policy.reservations import find_version

from .page import Outcome, Visit
from .zones import choose_zone


def load_calendar(visit: Visit) -> CalendarPage:
    """The page's model. Raises: LedgerError."""
    services, call = visit.services, call_api(visit)
    now, (zone, unknown) = services.clock(), choose_zone(visit)
    asked = Asked(
        choose_first(visit.query.get("week", ""), now.astimezone(zone).date()),
        LIST if visit.query.get("view") == LIST else WEEK,
        zone,
        unknown,
    )
    book, person = services.reservations, visit.caller.person
    taught = courses_with(call, Right.RESERVE)
    standing, takes_place = book.survey(asked.begin, asked.end, empty=True)
    own = [one for one in standing if _is_own(visit, one, taught)]
    return view_calendar(
        asked,
        takes_place,
        sorted(((one, list_ahead(one, now)) for one in own), key=lambda pair: [o.start for o in pair[1][:1]]),
        see=lambda one: reservations.see(call, one),
        links=visit.links,
        now=now,
        may_reserve=may_reserve(call),
        feed=Feeds(services.ledger, services.clock).of(person) if person else None,
        may_have_feed=person is not None,
        manages=visit.caller.manages,
    )


def load_reservation(visit: Visit) -> ReservationPage:
    """One reservation. Raises: HTTPError 404, LedgerError."""
    services, call = visit.services, call_api(visit)
    now, (zone, _) = services.clock(), choose_zone(visit)
    found = services.reservations.find(visit.parts["reservation"])
    if found is None:
        raise HTTPError(404, "There is no such reservation.")
    ahead = list_ahead(found, now)
    on = {one.key for one in ahead if one.on(now)}
    leases = [one for one in visit.line.situation.leases if one.reservation in on and not one.state.ending]
    left = services.reservations.list(now, now + timedelta.resolution, empty=True)
    return view_reservation(
        reservations.show(call, found),
        describe_what(found, reservations.see(call, found), visit.links, zone.key),
        ahead,
        found.left_out,
        seated=[(one, sees_lease(call, one)) for one in leases],
        links=visit.links,
        zone=zone,
        now=now,
        lead=found.lead,
        ended_at=found.ended_at,
        version=find_version(found),
        given_back=sum(found.devices - one.seats for one in left if one.reservation_id == found.id),
    )


def press_cancel(visit: Visit) -> Outcome:
    """*Cancel it*."""
    body = check(models.ReasonBody, {"reason": visit.form.get("reason", "").strip()}, "field")
    require_standing(visit)
    ended = reservations.cancel(call_api(visit, body=body), read_seen(visit))
    return Outcome(back_to_calendar(visit), f"{ended.title}: cancelled.")


_FIRST_YEAR, _LAST_YEAR = 2000, 9000
"""Beyond them, a time may not exist in another time zone."""


def press_skip(visit: Visit) -> Outcome:
    """*Skip this date*."""
    body = check(models.ReasonBody, {"reason": visit.form.get("reason", "").strip()}, "field")
    try:
        start = datetime.fromisoformat(visit.form.get("start", ""))
    except ValueError:
        start = None
    if start is None or start.tzinfo is None or not _FIRST_YEAR <= start.year <= _LAST_YEAR:
        raise InvalidRequest("Choose the date that is to be skipped.")
    require_standing(visit)
    changed = reservations.skip(call_api(visit, body=body), start, read_seen(visit))
    return Outcome(back_to_reservation(visit), f"{changed.title}: it does not take place on that date.")


def require_standing(visit: Visit) -> None:
    """A reservation that ended while its page was open is told of, there. Raises: Conflict, LedgerError."""
    found = visit.services.reservations.find(visit.parts["reservation"])
    if found is not None and found.ended_at is not None:
        raise Conflict(
            "This reservation was cancelled, or is over, since you were shown it. Nothing was done."
        )


def read_seen(visit: Visit) -> str:
    """The version that a press is about; without one, it is about none."""
    return visit.form.get("seen") or "none"


def back_to_calendar(visit: Visit) -> str:
    """Where the calendar is."""
    zone, _ = choose_zone(visit)
    return visit.links.page("reservations", zone=zone.key)


def back_to_reservation(visit: Visit) -> str:
    """Where the reservation is."""
    zone, _ = choose_zone(visit)
    return visit.links.page(f"reservations/{visit.parts['reservation']}", zone=zone.key)


def call_api(visit: Visit, body: object = None) -> Call:
    """A request to the API, which judges who may do what."""
    parts = {"reservation_id": visit.parts["reservation"]} if "reservation" in visit.parts else {}
    return Call(visit.services, visit.caller, parts, body=body)


def _is_own(visit: Visit, one: Reservation, taught: frozenset[str]) -> bool:
    """Whether they made it, or it is for them or a course of theirs."""
    caller, holder = visit.caller, one.holder
    if holder.kind == "course" and holder.name in taught:
        return True
    return one.actor.is_person(caller.person) or (holder.kind == "person" and holder.name == caller.person)


def may_reserve(call: Call) -> bool:
    """Whether somebody may reserve for anybody at all."""
    own = call.caller.person is not None and call.caller.may(RESERVE)
    return call.caller.manages or own or bool(courses_with(call, Right.RESERVE))


def list_ahead(one: Reservation, now: datetime) -> tuple[Occurrence, ...]:
    """All that is still to come of a reservation, what is on included."""
    return expand(one, now, max(now, one.start) + HORIZON + LONGEST)
