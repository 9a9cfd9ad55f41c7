"""The use cases around a course's timetable: what it comes to, and making it so, all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Actor, Reservation
from gpuspawner.core.errors import Conflict, InvalidRequest, ReservationConflict
from gpuspawner.core.model import Lease
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import Conflict as Collision
from gpuspawner.core.reservations import Occurrence, count_losing, expand
from gpuspawner.core.words import mark
from gpuspawner.policy.reservations import PolicyNames, find_version, make_reservation, to_body
from gpuspawner.policy.timetable import Timetable

from .bookevents import store, tell
from .clock import utc_now
from .room import Known, describe_conflicts, find_room, find_warnings, gather

_MOST_CLASHES = 20
"""Lessons that do not fit, of one timetable."""
_WARN_AHEAD = timedelta(days=7)
"""Sessions under way may be in the way of lessons so far ahead."""
_MOST_WARNED = 10


@dataclass(frozen=True, slots=True)
class LessonChange:
    """What becomes of one series of lessons, or of a single one."""

    before: Reservation | None
    """None: it is new."""
    after: Reservation | None
    """None: it falls away."""
    ahead: tuple[Occurrence, ...]
    """All of it that would be still to come, or that falls away, in order."""
    seats_lost: int = 0
    """Sessions that have a seat of it now, and would have none."""

    @property
    def lesson(self) -> Reservation:
        """As it becomes, or was."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - one of both is always there
        return found


@dataclass(frozen=True, slots=True)
class Clash:
    """A lesson that does not fit."""

    lesson: Reservation
    collisions: tuple[Collision, ...]
    why: str
    """As a sentence."""


