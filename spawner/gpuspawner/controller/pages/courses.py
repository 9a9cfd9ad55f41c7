"""Courses for those who teach them: who works, and what can be done about one session or about all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpuspawner.controller.api import leases
from gpuspawner.controller.api.access import courses_with, find_lease, require_course
from gpuspawner.controller.api.routes import Call
from gpuspawner.controller.views.courses import (
    EXTENSIONS,
    CoursePage,
    CoursesPage,
    ExtendPage,
    Limits,
    MessagePage,
    SeatPage,
    leases_of,
    view_course,
    view_courses,
    view_extend,
    view_message,
    view_seat,
)
from gpuspawner.core.errors import Conflict, HubError, InvalidRequest, LedgerError, NotFound
from gpuspawner.core.model import Lease
from gpuspawner.core.policy import Course
from gpuspawner.core.roster import Right
from gpuspawner.core.words import mark

from .operation import run
from .page import Outcome, Visit

_UNTIL = "until-"
"""A form's field for the new end of a session begins so, and ends with its id."""
_MOST_TOLD = 5
"""Of what could not be done for some of many."""


def load_courses(visit: Visit) -> CoursesPage:
    """The courses that one teaches, or all. Raises: LedgerError, SettingsError."""
    seen_by_role = courses_with(Call(visit.services, visit.caller, {}), Right.SEE)
    known = visit.services.policies.current().courses
    seen = [course for course in known if visit.caller.manages or course.name in seen_by_role]
    return view_courses(visit.line, seen, visit.links)


def load_course(visit: Visit) -> CoursePage:
    """One course. Raises: Forbidden, NotFound, LedgerError."""
    course = find_course(visit)
    role = Call(visit.services, visit.caller, {}).roles.get(course.name)
    return view_course(visit.line, course, visit.links, rights=find_rights(visit, course), role=role)


def load_message(visit: Visit) -> MessagePage:
    """Before all are told something. Raises: Forbidden, NotFound, LedgerError."""
    course = find_course(visit)
    return view_message(visit.line, course, visit.links)


def load_extend(visit: Visit) -> ExtendPage:
    """Before all are extended. Raises: Forbidden, NotFound, LedgerError."""
    course, view = find_course(visit), visit.line
    wanted = visit.query.get("by", "")
    minutes = int(wanted) if wanted in map(str, EXTENSIONS) else EXTENSIONS[0]
    running = [lease for lease in leases_of(view, course.name) if not lease.state.ending]
    return view_extend(view, course, visit.links, minutes, _find_limits(visit, running))


def load_seat(visit: Visit) -> SeatPage:
    """One session. Raises: Forbidden, NotFound, LedgerError."""
    course = find_course(visit)
    lease = _find_seat(visit, course, visit.parts["lease"])
    limits, rights = _find_limits(visit, [lease]), find_rights(visit, course)
    return view_seat(visit.line, course, visit.links, lease, limits, rights=rights)


def press_message_all(visit: Visit) -> Outcome:
    """Tell all who work for the course something, each person once."""
    course = find_course(visit)
    found = {one.owner: one for one in reversed(leases_of(visit.line, course.name)) if not one.state.ending}
    body = {"text": visit.form.get("text", "")}
    return _do_for_all(visit, _say_told, [(one, body) for one in found.values()], leases.message)


def press_extend_all(visit: Visit) -> Outcome:
    """Extend the sessions that the page showed until the times that it showed; pressed twice, it is once."""
    course, reason = find_course(visit), visit.form.get("reason", "")
    wanted = {
        name.removeprefix(_UNTIL): value for name, value in visit.form.items() if name.startswith(_UNTIL)
    }
    found = {one.id: one for one in leases_of(visit.line, course.name)}
    given = [
        (found[lease_id], {"until": until, "reason": reason})
        for lease_id, until in wanted.items()
        if lease_id in found
    ]
    return _do_for_all(visit, _say_extended, given, leases.extend)


