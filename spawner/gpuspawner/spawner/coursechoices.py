"""What the start page offers of a person's courses. All pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CourseChoice:
    """A course that a server can be for, or whose notebooks can be opened."""

    name: str
    image: str
    """What its servers have."""
    selected: bool


def list_courses(courses: Mapping[str, str], chosen: object) -> tuple[CourseChoice, ...]:
    """Courses, by name and image, of which one may be chosen already."""
    return tuple(CourseChoice(name, image, name == chosen) for name, image in courses.items())


def preselect_course(courses: Mapping[str, str], images: Collection[str], last: object) -> str | None:
    """The course that a server is for if nothing else is chosen; empty for none, None where it must be said.

    Args:
        courses: The images of the person's courses.
        images: The image that is chosen first, if any.
        last: For which course the last server was, as it was sent.
    """
    fitting = [name for name, image in courses.items() if image in images]
    if fitting and (last == "" or last in fitting):
        return str(last)
    return None if len(fitting) > 1 else "".join(fitting)
