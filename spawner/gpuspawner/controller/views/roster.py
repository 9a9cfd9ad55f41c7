"""Who is in a course as its page shows it, and what a change of that would come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from gpuspawner.allocator.rosters import RosterPreview
from gpuspawner.controller.links import Links
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import (
    Change,
    Difference,
    Entry,
    Kind,
    Role,
    Roster,
    RosterProblem,
    RosterVersion,
)

MOST_SHOWN = 1000
"""People on one page; the file has all."""
MOST_OF_EACH = 200
"""People of each sort in a difference."""


@dataclass(frozen=True, slots=True)
class PersonLine:
    """Somebody in a roster."""

    shown: str
    named_by: Kind
    role: Role
    team: str
    name: str
    here_as: str
    """Their name here where it is not what names them; empty where they have none yet, or it is the same."""
    waits: bool
    """Whether they have not logged in so far, and are known by address or subject alone."""


@dataclass(frozen=True, slots=True)
class RosterPage:
    """The page of a roster."""

    course: str
    back: str
    here: str
    counts: tuple[tuple[Role, int], ...]
    """How many of each role."""
    named: tuple[tuple[str, Role], ...]
    """Those whom the policy names, and their roles."""
    group: str
    """Whose people are students too."""
    people: tuple[PersonLine, ...]
    more: int
    """People who are not shown."""
    may_change: bool
    check: str
    """Where a file is sent."""
    file: str
    """Where the roster is saved from."""
    undo: str
    end: str
    change: RosterVersion | None
    """The last one."""
    ends_on: date | None
    keep_days: int


@dataclass(frozen=True, slots=True)
class RoleLine:
    """Somebody with another role, team or name."""

    person: PersonLine
    before: PersonLine


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """What a change would come to, and the form that does it."""

    course: str
    back: str
    send: str
    seen: int
    """The version that this is the difference to."""
    text: str
    """The roster as it would be, as a file; empty where the form needs none."""
    added: tuple[PersonLine, ...] = ()
    removed: tuple[PersonLine, ...] = ()
    roles: tuple[RoleLine, ...] = ()
    others: tuple[RoleLine, ...] = ()
    counts: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """How many are added, removed, have another role, another team or name, and stay as they are."""
    notes: tuple[str, ...] = ()
    problems: tuple[RosterProblem, ...] = ()
    """What is wrong with the file: then nothing can be done."""
    note: str = ""
    """What was wrong with what was just asked for."""
    locks_out: bool = False
    """Whether who asks could not change the roster any more."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return any(self.counts[:4])


@dataclass(frozen=True, slots=True)
class EndPage:
    """The form of a course's last day, and what it would come to."""

    course: str
    back: str
    here: str
    send: str
    seen: int
    ends_on: date | None
    """As it is."""
    wanted: date | None
    """What was filled in; None: nothing yet, or nothing that is a day to come."""
    keep_days: int
    kept_until: date | None
    people: int
    today: date
    problem: str = ""


def view_roster(
    roster: Roster, course: Course, change: RosterVersion | None, links: Links, *, may_change: bool
) -> RosterPage:
    """Make the page of a roster."""
    named = dict.fromkeys(course.assistants, Role.ASSISTANT) | dict.fromkeys(course.teachers, Role.TEACHER)
    roles = [one.role for one in roster.entries]
    return RosterPage(
        course=course.name,
        back=links.below("courses", course.name),
        here=links.below("courses", course.name, "roster"),
        counts=tuple((role, roles.count(role)) for role in Role if role in roles),
        named=tuple(sorted(named.items())),
        group=course.group,
        people=tuple(map(_show, roster.entries[:MOST_SHOWN])),
        more=max(0, len(roster.entries) - MOST_SHOWN),
        may_change=may_change,
        check=links.below("courses", course.name, "roster", "check"),
        file=links.below("courses", course.name, "roster.csv"),
        undo=links.below("courses", course.name, "roster", "undo"),
        end=links.below("courses", course.name, "end"),
        change=change,
        ends_on=roster.ends_on,
        keep_days=roster.keep_days,
    )


def view_changes(
    found: RosterPreview,
    links: Links,
    *,
    send: str,
    text: str = "",
    notes: Sequence[str] = (),
    note: str = "",
    person: str | None = None,
) -> ChangesPage:
    """Make the page of what a change would come to.

    Args:
        found: The change.
        links: Where pages are.
        send: What the form does, below the page of the roster.
        text: The roster as it would be, as a file.
        notes: What should be looked at twice.
        note: What was wrong with what was just asked for.
        person: Who asks, if they may change the roster by the roster itself alone.
    """
    course, difference = found.roster.course, found.difference
    locks_out = person is not None and not any(
        one.person == person and one.role is Role.TEACHER for one in found.entries
    )
    return ChangesPage(
        course=course,
        back=links.below("courses", course, "roster"),
        send=links.below("courses", course, "roster", *send.split("/")),
        seen=found.roster.version,
        text=text,
        added=_show_all(difference.added),
        removed=_show_all(difference.removed),
        roles=_compare(difference.roles),
        others=_compare(difference.others),
        counts=_count(difference),
        notes=tuple(notes[:MOST_OF_EACH]),
        note=note,
        locks_out=locks_out,
    )


def view_problems(course: str, problems: Sequence[RosterProblem], links: Links) -> ChangesPage:
    """Make the page of what is wrong with a file."""
    here = links.below("courses", course, "roster")
    return ChangesPage(course, here, "", 0, "", problems=tuple(problems[:MOST_OF_EACH]))


def view_end(
    roster: Roster, links: Links, now: datetime, *, wanted: date | None, keep_days: int, problem: str = ""
) -> EndPage:
    """Make the form of a course's last day."""
    course = roster.course
    return EndPage(
        course=course,
        back=links.below("courses", course, "roster"),
        here=links.below("courses", course, "end"),
        send=links.below("courses", course, "end", "do"),
        seen=roster.version,
        ends_on=roster.ends_on,
        wanted=wanted,
        keep_days=keep_days,
        # Everybody leaves on the day after.
        kept_until=wanted + timedelta(days=keep_days + 1) if wanted else None,
        people=len(roster.entries),
        today=now.astimezone().date(),
        problem=problem,
    )


def _count(difference: Difference) -> tuple[int, int, int, int, int]:
    changed = (difference.added, difference.removed, difference.roles, difference.others)
    added, removed, roles, others = map(len, changed)
    return added, removed, roles, others, difference.same


def _show_all(changes: Sequence[Change]) -> tuple[PersonLine, ...]:
    return tuple(_show(one.entry) for one in changes[:MOST_OF_EACH])


def _compare(changes: Sequence[Change]) -> tuple[RoleLine, ...]:
    return tuple(RoleLine(_show(one.entry), _show(one.before or one.entry)) for one in changes[:MOST_OF_EACH])


def _show(entry: Entry) -> PersonLine:
    other = entry.person if entry.person != entry.who.value else None
    return PersonLine(
        shown=entry.who.value,
        named_by=entry.who.kind,
        role=entry.role,
        team=entry.team,
        name=entry.name,
        here_as=other or "",
        waits=entry.person is None,
    )
