"""What a course platform says of somebody at a launch (LTI 1.3), and the groups that come of it.

A launch is from one course. Groups of courses that somebody launched from before stay theirs for a while:
whoever works in two courses goes from one to the other and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_LIS = "http://purl.imsglobal.org/vocab/lis/v2/membership"
_SUB_ROLE = f"{_LIS}/"
MOST_ROLES = 200
"""More are not looked at."""
LASTS = timedelta(days=14)
"""How long what a launch said of a course holds, unless the next one from there says otherwise."""


class LaunchRole(StrEnum):
    """What somebody is in a course."""

    TEACHER = "teachers"
    ASSISTANT = "assistants"
    STUDENT = "students"


_ROLES = {
    f"{_LIS}#Instructor": LaunchRole.TEACHER,
    "Instructor": LaunchRole.TEACHER,
    "TeachingAssistant": LaunchRole.ASSISTANT,
    f"{_LIS}#Learner": LaunchRole.STUDENT,
    "Learner": LaunchRole.STUDENT,
}
"""Roles in the course itself: those at the institution, or of the platform's administrators, say nothing."""
_ASSISTING = ("TeachingAssistant", "Grader")
_BELOW = {"Instructor": LaunchRole.TEACHER, "Learner": LaunchRole.STUDENT}


_BY_GROUP = {role.value: role for role in LaunchRole}


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What somebody is in one course, as of their last launch from it."""

    course: str
    """Its name here."""
    role: LaunchRole
    at: datetime


def find_role(claim: object) -> LaunchRole | None:
    """What somebody is in the course that they come from.

    Platforms name assistants as teachers too, with a role below that; so who is an assistant is no teacher.
    All is compared letter by letter.

    Args:
        claim: The roles, a list or one by itself.

    Returns:
        None where nothing makes them one of the course.
    """
    listed = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    found = {_read_role(one) for one in listed[:MOST_ROLES] if isinstance(one, str)}
    ranked = (LaunchRole.ASSISTANT, LaunchRole.TEACHER, LaunchRole.STUDENT)
    return next((role for role in ranked if role in found), None)


def _read_role(text: str) -> LaunchRole | None:
    if text in _ROLES:
        return _ROLES[text]
    if not text.startswith(_SUB_ROLE):
        return None
    above, _, name = text.removeprefix(_SUB_ROLE).partition("#")
    if above == "Instructor" and name.startswith(_ASSISTING):
        return LaunchRole.ASSISTANT
    return _BELOW.get(above)


def renew(
    before: tuple[Enrolment, ...], course: str, role: LaunchRole | None, now: datetime
) -> tuple[Enrolment, ...]:
    """What somebody is in after a launch.

    Args:
        before: What they were in.
        course: The course that they come from; empty for one that is none here.
        role: What they are there; None for nothing.
        now: When.
    """
    kept = tuple(one for one in before if one.course != course and one.at + LASTS > now)
    return (*kept, Enrolment(course, role, now)) if course and role else kept


def list_groups(enrolments: tuple[Enrolment, ...], now: datetime) -> tuple[str, ...]:
    """The groups that come of it: of each course ``course:NAME``, and ``course:NAME:teachers`` and so on."""
    found: set[str] = set()
    for one in enrolments:
        if one.at + LASTS > now:
            found |= {f"course:{one.course}", f"course:{one.course}:{one.role.value}"}
    return tuple(sorted(found))


def read_groups_of_courses(groups: Iterable[str]) -> Iterator[tuple[str, LaunchRole]]:
    """The courses and roles that groups of the form ``course:NAME:teachers`` stand for."""
    for group in groups:
        kind, _, rest = group.partition(":")
        course, _, role = rest.rpartition(":")
        if kind == "course" and course and role in _BY_GROUP:
            yield course, _BY_GROUP[role]


def write_enrolments(enrolments: tuple[Enrolment, ...]) -> list[dict[str, str]]:
    """As JSON has it."""
    return [{"course": one.course, "role": one.role.value, "at": one.at.isoformat()} for one in enrolments]


def read_enrolments(stored: object) -> tuple[Enrolment, ...]:
    """What :func:`write_enrolments` wrote; nothing of what it could not have written."""
    found = []
    for one in stored if isinstance(stored, list) else ():
        if isinstance(one, Mapping):
            try:
                role, at = LaunchRole(one["role"]), datetime.fromisoformat(one["at"])
                found.append(Enrolment(str(one["course"]), role, at))
            except (KeyError, TypeError, ValueError):
                continue
    return tuple(found)
