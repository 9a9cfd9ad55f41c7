"""The administrators' board, and the audit list that is linked from it."""

from __future__ import annotations

from gpuspawner.allocator.identities import find_login_trouble
from gpuspawner.allocator.ssh_disputes import count_disputes
from gpuspawner.controller.api.audit import event_id_of
from gpuspawner.controller.views.audit import (
    MOST_IN_A_FILE,
    SHOWN,
    AuditPage,
    read_search,
    view_audit,
    write_events,
)
from gpuspawner.controller.views.board import BoardPage, view_board
from gpuspawner.core.errors import InvalidRequest, NotFound
from gpuspawner.core.undo import Undoing

from .page import File, Visit


def load_board(visit: Visit) -> BoardPage:
    """The page's model. Raises: LedgerError."""
    with visit.services.ledger.read() as unit:
        watches = unit.watches()
        logins = find_login_trouble(unit, visit.services.clock())
        disputes = count_disputes(unit, visit.services.clock())
    return view_board(
        visit.line,
        visit.services.host,
        visit.links,
        undo=_find_undoing(visit),
        watches=watches,
        logins=logins,
        disputes=disputes,
    )


def _find_undoing(visit: Visit) -> Undoing | None:
    """What the address says was just done, if it stands; an address can say anything."""
    event_id = visit.query.get("undo", "")
    try:
        return visit.services.undo.plan(event_id_of(event_id)) if event_id else None
    except NotFound:
        return None


def load_audit(visit: Visit) -> AuditPage:
    """The page's model. Raises: LedgerError."""
    try:
        search = read_search(visit.query)
    except InvalidRequest as error:
        return view_audit((), visit.query, visit.links, problem=str(error))
    with visit.services.ledger.read() as unit:
        events = unit.find_events(search, SHOWN + 1)
    undoings = visit.services.undo.plan_all(events)
    return view_audit(events, visit.query, visit.links, undoings=undoings)


def make_audit(visit: Visit) -> File:
    """What is looked for in the trail, as a file. Raises: InvalidRequest, LedgerError."""
    search = read_search(visit.query)
    with visit.services.ledger.read() as unit:
        events = unit.find_events(search, MOST_IN_A_FILE)
    return File("audit.csv", "text/csv", write_events(events))
