"""Timetables of courses: what they come to, and making it so."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gpuspawner.allocator.timetables import LessonChange, TimetablePreview
from gpuspawner.core.claims import Reservation
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import expand, find_zone
from gpuspawner.core.roster import Right
from gpuspawner.policy.timetable import Seats, Timetable, read_lead, read_timetable

from . import timetablemodels as m
from .access import find_course
from .routes import Call


def show(call: Call) -> m.Lessons:
    """What is reserved by a course's timetable."""
    course, now = find_course(call, Right.SEE), call.services.clock()
    lessons = call.services.timetables.lessons(course)
    ahead = {one.id: len(expand(one, now, one.start + 2 * HORIZON)) for one in lessons}
    return m.Lessons(course=course, lessons=[_lesson(one, ahead[one.id]) for one in lessons])


def preview(call: Call) -> m.TimetableChanges:
    """What a timetable would come to; nothing is changed."""
    return describe(look(call))


def replace(call: Call) -> m.TimetableChanges:
    """Make, change and cancel the reservations of a course's timetable, as it was shown."""
    return describe(take(call))


def look(call: Call) -> TimetablePreview:
    """What the timetable that was sent would come to."""
    course = find_course(call, Right.RESERVE)
    services, caller = call.services, call.caller
    return services.timetables.preview(
        course,
        _read(call, course),
        actor=caller.as_actor,
        names=services.policies.names(),
        people=caller.manages,
    )


def take(call: Call) -> TimetablePreview:
    """Make it so, if it still is what was shown."""
    course = find_course(call, Right.RESERVE)
    services, caller = call.services, call.caller
    return services.timetables.apply(
        course,
        _read(call, course),
        seen=call.body.seen,
        actor=caller.as_actor,
        names=services.policies.names(),
        people=caller.manages,
    )


def _read(call: Call, course: str) -> Timetable:
    body: m.TimetableFileBody = call.body
    zone = find_zone(body.zone).key
    seats = Seats(body.devices, body.pool or "", read_lead(body.lead), zone)
    return read_timetable(body.calendar.encode(), course, seats, call.services.clock())


def describe(found: TimetablePreview) -> m.TimetableChanges:
    """For programs."""
    return m.TimetableChanges(
        course=found.course,
        version=found.version,
        made=[_change(one) for one in found.made],
        changed=[_change(one) for one in found.changed],
        cancelled=[_change(one) for one in found.gone],
        same=found.same,
        clashes=[m.ClashInfo(title=one.lesson.title, why=one.why) for one in found.clashes],
        warnings=list(found.warnings),
        notes=list(found.notes),
    )


def _change(one: LessonChange) -> m.LessonInfo:
    return _lesson(one.lesson, len(one.ahead), one.seats_lost)


def _lesson(one: Reservation, times: int, seats_lost: int = 0) -> m.LessonInfo:
    return m.LessonInfo(
        reservation=one.id,
        title=one.title,
        devices=one.devices,
        pool=one.pool or None,
        start=one.start.astimezone(ZoneInfo(one.zone)),
        zone=one.zone,
        rule=one.rule,
        times=times,
        seats_lost=seats_lost,
    )
