"""Who may see and do what; the one place for it."""

from __future__ import annotations

from gpuspawner.core.claims import Ticket
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import Lease
from gpuspawner.core.roster import RIGHTS, Right

from .routes import Call, Forbidden


def courses_with(call: Call, right: Right) -> frozenset[str]:
    """Courses in which the caller may do something by their role; none where the policy is broken."""
    return frozenset(course for course, role in call.roles.items() if role in RIGHTS[right])


def may_in_course(call: Call, right: Right, lease: Lease) -> bool:
    """Whether the caller may do something in a course that the session is one of."""
    return bool(lease.party.courses) and not courses_with(call, right).isdisjoint(lease.party.courses)


def require_course(call: Call, right: Right, course: str) -> None:
    """Let only those on who may do something in a course.

    Raises:
        Forbidden: For everybody else, whether there is such a course or not.
    """
    if not call.caller.manages and course not in courses_with(call, right):
        raise Forbidden("Only a teacher of this course or an administrator can do this.")


def find_course(call: Call, right: Right) -> str:
    """The course of the path.

    Raises:
        Forbidden: For who may not do this in it, whether there is one or not.
        NotFound: The policy has no such course.
    """
    name = call.path["course"]
    require_course(call, right, name)
    if not any(one.name == name for one in call.services.policies.current().courses):
        raise NotFound("The policy has no such course.")
    return name


def sees_lease(call: Call, lease: Lease) -> bool:
    """Whether the caller may know of a session: their own, their course's, or all."""
    mine = call.caller.person is not None and lease.owner == call.caller.person
    return mine or call.caller.manages or may_in_course(call, Right.SEE, lease)


def find_lease(call: Call) -> Lease:
    """The session of the path. One that the caller may not see does not exist for them. Raises: NotFound."""
    lease_id = call.path["lease_id"]
    try:
        lease = call.services.sessions.find(lease_id)
    except NotFound:
        lease = None
    if lease is None or not sees_lease(call, lease):
        raise NotFound("There is no such session.")
    return lease


def find_lease_in_charge(call: Call, right: Right, *, owner_too: bool) -> Lease:
    """The session of the path, of which the caller is in charge.

    Args:
        call: The request.
        right: What is to be done about it.
        owner_too: Whether its own person may do this.

    Raises:
        NotFound: There is none that the caller may see.
        Forbidden: Others decide on this.
    """
    lease = find_lease(call)
    theirs = owner_too and lease.owner == call.caller.person
    if call.caller.manages or theirs or may_in_course(call, right, lease):
        return lease
    raise Forbidden("Only an administrator or a teacher of the course can do this. Ask one of them.")


def find_own_lease(call: Call) -> Lease:
    """The session of the path, which is the caller's own. Raises: NotFound, Forbidden."""
    lease = find_lease(call)
    if lease.owner != call.caller.person:
        raise Forbidden("Only its own person can do this.")
    return lease


def find_ticket(call: Call) -> Ticket:
    """The place in line of the path. Somebody else's does not exist for the caller. Raises: NotFound."""
    with call.services.ledger.read() as unit:
        ticket = unit.ticket(call.path["ticket_id"])
    here = ticket is not None and ticket.host == call.services.host
    if ticket is None or not here or not (call.caller.manages or ticket.owner == call.caller.person):
        raise NotFound("There is no such place in line.")
    return ticket


def require_person(call: Call) -> str:
    """The caller's name. Raises: Forbidden: It is a service, which has nothing of its own."""
    if call.caller.person is None:
        raise Forbidden("A service has no servers of its own. Use a token of the person's.")
    return call.caller.person


def whose_usage(call: Call) -> str | None:
    """Whose accounts the caller may see: their own, or everybody's (None). Raises: Forbidden."""
    return None if call.caller.manages else require_person(call)
