"""Who is in a course, and as what: rosters, what changes between two of them, and what each role may do.

A roster names people before they have ever logged in: by their name here, by an address that the login
service has checked, or by the subject that it knows them by (:mod:`gpuspawner.core.identity`). At the first
login that fits, an entry is bound to that one person, and stays theirs: whoever gets the address later gets
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from .errors import RosterRefused
from .identity import Subject
from .words import mark

KEEP_DAYS = 90
"""So long the homes of those who leave a course are sure to be kept, where nobody said otherwise."""
TELL_AFTER = timedelta(hours=1)
"""Who leaves a course is told so after a while: what was a slip can be undone before anybody reads of it."""
REMIND = timedelta(days=7)
"""So long before the last day of a home its person is reminded of it."""
MOST_PROBLEMS_TOLD = 5
"""In one sentence; the error carries all."""


class Role(StrEnum):
    """What somebody is in a course."""

    TEACHER = "teacher"
    ASSISTANT = "assistant"
    STUDENT = "student"

    @property
    def rank(self) -> int:
        """Who has several roles in a course has the one of the highest rank."""
        return _RANKS[self]


_RANKS = {Role.STUDENT: 0, Role.ASSISTANT: 1, Role.TEACHER: 2}


class Right(StrEnum):
    """What can be done in a course about others."""

    SEE = "see"
    """Its page: who works, who waits; the sessions; the roster."""
    MESSAGE = "message"
    EXTEND = "extend"
    STOP = "stop"
    RESERVE = "reserve"
    """Its reservations and its timetable."""
    ROSTER = "roster"
    """Changing who is in it, and ending it."""
    USAGE = "usage"
    """What it has used."""


RIGHTS: Mapping[Right, frozenset[Role]] = {
    Right.SEE: frozenset({Role.TEACHER, Role.ASSISTANT}),
    Right.MESSAGE: frozenset({Role.TEACHER, Role.ASSISTANT}),
    Right.EXTEND: frozenset({Role.TEACHER, Role.ASSISTANT}),
    Right.STOP: frozenset({Role.TEACHER}),
    Right.RESERVE: frozenset({Role.TEACHER}),
    Right.ROSTER: frozenset({Role.TEACHER}),
    Right.USAGE: frozenset({Role.TEACHER}),
}
"""Who may do what, beside administrators, who may do everything."""


class Kind(StrEnum):
    """By what an entry names somebody."""

    PERSON = "person"
    """Their name here."""
    MAIL = "mail"
    """An address that the login service has checked."""
    SUBJECT = "subject"
    """What the login service knows them by."""


@dataclass(frozen=True, slots=True, order=True)
class Who:
    """Whom an entry means."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return self.value if self.kind is not Kind.SUBJECT else mark(f"subject {self.value}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One person of a roster."""

    who: Who
    role: Role
    team: str = ""
    """Those who share a folder; empty for none."""
    name: str = ""
    """What people call them; only shown."""
    person: str | None = None
    """Their name here; None until they have logged in."""

    @property
    def shown(self) -> str:
        """What a list calls them."""
        return self.person or self.who.value


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in a course."""

    course: str
    version: int = 0
    """Rises with each change; 0 while there never was one."""
    entries: tuple[Entry, ...] = ()
    """Teachers first, then by what they are called."""
    at: datetime | None = None
    """When it was changed last."""
    actor: str = ""
    """Who changed it last."""
    ends_on: date | None = None
    """The last day on which its people are in the course; None for no end."""
    keep_days: int = KEEP_DAYS
    """So long the homes of those who leave it are sure to be kept."""

    @property
    def people(self) -> tuple[Entry, ...]:
        """Those who have logged in."""
        return tuple(one for one in self.entries if one.person is not None)


@dataclass(frozen=True, slots=True)
class RosterVersion:
    """A roster as it was after one change."""

    version: int
    at: datetime
    actor: str
    what: str
    """What was changed, as a sentence."""
    entries: tuple[Entry, ...]
    ends_on: date | None = None
    keep_days: int = KEEP_DAYS


@dataclass(frozen=True, slots=True)
class KeptHome:
    """The home of somebody who left a course."""

    owner: str
    course: str
    since: datetime
    until: date
    """It is sure to be kept until the end of this day."""
    told_at: datetime | None = None
    """When its person was reminded of that day; None: not yet."""


@dataclass(frozen=True, slots=True)
class RosterProblem:
    """Something that is wrong with a file of a roster."""

    line: int
    """From 1; 0 for the whole of it."""
    why: str
    """As a sentence, with what is right."""

    def __str__(self) -> str:
        return mark(f"Line {self.line}: {self.why}") if self.line else self.why


