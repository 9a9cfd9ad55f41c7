"""The administrators' board, and the audit list that is linked from it."""

from __future__ import annotations

from gpuspawner.controller.views.audit import AuditPage, view_audit
from gpuspawner.controller.views.board import BoardPage, view_board

from .page import Visit

SHOWN = 50
"""Lines of the audit trail."""


def load_board(visit: Visit) -> BoardPage:
    """The page's model. Raises: LedgerError."""
    return view_board(visit.line, visit.services.host, visit.links, undo=visit.query.get("undo", ""))


def load_audit(visit: Visit) -> AuditPage:
    """The page's model. Raises: LedgerError."""
    kind = visit.query.get("kind", "")[:100]
    with visit.services.ledger.read() as unit:
        events = unit.recent_events(SHOWN, prefix=kind)
    return view_audit(events, kind, visit.links)
