"""Who is in a course, and the homes of those who left it, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import date

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from gpuspawner.core.identity import Identity, Subject
from gpuspawner.core.roster import Entry, KeptHome, Kind, Role, Roster, RosterVersion, Who, order_entries

from .audit_unit import AuditUnit
from .course_schema import kept_homes, roster_entries, roster_versions, rosters, timetable_lessons
from .schema import homes, identities

MOST_VERSIONS = 20
"""Of each roster, that can be gone back to."""


class CourseUnit(AuditUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    # -- rosters --------------------------------------------------------------------------------------------

    def roster(self, course: str) -> Roster:
        """Who is in a course; empty, of version 0, where nobody ever was."""
        row = self._db.execute(sa.select(rosters).where(rosters.c.course == course)).mappings().first()
        if row is None:
            return Roster(course)
        found = self._db.execute(sa.select(roster_entries).where(roster_entries.c.course == course))
        entries = order_entries(_row_to_entry(one) for one in found.mappings())
        return Roster(
            course, row["version"], entries, row["at"], row["actor"], row["ends_on"], row["keep_days"]
        )

    def roster_revisions(self) -> tuple[tuple[str, int], ...]:
        """A number of each course's roster that rises whenever anything of it changes."""
        found = self._db.execute(sa.select(rosters.c.course, rosters.c.revision).order_by(rosters.c.course))
        return tuple((course, revision) for course, revision in found)

    def enrolled(self) -> list[tuple[str, str, Role]]:
        """Everybody who is in a course and has a name here, as (course, person, role)."""
        row = roster_entries.c
        found = self._db.execute(sa.select(row.course, row.person, row.role).where(row.person.is_not(None)))
        return [(course, person, Role(role)) for course, person, role in found]

    def enrolled_teams(self) -> list[tuple[str, str, str]]:
        """Everybody who is in a team of a course and has a name here, as (course, person, team)."""
        row = roster_entries.c
        found = self._db.execute(
            sa.select(row.course, row.person, row.team).where(row.person.is_not(None), row.team != "")
        )
        return [(course, person, team) for course, person, team in found]

    def roster_names(self) -> frozenset[str]:
        """All names that rosters speak of."""
        row = roster_entries.c
        found = self._db.execute(sa.select(row.value).where(row.kind == Kind.PERSON.value))
        return frozenset(found.scalars())

    def rosters_ended_before(self, day: date) -> tuple[str, ...]:
        """The courses whose last day was before that one."""
        found = self._db.execute(sa.select(rosters.c.course).where(rosters.c.ends_on < day))
        return tuple(found.scalars())

    def put_roster(self, roster: Roster, what: str) -> None:
        """Store a roster in place of the one before, as a version that can be gone back to.

        Args:
            roster: With its new version.
            what: What was changed, as a sentence.
        """
        self._note_who_was_bound(roster.course)
        self._db.execute(sa.delete(roster_entries).where(roster_entries.c.course == roster.course))
        new = [_entry_to_row(one) | {"course": roster.course} for one in roster.entries]
        if new:
            self._db.execute(sa.insert(roster_entries), new)
        row = {
            "course": roster.course,
            "version": roster.version,
            "revision": 0,
            "at": roster.at,
            "actor": roster.actor,
            "ends_on": roster.ends_on,
            "keep_days": roster.keep_days,
        }
        self._revise(row)
        kept = {name: row[name] for name in row if name != "revision"}
        entries = to_json([_entry_to_row(one) for one in roster.entries]).decode()
        self._db.execute(sa.insert(roster_versions).values(**kept, what=what, entries=entries))
        old = roster_versions.c
        self._db.execute(
            sa.delete(roster_versions).where(
                old.course == roster.course, old.version <= roster.version - MOST_VERSIONS
            )
        )

    def _note_who_was_bound(self, course: str) -> None:
        """Keep with the version that stands whom its entries came to mean since it was stored."""
        now, old = self.roster(course), roster_versions.c
        entries = to_json([_entry_to_row(one) for one in now.entries]).decode()
        this = sa.update(roster_versions).where(old.course == course, old.version == now.version)
        self._db.execute(this.values(entries=entries))

    def _revise(self, row: dict[str, object]) -> None:
        before = sa.select(rosters.c.revision).where(rosters.c.course == row["course"])
        self._put(rosters, {**row, "revision": (self._db.execute(before).scalar() or 0) + 1}, key=("course",))

    def roster_version(self, course: str, version: int) -> RosterVersion | None:
        """One version of a roster; None where it is too old to be kept, or never was."""
        row = roster_versions.c
        found = self._db.execute(
            sa.select(roster_versions).where(row.course == course, row.version == version)
        )
        one = found.mappings().first()
        if one is None:
            return None
        entries = tuple(_row_to_entry(entry) for entry in from_json(one["entries"]))
        return RosterVersion(
            one["version"],
            one["at"],
            one["actor"],
            one["what"],
            order_entries(entries),
            one["ends_on"],
            one["keep_days"],
        )

    def bind_roster(self, identity: Identity, services: Collection[str] = ()) -> tuple[str, ...]:
        """Bind the entries that mean somebody, and nobody so far, to them.

        Args:
            identity: Somebody who has logged in.
            services: Those by which people log in; none where they are not known.

        Returns:
            Of which courses the entries are.
        """
        row, open_ = roster_entries.c, self._meaning(identity, services)
        courses = tuple(self._db.execute(sa.select(row.course).where(open_).distinct()).scalars())
        if courses:
            self._db.execute(sa.update(roster_entries).where(open_).values(person=identity.name))
            revised = {"revision": rosters.c.revision + 1}
            self._db.execute(sa.update(rosters).where(rosters.c.course.in_(courses)).values(revised))
        return courses

    def has_open_entry(self, identity: Identity, services: Collection[str] = ()) -> bool:
        """Whether :meth:`bind_roster` would bind anything."""
        found = sa.select(roster_entries.c.course).where(self._meaning(identity, services))
        return self._db.execute(found.limit(1)).first() is not None

    def _meaning(self, identity: Identity, services: Collection[str]) -> sa.ColumnElement[bool]:
        """The entries that mean somebody, and nobody so far."""
        row, subject = roster_entries.c, identity.subject
        texts = [str(subject)]
        meant = subject.is_meant(subject.id, services)
        if meant or (meant is None and self._is_alone(subject)):
            texts.append(subject.id)
        named = [sa.and_(row.kind == Kind.SUBJECT.value, row.value.in_(texts))]
        if identity.email:
            named.append(sa.and_(row.kind == Kind.MAIL.value, row.value == identity.email.lower()))
        return sa.and_(row.person.is_(None), sa.or_(*named))

    def _is_alone(self, subject: Subject) -> bool:
        """Whether no two services call somebody so, in which case it would say nothing."""
        alike = sa.select(sa.func.count()).where(identities.c.subject == subject.id)
        return (self._db.execute(alike).scalar() or 0) <= 1

    def bound(
        self, entries: Iterable[Entry], course: str, services: Collection[str] = ()
    ) -> tuple[Entry, ...]:
        """Entries, each with the person that it means, as far as they have a name here.

        An entry that was bound in this course before stays that person's, as does one that names a person.

        Args:
            entries: The entries.
            course: Of which course.
            services: As for :meth:`bind_roster`.
        """
        row = roster_entries.c
        found = self._db.execute(
            sa.select(row.kind, row.value, row.person).where(row.course == course, row.person.is_not(None))
        )
        before = {(kind, value): person for kind, value, person in found}
        who = identities.c
        # An address that was given to somebody else is that of whom the login service named last.
        named = sa.select(who.provider, who.subject, who.name, who.email).order_by(who.last_seen)
        known = [(Subject(service, own), name, mail) for service, own, name, mail in self._db.execute(named)]
        times = Counter(subject.id for subject, _, _ in known)
        by_subject = {str(subject): name for subject, name, _ in known}
        for subject, name, _ in known:
            meant = subject.is_meant(subject.id, services)
            if meant or (meant is None and times[subject.id] == 1):
                by_subject[subject.id] = name
        by_mail = {email.lower(): name for _, name, email in known if email}
        found_now = {Kind.MAIL: by_mail, Kind.SUBJECT: by_subject}

        def find(who: Who) -> str | None:
            if who.kind is Kind.PERSON:
                return who.value
            return before.get((who.kind.value, who.value)) or found_now[who.kind].get(who.value)

        return tuple(replace(one, person=one.person or find(one.who)) for one in entries)

    # -- timetables -----------------------------------------------------------------------------------------

    def lessons_of(self, course: str) -> tuple[str, ...]:
        """Ids of the reservations that were made of a course's timetable, whether they stand or not."""
        row = timetable_lessons.c
        found = self._db.execute(sa.select(row.reservation_id).where(row.course == course))
        return tuple(found.scalars())

    def put_lessons(self, course: str, reservation_ids: Collection[str]) -> None:
        """Store that these reservations are of a course's timetable, and no others."""
        self._db.execute(sa.delete(timetable_lessons).where(timetable_lessons.c.course == course))
        new = [{"course": course, "reservation_id": one} for one in reservation_ids]
        if new:
            self._db.execute(sa.insert(timetable_lessons), new)

    # -- homes of those who left ----------------------------------------------------------------------------

    def kept_homes(self) -> tuple[KeptHome, ...]:
        """The homes of those who left a course, by day and person."""
        row = kept_homes.c
        found = self._db.execute(sa.select(kept_homes).order_by(row.until, row.owner, row.course))
        return tuple(KeptHome(**one) for one in found.mappings())

    def put_kept_home(self, home: KeptHome) -> None:
        """Store until when a home is kept, in place of what was stored for the same course."""
        row = {name: getattr(home, name) for name in ("owner", "course", "since", "until", "told_at")}
        self._put(kept_homes, row, key=("owner", "course"))

    def with_homes(self, owners: Iterable[str]) -> frozenset[str]:
        """Those of some people who have a home."""
        found = self._db.execute(sa.select(homes.c.owner).where(homes.c.owner.in_(list(owners))))
        return frozenset(found.scalars())

    def remove_kept_homes(self, course: str, owners: Iterable[str]) -> None:
        """Forget it for those who are in the course again."""
        row = kept_homes.c
        self._db.execute(sa.delete(kept_homes).where(row.course == course, row.owner.in_(list(owners))))


def _entry_to_row(entry: Entry) -> dict[str, str | None]:
    return {
        "kind": entry.who.kind.value,
        "value": entry.who.value,
        "role": entry.role.value,
        "team": entry.team,
        "name": entry.name,
        "person": entry.person,
    }


def _row_to_entry(row: sa.RowMapping | dict[str, str]) -> Entry:
    who = Who(Kind(row["kind"]), row["value"])
    return Entry(who, Role(row["role"]), row["team"], row["name"], row["person"])
