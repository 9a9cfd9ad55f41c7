"""One's places in line: the page, and what its buttons do."""

from __future__ import annotations

from tornado.web import HTTPError

from gpuspawner.controller.views.queue import QueuePage, view_queue
from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.model import LeaseState

from .page import Outcome, Visit


def load_queue(visit: Visit) -> QueuePage:
    """The page's model. Raises: LedgerError."""
    return view_queue(visit.line, visit.caller.person, visit.links, goes_to=_find_goal(visit))


def press_claim(visit: Visit) -> Outcome:
    """*Open my server* and *Switch now*: claims the turn; leads to the server, or back until there is one."""
    ticket = _find_own(visit)
    claimed = visit.services.line.claim(ticket.id, actor=ticket.owner)
    if claimed.state is not TicketState.CLAIMED:
        return Outcome(visit.links.page("queue", open=ticket.id))
    return Outcome(_link_to_server(visit, claimed))


def press_leave(visit: Visit) -> Outcome:
    """*Leave the line*."""
    ticket = _find_own(visit)
    visit.services.line.leave(ticket.id, actor=ticket.owner)
    return Outcome(visit.links.queue)


def back_to_queue(visit: Visit) -> str:
    """Where the page is."""
    return visit.links.queue


def _find_own(visit: Visit) -> Ticket:
    """The caller's own place in line; others' are not there. Raises: HTTPError 404, LedgerError."""
    ticket = _find_ticket(visit, visit.parts["ticket"])
    if ticket is None or not ticket.state.live:
        raise HTTPError(404, "There is no such place in line, or not any more.")
    return ticket


def _find_ticket(visit: Visit, ticket_id: str) -> Ticket | None:
    with visit.services.ledger.read() as unit:
        ticket = unit.ticket(ticket_id)
    mine = ticket is not None and ticket.owner == visit.caller.person
    return ticket if ticket and mine and ticket.host == visit.services.host else None


def _find_goal(visit: Visit) -> str | None:
    """Where somebody is to be led who has pressed *Open my server* before it ran."""
    wanted = visit.query.get("open", "")
    ticket = _find_ticket(visit, wanted) if wanted else None
    if ticket is None or ticket.state is not TicketState.CLAIMED:
        return None
    return _link_to_server(visit, ticket)


def _link_to_server(visit: Visit, ticket: Ticket) -> str:
    lease = visit.services.sessions.find(ticket.lease_id or "")
    running = lease.state is LeaseState.ACTIVE
    return visit.links.server(ticket) if running else visit.links.pending(ticket)
