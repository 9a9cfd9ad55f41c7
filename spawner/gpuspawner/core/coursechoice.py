"""For which one of a person's courses a server is. All pure.

That decides whose teachers may see it and stop it, whose seat it takes, and what is in it. It is settled when
the server is asked for, and kept with the session: what rosters say later gives nobody anything of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from .errors import RefusalKind, Refused
from .model import Party, SpawnRequest
from .policy import Policy
from .words import mark


def find_courses(policy: Policy, person: str, groups: Collection[str]) -> dict[str, str]:
    """The images of a person's courses, by course, in the order of the policy."""
    return {course.name: course.image for course in policy.courses_of(person, groups)}


def fit_image(request: SpawnRequest, courses: Mapping[str, str]) -> SpawnRequest:
    """A request with the course that its notebooks are of, and the image that its course has.

    Args:
        request: What is asked for; that its notebooks are of a course of the person is known.
        courses: As :func:`find_courses` says.

    Raises:
        Refused: ``NOT_ALLOWED``: the course is none of the person's, or has another image or other notebooks.
    """
    course, notebooks = request.course, request.notebooks
    if course is None:
        course = notebooks
    if not course and notebooks is None:
        return request
    if notebooks is not None and course != notebooks:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"The notebooks of {notebooks!r} are opened in a server for that course. Choose that course, or "
            "no notebooks.",
        )
    if course is None or course not in courses:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You are not in the course {course!r}. You can choose: {', '.join(courses) or mark('none')}.",
        )
    image = courses[course]
    if request.image not in (None, image):
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"Servers for the course {course!r} have the image {image!r}. Choose that image, or no course.",
        )
    return replace(request, course=course, image=image)


def settle_course(request: SpawnRequest, image: str, courses: Mapping[str, str]) -> SpawnRequest:
    """A request that says for which course it is, or that it is for none.

    Where nothing was said it is the person's one course with this image.

    Args:
        request: As :func:`fit_image` left it.
        image: The image that it gets.
        courses: As :func:`find_courses` says.

    Raises:
        Refused: ``NOT_ALLOWED``: nothing was said, and the person has several courses with this image.
    """
    if request.course is not None:
        return request
    fitting = [name for name, its in courses.items() if its == image]
    if len(fitting) > 1:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You are in several courses with the image {image!r}. Say as `course` for which the server is: "
            f"{', '.join(fitting)}; or an empty text for none of them.",
        )
    return replace(request, course=fitting[0] if fitting else "")


def keep_course(request: SpawnRequest, image: str, courses: Mapping[str, str]) -> SpawnRequest:
    """The same for what has waited: for no course where its course is none of its person's any more."""
    fitting = [name for name, its in courses.items() if its == image]
    if request.course is None:
        return replace(request, course=fitting[0] if len(fitting) == 1 else "")
    return request if request.course in fitting else replace(request, course="")


def require_seat(
    request: SpawnRequest, image: str, courses: Mapping[str, str], seated: Collection[str]
) -> None:
    """Let no server be for no course in which its image is only to be had on a seat.

    Args:
        request: It says for which course it is.
        image: The image that it gets.
        courses: As :func:`find_courses` says.
        seated: As :func:`.policy.find_seated_images` says.

    Raises:
        Refused: ``NOT_ALLOWED``.
    """
    if request.course or image not in seated:
        return
    fitting = [name for name, its in courses.items() if its == image]
    raise Refused(
        RefusalKind.NOT_ALLOWED,
        f"You may use the image {image!r} only in servers for a course, whose seats are counted. "
        f"Choose the course ({', '.join(fitting)}), or another image.",
    )


def adapt_to_party(request: SpawnRequest, party: Party) -> SpawnRequest:
    """What is started of what has waited: for the course that it counts for, with no notebooks of another.

    The wish itself stays as it was, since its person may be back in their course before their turn comes.
    """
    course = "".join(party.courses)
    return replace(
        request, course=course, notebooks=request.notebooks if request.notebooks == course else None
    )
