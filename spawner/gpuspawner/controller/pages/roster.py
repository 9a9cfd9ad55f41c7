"""Who is in a course: seeing it, changing it as it was shown, taking a change back, and the end."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date

from gpuspawner.allocator.rosters import MOST_KEEP_DAYS
from gpuspawner.controller.api import rosters as api
from gpuspawner.controller.api.routes import Forbidden
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import READ
from gpuspawner.controller.views.roster import (
    ChangesPage,
    EndPage,
    RosterPage,
    view_changes,
    view_end,
    view_problems,
    view_roster,
)
from gpuspawner.core.errors import Conflict, InvalidRequest, RosterRefused
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import Right, Role, describe
from gpuspawner.core.words import mark
from gpuspawner.policy.rostercsv import RosterFile, read_roster, write_roster

from .base import PageHandler
from .courses import find_course, find_rights
from .operation import run
from .page import File, Outcome, Visit


def load_roster(visit: Visit) -> RosterPage:
    """The page's model. Raises: Forbidden, NotFound, LedgerError, SettingsError."""
    course = find_course(visit)
    rosters, rights = visit.services.rosters, find_rights(visit, course)
    change = rosters.last_change(course.name)
    may_change = Right.ROSTER in rights
    return view_roster(rosters.find(course.name), course, change, visit.links, may_change=may_change)


def load_undo(visit: Visit) -> ChangesPage:
    """What taking the last change back would come to. Raises: Forbidden, NotFound, LedgerError."""
    course = find_course(visit, Right.ROSTER)
    try:
        found = visit.services.rosters.preview_undo(course.name)
    except Conflict as error:
        raise InvalidRequest(str(error)) from None
    return view_changes(found, visit.links, send="undo/do", person=_depends(visit, course))


def press_undo(visit: Visit) -> Outcome:
    """*Take it back*."""
    run(visit, api.undo, {"course": visit.parts["course"]}, {"seen": _read_seen(visit)})
    return Outcome(_back(visit), mark("The last change was taken back."))


def back_to_undo(visit: Visit) -> str:
    """Where the difference is shown anew."""
    return visit.links.below("courses", visit.parts["course"], "roster", "undo")


def load_end(visit: Visit) -> EndPage:
    """The form of the last day. Raises: Forbidden, NotFound, LedgerError."""
    course = find_course(visit, Right.ROSTER)
    services = visit.services
    roster, now = services.rosters.find(course.name), services.clock()
    asked, days = visit.query.get("on", ""), visit.query.get("keep", "")
    wanted, problem = None, ""
    if asked:
        with suppress(ValueError):
            wanted = date.fromisoformat(asked)
        if wanted is None or wanted < now.astimezone().date():
            wanted, problem = None, mark("Choose a day that is to come, or today.")
    keep = int(days) if re.fullmatch(r"[0-9]{1,4}", days) else roster.keep_days
    keep = min(keep, MOST_KEEP_DAYS)
    return view_end(roster, visit.links, now, wanted=wanted, keep_days=keep, problem=problem)


def press_end(visit: Visit) -> Outcome:
    """*Let it end*, or let it have no end."""
    keep = visit.form.get("keep", "")
    body: dict[str, object] = {
        "ends_on": visit.form.get("on") or None,
        "keep_days": int(keep) if re.fullmatch(r"[0-9]{1,4}", keep) else keep,
        "seen": _read_seen(visit),
    }
    run(visit, api.end, {"course": visit.parts["course"]}, body)
    day = visit.form.get("on")
    return Outcome(_back(visit), mark(f"The last day is {day}.") if day else mark("It has no last day now."))


def back_to_end(visit: Visit) -> str:
    """Where the form is."""
    return visit.links.below("courses", visit.parts["course"], "end")


def make_file(visit: Visit) -> File:
    """The roster as CSV, with the mark by which spreadsheets know UTF-8."""
    course = find_course(visit)
    text = write_roster(visit.services.rosters.find(course.name).entries)
    return File("roster.csv", "text/csv", f"\ufeff{text}")


class RosterHandler(PageHandler):
    """``POST courses/…/roster/check`` and ``take``: what a file would change, and changing it so."""

    menu = "courses"

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self, course: str, step: str) -> None:
        """Show what it comes to; or do it, if it still is what was shown."""
        visit = self.visit({"course": course})
        try:
            done = await self.in_turn("press", lambda: take(visit) if step == "take" else check(visit))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        if isinstance(done, Outcome):
            self.say(done.said)
            self.redirect(done.leads_to, status=303)
            return
        if step == "take":
            self.set_status(409 if done.note else 400)
        self.write(self.render_page("roster_changes.html", page=done))


def check(visit: Visit) -> ChangesPage:
    """What the file that was sent would change. Raises: Forbidden, NotFound, LedgerError, SettingsError."""
    course = find_course(visit, Right.ROSTER)
    try:
        return _compare(visit, course, _read(visit))
    except RosterRefused as error:
        return view_problems(course.name, error.problems, visit.links)


def take(visit: Visit) -> Outcome | ChangesPage:
    """Change the roster as it was shown; or show what it would come to now, if somebody was quicker.

    Raises:
        Forbidden: They may not.
        NotFound: There is no such course.
        LedgerError: The ledger cannot be used; nothing was changed.
        SettingsError: The policy cannot be read.
    """
    course = find_course(visit, Right.ROSTER)
    try:
        file = _read(visit)
        done = visit.services.rosters.apply(
            course.name, file.entries, seen=_read_seen(visit), actor=visit.caller.as_actor, lines=file.lines
        )
    except Conflict as error:
        return _compare(visit, course, file, str(error))
    except RosterRefused as error:
        return view_problems(course.name, error.problems, visit.links)
    return Outcome(_back(visit), mark(f"The roster was changed: {describe(done.difference)}."))


def _compare(visit: Visit, course: Course, file: RosterFile, note: str = "") -> ChangesPage:
    asker = visit.caller.person
    found = visit.services.rosters.preview(course.name, file.entries, file.lines, asker)
    return view_changes(
        found,
        visit.links,
        send="take",
        text=write_roster(file.entries),
        notes=file.notes,
        note=note,
        person=_depends(visit, course),
    )


def _read(visit: Visit) -> RosterFile:
    """The file that was sent, or the text."""
    data = visit.files.get("file", b"")
    if data:
        return read_roster(data, visit.form.get("encoding", ""))
    return read_roster(visit.form.get("text", "").encode())


def _read_seen(visit: Visit) -> int:
    seen = visit.form.get("seen", "")
    return int(seen) if re.fullmatch(r"[0-9]{1,15}", seen) else -1


def _depends(visit: Visit, course: Course) -> str | None:
    """The caller, if only the roster itself lets them change it."""
    caller = visit.caller
    if caller.manages or course.role_of(caller.person or "", ()) is Role.TEACHER:
        return None
    if visit.services.rosters.teaches_by_launch(course.name, caller.person):
        return None
    return caller.person


def _back(visit: Visit) -> str:
    return visit.links.below("courses", visit.parts["course"], "roster")