def why_not_subject(who: Who, services: Collection[str]) -> str:
    """Why it cannot be told whom an entry means, as a sentence; nothing where it can.

    Args:
        who: Whom the entry means.
        services: Those by which people log in; none where they are not known.
    """
    if who.kind is not Kind.SUBJECT or not services:
        return ""
    said, known = Subject.parse(who.value), ", ".join(sorted(services))
    if not said.provider and len(services) > 1:
        return mark(
            f"{who.value}: several login services have subjects. Write the service and a bar before it, as "
            f"{sorted(services)[0]}|{who.value}; there are {known}."
        )
    if said.provider and said.provider not in services:
        return mark(f"{who.value}: there is no login service {said.provider}; there are: {known}.")
    return ""


def refuse(problems: Iterable[RosterProblem]) -> RosterRefused:
    """The error of a file that cannot be taken: by line, what is of the whole of it at the end."""
    found = sorted(problems, key=lambda one: (one.line == 0, one.line))
    more = len(found) - MOST_PROBLEMS_TOLD
    told = [str(one) for one in found[:MOST_PROBLEMS_TOLD]]
    told += [mark(f"{more} more things are wrong.")] if more > 0 else []
    return RosterRefused(" ".join(told), found)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is in a course and has a name here."""

    person: str
    role: Role
    team: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What one entry was, and what it becomes."""

    before: Entry | None
    """None: it is new."""
    after: Entry | None
    """None: it goes."""

    @property
    def entry(self) -> Entry:
        """As it becomes, or was."""
        entry = self.after or self.before
        assert entry is not None  # noqa: S101 - compare() makes none without both
        return entry


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes one roster of another."""

    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()
    roles: tuple[Change, ...] = ()
    """Another role, and perhaps another team or name."""
    others: tuple[Change, ...] = ()
    """Another team or name alone."""
    same: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.roles or self.others)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The roles of everybody who is in a roster and has a name here."""

    roles: Mapping[str, Mapping[str, Role]] = field(default_factory=dict)
    """By person, then by course."""
    teams: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By person, then by course: those who share a folder."""

    def of(self, person: str) -> Mapping[str, Role]:
        """Roles of one person, by course."""
        return self.roles.get(person, {})

    def teams_of(self, person: str) -> Mapping[str, str]:
        """Teams of one person, by course."""
        return self.teams.get(person, {})


NOBODY = Enrolment()


def enrol(members: Iterable[tuple[str, str, Role]], teams: Iterable[tuple[str, str, str]] = ()) -> Enrolment:
    """Make the roles of everybody out of (course, person, role); the higher of two in a course counts.

    Args:
        members: As above.
        teams: As (course, person, team); of two in a course the first by its name.
    """
    roles: dict[str, dict[str, Role]] = {}
    for course, person, role in members:
        mine = roles.setdefault(person, {})
        mine[course] = max(mine.get(course, role), role, key=lambda one: one.rank)
    grouped: dict[str, dict[str, str]] = {}
    for course, person, team in sorted(teams, reverse=True):
        grouped.setdefault(person, {})[course] = team
    return Enrolment(roles, grouped)


def order_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries in the order in which they are shown."""
    return tuple(sorted(entries, key=lambda one: (-one.role.rank, one.who.value.casefold(), one.who)))


def compare(before: Sequence[Entry], after: Sequence[Entry]) -> Difference:
    """What makes one roster of another; what is bound to a person already stays so."""
    old = {one.who: one for one in before}
    new = {one.who: one for one in after}
    both = [Change(old[who], one) for who, one in new.items() if who in old]
    changed = [one for one in both if _say(one.before) != _say(one.after)]
    roles = [one for one in changed if _role(one.before) is not _role(one.after)]
    return Difference(
        added=tuple(Change(None, one) for who, one in new.items() if who not in old),
        removed=tuple(Change(one, None) for who, one in old.items() if who not in new),
        roles=tuple(roles),
        others=tuple(one for one in changed if one not in roles),
        same=len(both) - len(changed),
    )


def describe(difference: Difference) -> str:
    """A difference in few words."""
    counts = (len(difference.added), len(difference.removed), len(difference.roles), len(difference.others))
    added, removed, roles, others = counts
    return mark(
        f"{added} added, {removed} removed, {roles} with another role, {others} with another team or name"
    )


def find_notice(home: KeptHome, now: datetime, today: date) -> str:
    """What the person of a home is to be told now; nothing if there is nothing to tell."""
    day = f"{home.until:%Y-%m-%d}"
    if home.told_at is None:
        if now - home.since < TELL_AFTER:
            return ""
        return mark(
            f"You are not in the course {home.course!r} any more. Your files here are kept until {day} at "
            "least; copy what you want to have after that."
        )
    reminder = home.until - REMIND
    if home.told_at.date() < reminder <= today <= home.until:
        return mark(
            f"Your files here are kept until {day} at least, since you are not in the course "
            f"{home.course!r} any more; copy what you want to have after that."
        )
    return ""


def _role(entry: Entry | None) -> Role | None:
    return entry.role if entry else None


def _say(entry: Entry | None) -> tuple[object, ...]:
    return (entry.role, entry.team, entry.name) if entry else ()
