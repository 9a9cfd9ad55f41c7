"""A server is of one course: the one that was chosen, or the only one that it can be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.core.coursechoice import adapt_to_party, find_courses, fit_image, keep_course, settle_course
from gpuspawner.core.coursework import Coursework
from gpuspawner.core.errors import Refused
from gpuspawner.core.model import Party, SpawnRequest
from gpuspawner.core.policy import Course, Policy, Rule, find_part, find_party
from gpuspawner.core.roster import Role, enrol

ONE = {"vision": "torch", "maps": "base"}
SEVERAL = {"vision": "torch", "sound": "torch", "maps": "base"}


def ask(**choices: str | None) -> SpawnRequest:
    return SpawnRequest(0, **choices)  # type: ignore[arg-type]


def settle(request: SpawnRequest, courses: dict[str, str]) -> tuple[str | None, str | None]:
    """The image and the course of a request; where none is named, the image is *torch*."""
    fitted = fit_image(request, courses)
    settled = settle_course(fitted, fitted.image or "torch", courses)
    return settled.image, settled.course


@pytest.mark.parametrize(
    ("request_", "courses", "found"),
    [
        (ask(), ONE, (None, "vision")),
        (ask(image="base"), ONE, ("base", "maps")),
        (ask(image="other"), ONE, ("other", "")),
        (ask(), {}, (None, "")),
        (ask(course=""), ONE, (None, "")),
        (ask(course="sound"), SEVERAL, ("torch", "sound")),
        (ask(course="maps"), SEVERAL, ("base", "maps")),
        (ask(course="", image="torch"), SEVERAL, ("torch", "")),
        (ask(notebooks="sound"), SEVERAL, ("torch", "sound")),
        (ask(notebooks="sound", course="sound"), SEVERAL, ("torch", "sound")),
    ],
)
def test_the_course_of_a_server(
    request_: SpawnRequest, courses: dict[str, str], found: tuple[str | None, str]
) -> None:
    assert settle(request_, courses) == found


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (
            ask(),
            "You are in several courses with the image 'torch'. Say as `course` .*: vision, sound; or",
        ),
        (ask(course="math"), "You are not in the course 'math'. You can choose: vision, sound, maps."),
        (ask(course="maps", image="torch"), "Servers for the course 'maps' have the image 'base'."),
        (
            ask(course="", notebooks="sound"),
            "The notebooks of 'sound' are opened in a server",
        ),
        (ask(course="vision", notebooks="sound"), "Choose that course, or no notebooks."),
    ],
)
def test_what_cannot_be_told_or_had_is_refused(request_: SpawnRequest, says: str) -> None:
    with pytest.raises(Refused, match=says):
        settle(request_, SEVERAL)


@pytest.mark.parametrize(
    ("course", "courses", "kept"),
    [
        ("vision", SEVERAL, "vision"),
        ("", SEVERAL, ""),
        ("", ONE, ""),
        ("vision", {"sound": "torch"}, ""),
        (None, ONE, "vision"),
        (None, SEVERAL, ""),
    ],
)
def test_what_waits_stays_of_its_course_and_comes_to_no_other(
    course: str | None, courses: dict[str, str], kept: str
) -> None:
    assert keep_course(ask(course=course), "torch", courses).course == kept


@pytest.mark.parametrize(
    ("courses", "started"),
    [(("vision",), ask(course="vision", notebooks="vision")), ((), ask(course=""))],
)
def test_who_has_left_the_course_is_started_without_its_notebooks(
    courses: tuple[str, ...], started: SpawnRequest
) -> None:
    """The Hub would refuse them, over and over."""
    waited = ask(course="vision", notebooks="vision")
    assert adapt_to_party(waited, Party((), courses)) == started
    settle(adapt_to_party(waited, Party()), {})


def test_whoever_else_puts_somebody_into_a_roster_gets_nothing_of_their_session() -> None:
    """Ada works for vision. Another teacher, whose course has the same image, adds her to theirs."""
    courses = tuple(
        Course(name, "none", frozenset(), "torch", Rule(name), work=Coursework(hand_in=True))
        for name in ("sound", "vision")
    )
    before = Policy(courses=courses, enrolment=enrol([("vision", "ada", Role.STUDENT)]))
    asked = settle_course(ask(), "torch", find_courses(before, "ada", ()))
    both = enrol([("vision", "ada", Role.STUDENT), ("sound", "ada", Role.STUDENT)])
    after = replace(before, enrolment=both)
    kept = keep_course(asked, "torch", find_courses(after, "ada", ()))
    assert find_party(after, "ada", (), kept.course).courses == ("vision",)
    with pytest.raises(Refused, match="several courses"):
        settle_course(ask(), "torch", find_courses(after, "ada", ()))
    alone = settle_course(ask(course=""), "torch", find_courses(after, "ada", ()))
    assert find_party(after, "ada", (), alone.course).courses == ()
    assert find_part(after, "ada", (), alone.course) is None
    part = find_part(after, "ada", (), "vision")
    assert part is not None
    assert (part.course, part.grades) == ("vision", False)
    assert find_part(after, "eve", (), "vision") is None
