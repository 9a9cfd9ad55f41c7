"""A course's lessons: seeing them, and making them what a calendar says, as it was shown."""

from __future__ import annotations

import re
from urllib.parse import quote

from gpuspawner.allocator.timetables import describe
from gpuspawner.controller.api import timetables as api
from gpuspawner.controller.api.handler import check as check_body
from gpuspawner.controller.api.routes import Call, Forbidden
from gpuspawner.controller.api.timetablemodels import TimetableBody, TimetableFileBody
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import READ
from gpuspawner.controller.views.timetable import (
    TimetableChangesPage,
    TimetablePage,
    view_timetable,
    view_timetable_changes,
    view_timetable_problem,
)
from gpuspawner.core.errors import Conflict, InvalidRequest, ReservationConflict
from gpuspawner.core.roster import Right
from gpuspawner.core.words import mark

from .base import PageHandler
from .calendars import read_calendar
from .courses import find_course, find_rights
from .page import Outcome, Visit
from .zones import choose_zone

_FIELDS = ("devices", "pool", "lead", "zone", "reader-zone")


def load_timetable(visit: Visit) -> TimetablePage:
    """The page's model. Raises: Forbidden, NotFound, LedgerError, SettingsError."""
    course, (zone, _) = find_course(visit), choose_zone(visit)
    services = visit.services
    return view_timetable(
        course,
        services.timetables.lessons(course.name),
        services.policies.names().pools,
        visit.links,
        services.clock(),
        may_change=Right.RESERVE in find_rights(visit, course),
        zone=zone.key,
    )


class TimetableHandler(PageHandler):
    """``POST courses/…/timetable/check`` and ``take``: what a calendar comes to, and making it so."""

    menu = "courses"

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self, course: str, step: str) -> None:
        """Show what it comes to; or do it, if it still is what was shown."""
        visit = self.visit({"course": course})
        try:
            done = await self.in_turn("press", lambda: take(visit) if step == "take" else look(visit))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        if isinstance(done, Outcome):
            self.say(done.said)
            self.redirect(done.leads_to, status=303)
            return
        if step == "take":
            self.set_status(409 if done.note else 400)
        self.write(self.render_page("timetable_changes.html", page=done))


def look(visit: Visit, note: str = "") -> TimetableChangesPage:
    """What the calendar that was sent comes to. Raises: Forbidden, NotFound, LedgerError, SettingsError."""
    course = find_course(visit, Right.RESERVE)
    try:
        fields = _read_fields(visit)
        body = check_body(TimetableFileBody, _as_body(fields), "field")
        found = api.look(Call(visit.services, visit.caller, {"course": course.name}, body=body))
    except InvalidRequest as error:
        return view_timetable_problem(course.name, str(error), visit.links)
    return view_timetable_changes(found, fields, visit.links, visit.services.clock(), note)


def take(visit: Visit) -> Outcome | TimetableChangesPage:
    """Make it so; or show what it comes to now, if that is something else than was shown.

    Raises:
        Forbidden: They may not.
        NotFound: There is no such course.
        LedgerError: The ledger cannot be used; nothing was changed.
        SettingsError: The policy cannot be read.
    """
    course = find_course(visit, Right.RESERVE)
    try:
        sent = {**_as_body(_read_fields(visit)), "seen": visit.form.get("seen", "")}
        body = check_body(TimetableBody, sent, "field")
        done = api.take(Call(visit.services, visit.caller, {"course": course.name}, body=body))
    except ReservationConflict:
        return look(visit, mark("Not all lessons fit any more; nothing was done."))
    except Conflict as error:
        return look(visit, str(error))
    except InvalidRequest as error:
        return view_timetable_problem(course.name, str(error), visit.links)
    said = [mark(f"The lessons are reserved: {describe(done)}."), *done.warnings]
    zone, _ = choose_zone(visit)
    here = visit.links.below("courses", course.name, "timetable")
    return Outcome(f"{here}?zone={quote(zone.key, safe='')}", " ".join(said))


def _read_fields(visit: Visit) -> dict[str, str]:
    fields = {name: visit.form.get(name, "").strip() for name in _FIELDS}
    return {**fields, "text": read_calendar(visit)}


def _as_body(fields: dict[str, str]) -> dict[str, object]:
    devices = fields["devices"]
    body: dict[str, object] = {name: fields[name] for name in ("pool", "lead", "zone") if fields[name]}
    body["devices"] = int(devices) if re.fullmatch(r"[0-9]{1,6}", devices) else devices
    return {**body, "calendar": fields["text"]}
