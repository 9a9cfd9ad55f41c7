"""Rosters of courses: seeing them, changing them as they were shown, taking a change back, and the end."""

from __future__ import annotations

from gpuspawner.allocator.rosters import RosterPreview
from gpuspawner.core.roster import Change, Difference, Entry, Right, Roster
from gpuspawner.policy.rostercsv import RosterFile, read_roster

from . import rostermodels as m
from .access import find_course
from .routes import Call


def show_roster(call: Call) -> m.RosterInfo:
    """Who is in a course by its roster."""
    course = find_course(call, Right.SEE)
    return _roster(call.services.rosters.find(course))


def preview(call: Call) -> m.RosterChanges:
    """What a file would change; nothing is changed."""
    course, file = find_course(call, Right.ROSTER), read_file(call.body)
    found = call.services.rosters.preview(course, file.entries, file.lines)
    return _changes(found, list(file.notes))


def replace(call: Call) -> m.RosterChanges:
    """Put the people of a file in the place of those of a course, as it was shown."""
    course, file = find_course(call, Right.ROSTER), read_file(call.body)
    found = call.services.rosters.apply(
        course, file.entries, seen=call.body.seen, actor=call.caller.as_actor, lines=file.lines
    )
    return _changes(found, list(file.notes))


def undo(call: Call) -> m.RosterChanges:
    """Take the last change back."""
    course = find_course(call, Right.ROSTER)
    return _changes(call.services.rosters.undo(course, seen=call.body.seen, actor=call.caller.as_actor), [])


def end(call: Call) -> m.RosterInfo:
    """Say on which day everybody leaves, and how long their homes are sure to be kept after that."""
    course, body = find_course(call, Right.ROSTER), call.body
    found = call.services.rosters.end(
        course, body.ends_on, keep_days=body.keep_days, seen=body.seen, actor=call.caller.as_actor
    )
    return _roster(found)


def read_file(body: m.RosterFileBody) -> RosterFile:
    """The roster that was sent. Raises: RosterRefused."""
    return read_roster(body.csv.encode())


def _roster(found: Roster) -> m.RosterInfo:
    return m.RosterInfo(
        course=found.course,
        version=found.version,
        changed_at=found.at,
        changed_by=found.actor,
        ends_on=found.ends_on,
        keep_days=found.keep_days,
        people=[_person(one) for one in found.entries],
    )


def _person(entry: Entry) -> m.RosterPerson:
    return m.RosterPerson(
        kind=entry.who.kind.value,
        who=entry.who.value,
        role=entry.role.value,
        team=entry.team,
        name=entry.name,
        person=entry.person,
    )


def _change(change: Change) -> m.RoleChange:
    before = change.before or change.entry
    return m.RoleChange(before=_person(before), after=_person(change.entry))


def _changes(found: RosterPreview, notes: list[str]) -> m.RosterChanges:
    difference: Difference = found.difference
    return m.RosterChanges(
        course=found.roster.course,
        version=found.roster.version,
        added=[_person(one.entry) for one in difference.added],
        removed=[_person(one.entry) for one in difference.removed],
        roles=[_change(one) for one in difference.roles],
        others=[_change(one) for one in difference.others],
        same=difference.same,
        notes=notes,
    )
