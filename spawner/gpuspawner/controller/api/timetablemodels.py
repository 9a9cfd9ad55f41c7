"""What the API takes and gives of timetables, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpuspawner.policy.ical import MOST_BYTES

from .basics import Answer, Body, Name, Time


class LessonInfo(Answer):
    """A series of lessons, or a single one."""

    reservation: Annotated[str, Field(description="Id of the reservation.")]
    title: str
    devices: int
    pool: str | None
    start: Time
    zone: str
    rule: str
    times: Annotated[int, Field(description="How often it is still to come, or falls away.")]
    seats_lost: Annotated[int, Field(description="Sessions that have a seat of it now, and would have none.")]


class Lessons(Answer):
    """What is reserved by a course's timetable."""

    course: str
    lessons: list[LessonInfo]


class ClashInfo(Answer):
    """A lesson that does not fit."""

    title: str
    why: str


class TimetableChanges(Answer):
    """What a timetable comes to, or what was done."""

    course: str
    version: Annotated[str, Field(description="Names exactly this; send it to have it done.")]
    made: list[LessonInfo]
    changed: list[LessonInfo]
    cancelled: list[LessonInfo]
    same: Annotated[int, Field(description="How many stay as they are.")]
    clashes: Annotated[list[ClashInfo], Field(description="Why it cannot be done.")]
    warnings: Annotated[list[str], Field(description="What may be in the way of the next lessons.")]
    notes: Annotated[list[str], Field(description="What was passed over.")]


class TimetableFileBody(Body):
    """A timetable, and what each lesson reserves."""

    calendar: Annotated[str, Field(min_length=1, max_length=MOST_BYTES, description="RFC 5545.")]
    devices: Annotated[int, Field(ge=1, le=10_000, description="GPUs or slices of each lesson.")]
    pool: Annotated[Name | None, Field(description="A pool of the policy to choose from.")] = None
    lead: Annotated[
        str, Field(max_length=40, description="So long before each lesson the devices are kept free.")
    ] = "5 min"
    zone: Annotated[Name, Field(description="IANA time zone of times without one.")] = "UTC"


class TimetableBody(TimetableFileBody):
    """A timetable that is to be reserved as it was shown."""

    seen: Annotated[str, Field(max_length=64, description="The version that you were shown.")]