@dataclass(frozen=True, slots=True)
class TimetablePreview:
    """What a timetable would come to now; nothing was stored."""

    course: str
    version: str
    """Names exactly this: another timetable, or another state of the reservations, has another one."""
    made: tuple[LessonChange, ...]
    changed: tuple[LessonChange, ...]
    gone: tuple[LessonChange, ...]
    same: int
    clashes: tuple[Clash, ...]
    """Why it cannot be done."""
    warnings: tuple[str, ...]
    """Sessions that may still be in the way of the next lessons."""
    notes: tuple[str, ...]
    """What of the file was passed over."""

    def __bool__(self) -> bool:
        return bool(self.made or self.changed or self.gone)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done, with all that it rests on."""

    new: tuple[Reservation, ...]
    old: dict[str, Reservation]
    """What stands of the timetable, and of the same ids, by id."""
    known: Known
    preview: TimetablePreview


class Timetables:
    """Makes reservations of courses' timetables.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices are reserved.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._host = host
        self._clock = clock

    def lessons(self, course: str) -> tuple[Reservation, ...]:
        """What stands of a course's timetable, by start. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return tuple(sorted(self._standing(unit, course).values(), key=lambda one: one.start))

    def preview(
        self,
        course: str,
        timetable: Timetable,
        *,
        actor: Actor,
        names: PolicyNames | None = None,
        people: bool = True,
    ) -> TimetablePreview:
        """Say what :meth:`apply` would do now; nothing is changed.

        Args:
            course: Whose timetable it is.
            timetable: As it was read.
            actor: Who would reserve.
            names: What the policy has names for.
            people: Whether warnings and collisions name persons.

        Raises:
            InvalidRequest: A lesson makes no sense; it is named.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            gathered = self._gather(unit, course, timetable, now)
            leases = unit.live_leases(self._host)
        return self._plan(course, timetable, gathered, leases, now, actor, names, people=people).preview

    def apply(
        self,
        course: str,
        timetable: Timetable,
        *,
        seen: str,
        actor: Actor,
        names: PolicyNames | None = None,
        people: bool = True,
    ) -> TimetablePreview:
        """Make, change and cancel the reservations of a course's timetable: all of it, or nothing.

        Args:
            course: As for :meth:`preview`.
            timetable: Likewise.
            seen: The version of the preview that the actor was shown.
            actor: Likewise.
            names: Likewise.
            people: Likewise.

        Returns:
            What was done.

        Raises:
            Conflict: It would come to something else than was shown; nothing was changed.
            ReservationConflict: A lesson does not fit; nothing was changed.
            InvalidRequest: As for :meth:`preview`.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            gathered = self._gather(unit, course, timetable, now)
            leases = unit.live_leases(self._host)
        # Many lessons take seconds to compare: nobody else shall wait for that.
        plan = self._plan(course, timetable, gathered, leases, now, actor, names, people=people)
        _require_fit(plan.preview, seen)
        with self._ledger.write() as unit:
            again = self._gather(unit, course, timetable, now)
            if again != gathered:
                plan = self._plan(course, timetable, again, leases, now, actor, names, people=people)
                _require_fit(plan.preview, seen)
            self._store(unit, course, plan, now, actor)
        return plan.preview

    def _standing(self, unit: LedgerUnit, course: str) -> dict[str, Reservation]:
        found = {one.id: one for one in unit.reservations(self._host)}
        return {id_: found[id_] for id_ in unit.lessons_of(course) if id_ in found}

    def _gather(
        self, unit: LedgerUnit, course: str, timetable: Timetable, now: datetime
    ) -> tuple[dict[str, Reservation], Known]:
        ids = {one.reservation_id for one in timetable.lessons}
        old = self._standing(unit, course)
        old |= {one.id: one for one in unit.reservations(self._host) if one.id in ids}
        return old, gather(unit, self._host, ids | set(old), now)

    def _plan(  # noqa: PLR0917 - everything that a plan rests on
        self,
        course: str,
        timetable: Timetable,
        gathered: tuple[dict[str, Reservation], Known],
        leases: Sequence[Lease],
        now: datetime,
        actor: Actor,
        names: PolicyNames | None,
        *,
        people: bool,
    ) -> _Plan:
        old, known = gathered
        new = tuple(self._make(timetable, actor, now, names))
        taken, clashes = find_room(new, known, now, most=_MOST_CLASHES)
        changes = [_compare(old.get(one.id), one, leases, now) for one in new]
        kept = {one.id for one in new}
        # What is over is passed over in the file, and so it is here: it took place.
        gone = [
            change
            for change in (_compare(one, None, leases, now) for id_, one in old.items() if id_ not in kept)
            if change.ahead
        ]
        changed = [one for one in changes if one.before and _say(one.before) != _say(one.lesson)]
        made = [one for one in changes if one.before is None]
        soon = sorted(
            (one.ahead[0] for one in (*made, *changed) if one.ahead[0].start < now + _WARN_AHEAD),
            key=lambda one: one.start,
        )
        warnings = [
            warning
            for one in ([] if clashes else soon[:_MOST_WARNED])
            for warning in find_warnings(one, taken, known.inventory, leases, now, people=people)
        ]
        preview = TimetablePreview(
            course,
            _name_version(course, old, new),
            tuple(made),
            tuple(changed),
            tuple(gone),
            len(changes) - len(made) - len(changed),
            tuple(Clash(one, found, describe_conflicts(one, found, people)) for one, found in clashes),
            tuple(dict.fromkeys(warnings)),
            timetable.notes,
        )
        return _Plan(new, old, known, preview)

    def _make(
        self, timetable: Timetable, actor: Actor, now: datetime, names: PolicyNames | None
    ) -> Iterable[Reservation]:
        for lesson in timetable.lessons:
            name = lesson.reservation_id
            try:
                yield make_reservation(
                    lesson.body, reservation_id=name, host=self._host, actor=actor, now=now, names=names
                )
            except InvalidRequest as error:
                raise InvalidRequest(f"Lesson {lesson.body.title!r}: {error}") from None

    def _store(self, unit: LedgerUnit, course: str, plan: _Plan, now: datetime, actor: Actor) -> None:
        preview = plan.preview
        for change in preview.gone:
            ended = replace(change.lesson, ended_at=now)
            unit.put_reservation(ended)
            why = mark("it is not in the timetable any more")
            unit.add_event(tell(now, "reservation.cancelled", why, actor=actor, about=ended))
        for change in (*preview.made, *preview.changed):
            store(unit, change.lesson, now, actor)
        unit.put_lessons(course, [one.id for one in plan.new])


def describe(preview: TimetablePreview) -> str:
    """What a timetable comes to, in few words."""
    made, changed, gone = len(preview.made), len(preview.changed), len(preview.gone)
    return mark(f"{made} made, {changed} changed, {gone} cancelled, {preview.same} as before")


def _compare(
    before: Reservation | None, after: Reservation | None, leases: Sequence[Lease], now: datetime
) -> LessonChange:
    lesson = after or before
    assert lesson is not None  # noqa: S101 - one of both is always there
    ahead = expand(lesson, now, lesson.start + 2 * HORIZON)
    kept = ahead if after else ()
    lost = count_losing(before.id, kept, leases) if before else 0
    return LessonChange(before, after, ahead, lost)


def _say(lesson: Reservation) -> str:
    """All that a lesson says, in a plain form."""
    return json.dumps([to_body(lesson), sorted(lesson.cards)], sort_keys=True)


def _name_version(course: str, old: dict[str, Reservation], new: Iterable[Reservation]) -> str:
    stands = sorted(find_version(one) for one in old.values())
    wanted = sorted([one.id, _say(one)] for one in new)
    return sha256(json.dumps([course, stands, wanted]).encode()).hexdigest()[:32]


def _require_fit(preview: TimetablePreview, seen: str) -> None:
    if preview.version != seen:
        raise Conflict(
            "The reservations or the lessons are others than you were shown. Look at the new difference; "
            "nothing was done."
        )
    if preview.clashes:
        first = preview.clashes[0]
        raise ReservationConflict(first.why, first.collisions)
