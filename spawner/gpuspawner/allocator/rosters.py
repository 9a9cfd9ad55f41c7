"""The use cases around who is in a course. Who may do what is decided by the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Actor
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.launch import LaunchRole
from gpuspawner.core.model import Event, Message
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import (
    NOBODY,
    Change,
    Difference,
    Enrolment,
    Entry,
    KeptHome,
    Kind,
    Member,
    Role,
    Roster,
    RosterProblem,
    RosterVersion,
    Who,
    compare,
    describe,
    enrol,
    find_notice,
    refuse,
    why_not_subject,
)
from gpuspawner.core.words import mark

from .bookevents import CONTROLLER
from .clock import utc_now

MOST_KEEP_DAYS = 3650
_MOST_NAMED = 100
"""People of each sort in one line of the audit trail."""


@dataclass(frozen=True, slots=True)
class RosterPreview:
    """What a change of a roster would come to; nothing was stored."""

    roster: Roster
    """As it stands."""
    entries: tuple[Entry, ...]
    """As they would be."""
    difference: Difference


_LAUNCHED = {
    LaunchRole.TEACHER: Role.TEACHER,
    LaunchRole.ASSISTANT: Role.ASSISTANT,
    LaunchRole.STUDENT: Role.STUDENT,
}
"""What the groups of a course platform make somebody."""


def _rank(role: Role) -> int:
    return role.rank


class Rosters:
    """Who is in which course, and as what. Every method may block on the ledger.

    Args:
        ledger: Where they are kept.
        clock: Says the present.
        services: The login services, whose subjects entries may name; none where they are not known.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], datetime] = utc_now,
        services: frozenset[str] = frozenset(),
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._services = services
        self._reading = threading.Lock()
        self._known: tuple[object, Enrolment] = (None, NOBODY)

    def find(self, course: str) -> Roster:
        """The roster of a course; empty where it never had one. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.roster(course)

    def enrolment(self) -> Enrolment:
        """The roles of everybody in all rosters, or by their groups, read again where one has changed.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._reading:
            with self._ledger.read() as unit:
                launched = unit.launched()
                now = unit.roster_revisions(), launched
                if now != self._known[0]:
                    members = [*unit.enrolled(), *((one[0], one[1], _LAUNCHED[one[2]]) for one in launched)]
                    self._known = now, enrol(members, unit.enrolled_teams())
            return self._known[1]

    @property
    def last_known(self) -> Enrolment:
        """What :meth:`enrolment` said last."""
        return self._known[1]

    def members(
        self, course: Course, everybody: Mapping[str, Collection[str]] | None = None
    ) -> tuple[Member, ...]:
        """Who is in a course, by name: of its roster, its entry in the policy, and its group.

        Args:
            course: Of the policy.
            everybody: The groups of all users of the hub, by name; without them, those who are in the course
                by their group alone are left out.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        found: dict[str, Member] = {}
        named = {name: groups for name, groups in (everybody or {}).items() if course.group in groups}
        for person in (*named, *course.assistants, *course.teachers):
            role = course.role_of(person, named.get(person, ()))
            if role is not None:
                found[person] = Member(person, role)
        with self._ledger.read() as unit:
            launched = [
                (person, _LAUNCHED[role]) for name, person, role in unit.launched() if name == course.name
            ]
        for person, role in launched:
            found[person] = Member(
                person, max(role, found[person].role if person in found else role, key=_rank)
            )
        for entry in self.find(course.name).people:
            person, before = str(entry.person), found.get(str(entry.person))
            role = entry.role if before is None else max(before.role, entry.role, key=_rank)
            found[person] = Member(person, role, entry.team or (before.team if before else ""))
        return tuple(found[person] for person in sorted(found))

    def teaches_by_launch(self, course: str, person: str | None) -> bool:
        """Whether their course platform makes somebody a teacher, whatever the roster says.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            return (course, person, LaunchRole.TEACHER) in unit.launched()

    def preview(
        self,
        course: str,
        entries: Iterable[Entry],
        lines: Mapping[Who, int] | None = None,
        asker: str | None = None,
    ) -> RosterPreview:
        """Say what :meth:`apply` would do now; nothing is changed.

        Who an address or a subject is here is not told before they are in the course: else anybody who keeps
        a roster could look up everybody, without a trace.

        Args:
            course: The course.
            entries: Everybody who is to be in it.
            lines: Where each stands in the file that they come from.
            asker: Who asks, if it is somebody: they are told which entry they are.

        Raises:
            RosterRefused: Two entries mean the same person, or it cannot be told whom one means.
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            found = self._preview(unit, course, entries, lines or {})
        return _without_names(found, found.roster.entries, asker)

    def apply(
        self,
        course: str,
        entries: Iterable[Entry],
        *,
        seen: int,
        actor: Actor,
        lines: Mapping[Who, int] | None = None,
    ) -> RosterPreview:
        """Put other people in the place of those who are in a course: all of it, or nothing.

        Args:
            course: The course.
            entries: Everybody who is to be in it.
            seen: The version of the roster that the actor was shown the difference to.
            actor: Who changes it.
            lines: As for :meth:`preview`.

        Returns:
            What was done.

        Raises:
            Conflict: Somebody has changed the roster meanwhile; nothing was changed.
            RosterRefused: As for :meth:`preview`; nothing was changed.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            found = self._preview(unit, course, entries, lines or {})
            _require_seen(found.roster, seen)
            if found.difference:
                self._put(unit, found, now, actor)
        return found

    def last_change(self, course: str) -> RosterVersion | None:
        """What was changed last, if it can be taken back. Raises: LedgerError."""
        with self._ledger.read() as unit:
            version = unit.roster(course).version
            return unit.roster_version(course, version) if version > 0 else None

    def preview_undo(self, course: str) -> RosterPreview:
        """Say what :meth:`undo` would do now.

        Raises:
            Conflict: There is nothing to take back.
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            found = self._preview_undo(unit, course)
            before = unit.roster_version(course, found.roster.version - 1)
        known = (*found.roster.entries, *(before.entries if before else ()))
        return _without_names(found, known, None)

    def undo(self, course: str, *, seen: int, actor: Actor) -> RosterPreview:
        """Take the last change back; what is taken back can be had again by the same.

        Args:
            course: The course.
            seen: The version of the roster that the actor was shown.
            actor: Who does it.

        Raises:
            Conflict: Somebody has changed it, or there is nothing to take back; nothing was changed.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            found = self._preview_undo(unit, course)
            _require_seen(found.roster, seen)
            self._put(unit, found, now, actor, mark("the last change was taken back"))
        return found

    def end(self, course: str, ends_on: date | None, *, keep_days: int, seen: int, actor: Actor) -> Roster:
        """Say on which day everybody leaves a course, and how long their homes are sure to be kept then.

        Args:
            course: The course.
            ends_on: Its last day; None for no end.
            keep_days: So many days more the homes are kept, also of those who leave before.
            seen: The version of the roster that the actor was shown.
            actor: Who says so.

        Raises:
            InvalidRequest: The day is over, or a number makes no sense.
            Conflict: Somebody has changed the roster meanwhile; nothing was changed.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        if ends_on is not None and ends_on < self._today():
            raise InvalidRequest(f"ends_on: {ends_on:%Y-%m-%d} is over; give today or a later day.")
        if not 0 <= keep_days <= MOST_KEEP_DAYS:
            raise InvalidRequest(f"keep_days: write a whole number from 0 to {MOST_KEEP_DAYS}.")
        now = self._clock()
        with self._ledger.write() as unit:
            old = unit.roster(course)
            _require_seen(old, seen)
            last = f"{ends_on:%Y-%m-%d}" if ends_on else ""
            what = mark(f"the last day is {last}") if last else mark("it has no last day any more")
            new = replace(
                old,
                version=old.version + 1,
                at=now,
                actor=actor.name,
                ends_on=ends_on,
                keep_days=keep_days,
            )
            unit.put_roster(new, what)
            data: dict[str, object] = {"course": course, "ends_on": last, "keep_days": keep_days}
            data["acted_as"] = actor.kind.value
            unit.add_event(Event(now, "roster.end", f"{course}: {what}", actor.name, data=data))
        return new

    def end_due(self) -> tuple[str, ...]:
        """Let everybody leave the courses whose last day is over; says which. Raises: LedgerError."""
        today, now = self._today(), self._clock()
        with self._ledger.read() as unit:
            if not unit.rosters_ended_before(today):
                return ()
        with self._ledger.write() as unit:
            over = unit.rosters_ended_before(today)
            for course in over:
                old = unit.roster(course)
                found = RosterPreview(replace(old, ends_on=None), (), compare(old.entries, ()))
                self._put(unit, found, now, CONTROLLER, mark("the course has ended"))
        return over

    def homes(self) -> tuple[KeptHome, ...]:
        """The homes of those who left courses, by day. Nothing ever deletes one. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.kept_homes()

    def tell_of_homes(self) -> None:
        """Tell those who left a course until when their homes are kept; remind them. Raises: LedgerError."""
        today, now = self._today(), self._clock()
        with self._ledger.read() as unit:
            if not any(find_notice(one, now, today) for one in unit.kept_homes()):
                return
        with self._ledger.write() as unit:
            for home in unit.kept_homes():
                text = find_notice(home, now, today)
                if text:
                    unit.add_message(Message(now, home.owner, text, CONTROLLER.name))
                    unit.put_kept_home(replace(home, told_at=now))

    def _today(self) -> date:
        return self._clock().astimezone().date()

    def _preview(
        self, unit: LedgerUnit, course: str, entries: Iterable[Entry], lines: Mapping[Who, int]
    ) -> RosterPreview:
        roster = unit.roster(course)
        bound = unit.bound(entries, course, self._services)
        first: dict[str, Entry] = {}
        problems = []
        for one in bound:
            why = "" if one.person else why_not_subject(one.who, self._services)
            if why:
                problems.append(RosterProblem(lines.get(one.who, 0), why))
            other = first.setdefault(one.person, one) if one.person else one
            if other is not one:
                where = lines.get(other.who, 0)
                why = mark(f"{one.who} is the same person as in line {where}.")
                problems.append(RosterProblem(lines.get(one.who, 0), why))
        if problems:
            raise refuse(problems)
        return RosterPreview(roster, bound, compare(roster.entries, bound))

    def _preview_undo(self, unit: LedgerUnit, course: str) -> RosterPreview:
        roster, today = unit.roster(course), self._today()
        before = unit.roster_version(course, roster.version - 1)
        if before is None and roster.version != 1:
            raise Conflict("There is nothing to take back.")
        entries = unit.bound(before.entries, course, self._services) if before else ()
        ends_on = before.ends_on if before and before.ends_on and before.ends_on >= today else None
        keep = before.keep_days if before else roster.keep_days
        changed = replace(roster, ends_on=ends_on, keep_days=keep)
        return RosterPreview(changed, entries, compare(roster.entries, entries))

    def _put(
        self, unit: LedgerUnit, found: RosterPreview, now: datetime, actor: Actor, why: str = ""
    ) -> None:
        old, course = found.roster, found.roster.course
        new = replace(old, version=old.version + 1, entries=found.entries, at=now, actor=actor.name)
        what = describe(found.difference)
        what = f"{why}: {what}" if why else what
        unit.put_roster(new, what)
        before, after = ({str(one.person) for one in roster.people} for roster in (old, new))
        unit.remove_kept_homes(course, after)
        until = self._today() + timedelta(days=old.keep_days)
        for owner in sorted(unit.with_homes(before - after)):
            unit.put_kept_home(KeptHome(owner, course, now, until))
        data: dict[str, object] = {"course": course, "version": new.version, "acted_as": actor.kind.value}
        data |= {name: _name(getattr(found.difference, name)) for name in ("added", "removed", "roles")}
        unit.add_event(Event(now, "roster.changed", f"{course}: {what}", actor.name, data=data))


def _name(changes: Collection[Change]) -> list[str]:
    return [f"{one.entry.who} ({one.entry.role})" for one in list(changes)[:_MOST_NAMED]]


def _require_seen(roster: Roster, seen: int) -> None:
    if roster.version != seen:
        raise Conflict(
            f"{roster.actor or 'Somebody'} has changed the roster since you were shown it. Look at the new "
            "difference; nothing was done."
        )


def _without_names(found: RosterPreview, known: Iterable[Entry], asker: str | None) -> RosterPreview:
    """A change with the names here of those alone who were known in the course, or are named by the entry.

    Who asks knows their own address, and must see whether they lock themselves out.
    """
    there = {one.who for one in known if one.person}

    def hide(entry: Entry) -> Entry:
        told = entry.who in there or entry.who.kind is Kind.PERSON or entry.person == asker
        return entry if told else replace(entry, person=None)

    entries = tuple(hide(one) for one in found.entries)
    return replace(found, entries=entries, difference=compare(found.roster.entries, entries))
