"""Who one is, what was used, the audit trail, messages."""

from __future__ import annotations

from datetime import date, timedelta

from gpuspawner.controller.identity import MANAGE, READ, RESERVE
from gpuspawner.controller.services import UsageRow
from gpuspawner.core.errors import InvalidRequest, SettingsError

from . import models as m
from .access import require, require_person
from .routes import Call

LONGEST_REPORT = timedelta(days=3660)


def show_me(call: Call) -> m.Me:
    """Who the caller is, and what they may do here."""
    caller = call.caller
    try:
        taught = call.services.policies.courses_taught(caller.person) if caller.person else frozenset()
    except SettingsError:
        taught = frozenset()
    return m.Me(
        name=caller.person or caller.actor,
        kind="person" if caller.person is not None else "service",
        groups=sorted(caller.groups),
        scopes=[scope for scope in (READ, MANAGE, RESERVE) if caller.may(scope)],
        teaches=sorted(taught),
    )


def show_usage(call: Call) -> m.Usage:
    """What was used: by everybody for who manages, else by oneself."""
    query: m.UsageQuery = call.query
    today: date = call.services.clock().date()
    until = query.until or today
    since = query.since or until - timedelta(days=7)
    if not timedelta(0) <= until - since <= LONGEST_REPORT:
        raise InvalidRequest("since must be a day before until, and not more than ten years before it.")
    owner = None if call.caller.manages else require_person(call)
    usage = require(call.services.usage, "accounts")
    report = usage.report(query.by, since, until, owner)
    return m.Usage(by=query.by, since=since, until=until, rows=[_usage_line(row) for row in report.rows])


def _usage_line(row: UsageRow) -> m.UsageLine:
    return m.UsageLine(
        key=row.key,
        about=row.about,
        held_hours=row.held_hours,
        sampled_hours=row.sampled_hours,
        active_hours=row.active_hours,
        peak_memory_bytes=row.peak_memory_bytes,
        energy_kwh=row.energy_kwh,
        sessions=row.sessions,
    )


def list_events(call: Call) -> m.Events:
    """The audit trail."""
    query: m.EventsQuery = call.query
    with call.services.ledger.read() as unit:
        found = unit.recent_events(query.limit, prefix=query.kind)
    return m.Events(
        events=[
            m.EventInfo(
                at=one.at,
                kind=one.kind,
                reason=one.reason,
                actor=one.actor,
                lease_id=one.lease_id,
                device=one.device,
                data=one.data or {},
            )
            for one in found
        ]
    )


def list_messages(call: Call) -> m.Messages:
    """One's own messages; others' are nobody's business."""
    person = require_person(call)
    with call.services.ledger.read() as unit:
        found = unit.messages_for(person)
    return m.Messages(
        messages=[
            m.MessageInfo(at=one.at, text=one.text, actor=one.actor, lease_id=one.lease_id) for one in found
        ]
    )