def press_message(visit: Visit) -> Outcome:
    """Tell the person of one session something."""
    return _do(visit, leases.message, {"text": visit.form.get("text", "")}, mark("The message is sent."))


def press_extend(visit: Visit) -> Outcome:
    """Extend one session."""
    body = {"until": visit.form.get("until", ""), "reason": visit.form.get("reason", "")}
    return _do(visit, leases.extend, body, mark("The session is extended."))


def press_stop(visit: Visit) -> Outcome:
    """Stop one session."""
    _do(visit, leases.stop, {"reason": visit.form.get("reason", "")}, "")
    return Outcome(back_to_course(visit), "The session is being stopped, and its person is told why.")


def back_to_course(visit: Visit) -> str:
    """Where the page of the course is."""
    return visit.links.below("courses", visit.parts["course"])


def back_to_seat(visit: Visit) -> str:
    """Where the page of the session is."""
    return visit.links.below("courses", visit.parts["course"], "seats", visit.parts["lease"])


def find_course(visit: Visit, right: Right = Right.SEE) -> Course:
    """The course of the path.

    Raises:
        Forbidden: For who has not this right in it, whether there is one or not.
        NotFound: The policy has none of that name.
    """
    name, policy = visit.parts["course"], visit.services.policies.current()
    require_course(Call(visit.services, visit.caller, {}), right, name)
    course = next((one for one in policy.courses if one.name == name), None)
    if course is None:
        raise NotFound("The policy has no such course.")
    return course


def find_rights(visit: Visit, course: Course) -> frozenset[Right]:
    """What the caller may do in a course."""
    call = Call(visit.services, visit.caller, {})
    return frozenset(
        right for right in Right if visit.caller.manages or course.name in courses_with(call, right)
    )


def _find_seat(visit: Visit, course: Course, lease_id: str) -> Lease:
    """A live session of the course. Raises: NotFound."""
    lease = find_lease(Call(visit.services, visit.caller, {"lease_id": lease_id}))
    if course.name not in lease.party.courses or not lease.state.live or lease.claim_by is not None:
        raise NotFound("There is no such session in this course, or not any more.")
    return lease


def _find_limits(visit: Visit, sessions: Iterable[Lease]) -> Limits:
    return visit.services.line.latest_ends(sessions)


def _do(visit: Visit, operation: Callable[[Call], object], body: dict[str, str], said: str) -> Outcome:
    lease = _find_seat(visit, find_course(visit), visit.parts["lease"])
    run(visit, operation, {"lease_id": lease.id}, body)
    return Outcome(back_to_seat(visit), said)


def _say_told(count: int, every: int) -> str:
    return mark(f"{count} of {every} people told.")


def _say_extended(count: int, every: int) -> str:
    return mark(f"{count} of {every} sessions extended.")


def _do_for_all(
    visit: Visit,
    say: Callable[[int, int], str],
    given: list[tuple[Lease, dict[str, str]]],
    operation: Callable[[Call], object],
) -> Outcome:
    """Do something about several sessions, and say of which it could not be done, and why.

    Raises:
        Conflict: It could be done for none of them.
    """
    failed = []
    for number, (lease, body) in enumerate(given):
        try:
            run(visit, operation, {"lease_id": lease.id}, body)
        except (Conflict, InvalidRequest, NotFound, HubError) as error:
            failed.append(f"{lease.owner}: {error}")
        except LedgerError as error:
            # What was done is done, and must be told: who presses again would do it twice.
            failed += [f"{one.owner}: {error}" for one, _ in given[number:]]
            break
    told = [say(len(given) - len(failed), len(given)), *failed[:_MOST_TOLD]]
    if len(failed) > _MOST_TOLD:
        told.append(mark(f"And {len(failed) - _MOST_TOLD} more."))
    if len(failed) == len(given):
        raise Conflict(" ".join(told) if given else "Nobody works for this course now.")
    return Outcome(back_to_course(visit), " ".join(told))
