"""The use cases around who is in a course. Who may do what is decided by the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import NOBODY, Enrolment, Member, Roster, enrol

from .clock import utc_now


class Rosters:
    """Who is in which course, and as what. Every method may block on the ledger.

    Args:
        ledger: Where they are kept.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._clock = clock
        self._reading = threading.Lock()
        self._known: tuple[tuple[tuple[str, int], ...], Enrolment] = ((), NOBODY)

    def find(self, course: str) -> Roster:
        """The roster of a course; empty where it never had one. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.roster(course)

    def enrolment(self) -> Enrolment:
        """The roles of everybody in all rosters, read again where one has changed. Raises: LedgerError."""
        with self._reading:
            with self._ledger.read() as unit:
                revisions = unit.roster_revisions()
                if revisions != self._known[0]:
                    self._known = revisions, enrol(unit.enrolled())
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
        for entry in self.find(course.name).people:
            person, before = str(entry.person), found.get(str(entry.person))
            role = entry.role if before is None else max(before.role, entry.role, key=lambda one: one.rank)
            found[person] = Member(person, role, entry.team or (before.team if before else ""))
        return tuple(found[person] for person in sorted(found))
