"""The audit trail: searching it, and taking back what stands in it."""

from __future__ import annotations

from datetime import timedelta

from gpuspawner.controller.views.periods import begin_of
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.errors import NotFound
from gpuspawner.core.model import Event

from . import models as m
from .basics import Done
from .routes import Call


def list_events(call: Call) -> m.Events:
    """The audit trail."""
    query: m.EventsQuery = call.query
    search = EventSearch(
        kind=query.kind,
        person=query.person,
        card=query.card,
        text=query.text,
        since=begin_of(query.since) if query.since else None,
        until=begin_of(query.until + timedelta(days=1)) if query.until else None,
        before=query.before,
    )
    with call.services.ledger.read() as unit:
        found = unit.find_events(search, query.limit)
    return m.Events(events=[_event(one) for one in found])


def undo(call: Call) -> Done:
    """Take back what a line of the trail tells of, as long as it stands as it was decided."""
    call.services.undo.undo(
        event_id_of(call.path["event_id"]), reason=call.body.reason, actor=call.caller.actor
    )
    return Done()


def event_id_of(text: str) -> int:
    """The id of an event, as a path names it. Raises: NotFound."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotFound("There is no such line in the audit trail.")
    return int(text)


def _event(one: Event) -> m.EventInfo:
    return m.EventInfo(
        id=one.id or 0,
        at=one.at,
        kind=one.kind,
        reason=one.reason,
        actor=one.actor,
        lease_id=one.lease_id,
        device=one.device,
        data=one.data or {},
    )
