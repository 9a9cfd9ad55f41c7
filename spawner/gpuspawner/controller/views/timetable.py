"""A course's lessons as its page shows them, and what a timetable would come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gpuspawner.allocator.timetables import LessonChange, TimetablePreview
from gpuspawner.controller.links import Links
from gpuspawner.core.claims import Reservation
from gpuspawner.core.policy import Course
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import Occurrence, expand

from .changes import Change, compare

_MOST_SEATS = 10_000


@dataclass(frozen=True, slots=True)
class LessonLine:
    """A series of lessons, or a single one."""

    title: str
    href: str
    """Its reservation; empty where there is none yet."""
    gpus: int
    pool: str
    next: datetime | None
    """Start of the next one, in its time zone; None where nothing is ahead."""
    end: datetime | None
    zone: str
    times: int
    """How often it is to come, or would have been."""
    seats_lost: int = 0
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class TimetablePage:
    """The lessons of a course, and the form for a file."""

    course: str
    back: str
    lessons: tuple[LessonLine, ...]
    may_change: bool
    check: str
    fields: Mapping[str, str]
    pools: tuple[str, ...]
    zone: str


@dataclass(frozen=True, slots=True)
class TimetableChangesPage:
    """What a timetable would come to, and the form that does it."""

    course: str
    back: str
    send: str
    seen: str = ""
    fields: Mapping[str, str] | None = None
    """What was filled in, the calendar included."""
    made: tuple[LessonLine, ...] = ()
    changed: tuple[LessonLine, ...] = ()
    gone: tuple[LessonLine, ...] = ()
    same: int = 0
    clashes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    note: str = ""
    """What was wrong with what was just asked for."""
    problem: str = ""
    """What is wrong with the file: then nothing can be done."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.made or self.changed or self.gone)


def view_timetable(
    course: Course,
    lessons: Iterable[Reservation],
    pools: Iterable[str],
    links: Links,
    now: datetime,
    *,
    may_change: bool,
    zone: str,
) -> TimetablePage:
    """Make the page of a course's lessons."""
    return TimetablePage(
        course=course.name,
        back=links.below("courses", course.name),
        lessons=tuple(
            _show(one, expand(one, now, one.start + 2 * HORIZON), links, stands=True) for one in lessons
        ),
        may_change=may_change,
        check=links.below("courses", course.name, "timetable", "check"),
        fields={"devices": str(min(course.seats or 1, _MOST_SEATS)), "pool": "", "lead": "5 min"},
        pools=tuple(sorted(pools)),
        zone=zone,
    )


def view_timetable_changes(
    found: TimetablePreview, fields: Mapping[str, str], links: Links, now: datetime, note: str = ""
) -> TimetableChangesPage:
    """Make the page of what a timetable would come to."""
    course = found.course
    return TimetableChangesPage(
        course=course,
        back=links.below("courses", course, "timetable"),
        send=links.below("courses", course, "timetable", "take"),
        seen=found.version,
        fields=fields,
        made=tuple(_show(one.lesson, one.ahead, links) for one in found.made),
        changed=tuple(_show_changed(one, links, now) for one in found.changed),
        gone=tuple(
            _show(one.lesson, one.ahead, links, lost=one.seats_lost, stands=True) for one in found.gone
        ),
        same=found.same,
        clashes=tuple(one.why for one in found.clashes),
        warnings=found.warnings,
        notes=found.notes,
        note=note,
    )


def view_timetable_problem(course: str, problem: str, links: Links) -> TimetableChangesPage:
    """Make the page of what is wrong with a file."""
    return TimetableChangesPage(course, links.below("courses", course, "timetable"), "", problem=problem)


def _show_changed(one: LessonChange, links: Links, now: datetime) -> LessonLine:
    before, after = one.before, one.lesson
    assert before is not None  # noqa: S101 - it is changed
    earlier = expand(before, now, before.start + 2 * HORIZON)
    difference = compare(before, after, earlier, one.ahead, one.seats_lost)
    return _show(after, one.ahead, links, lost=one.seats_lost, changes=difference.changes, stands=True)


def _show(
    lesson: Reservation,
    ahead: Sequence[Occurrence],
    links: Links,
    *,
    lost: int = 0,
    changes: tuple[Change, ...] = (),
    stands: bool = False,
) -> LessonLine:
    zone = ZoneInfo(lesson.zone)
    first = ahead[0] if ahead else None
    return LessonLine(
        title=lesson.title,
        href=links.below("reservations", lesson.id) if stands else "",
        gpus=lesson.devices,
        pool=lesson.pool,
        next=first.start.astimezone(zone) if first else None,
        end=first.end.astimezone(zone) if first else None,
        zone=lesson.zone,
        times=len(ahead),
        seats_lost=lost,
        changes=changes,
    )
