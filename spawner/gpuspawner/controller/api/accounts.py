"""Who one is, what was used, messages."""

from __future__ import annotations

import contextlib
from datetime import date, timedelta
from typing import Any

from gpuspawner.controller.identity import MANAGE, READ, RESERVE
from gpuspawner.core.errors import InvalidRequest, SettingsError
from gpuspawner.core.policy import LIMITS, Allowance, Limit
from gpuspawner.core.reports import ReportRow
from gpuspawner.core.roster import Role

from . import models as m
from .access import require_person, whose_usage
from .routes import Call

LONGEST_REPORT = timedelta(days=3660)


def show_me(call: Call) -> m.Me:
    """Who the caller is, what they may do and use here, and what they have."""
    caller, services = call.caller, call.services
    allowance = None
    if caller.person is not None:
        with contextlib.suppress(SettingsError):
            allowance = services.policies.allowance(caller.person, caller.groups)
    places: list[str] = []
    sessions: list[str] = []
    if caller.person is not None:
        with services.ledger.read() as unit:
            places = [one.id for one in unit.live_tickets(services.host, owner=caller.person)]
            sessions = [one.id for one in unit.live_leases(services.host, owner=caller.person)]
    return m.Me(
        name=caller.person or caller.actor,
        kind="person" if caller.person is not None else "service",
        groups=sorted(caller.groups),
        scopes=[scope for scope in (READ, MANAGE, RESERVE) if caller.may(scope)],
        teaches=sorted(name for name, role in call.roles.items() if role is Role.TEACHER),
        assists=sorted(name for name, role in call.roles.items() if role is Role.ASSISTANT),
        allowance=_limits(allowance) if allowance else None,
        budget=_budget(call, allowance) if allowance else None,
        places=places,
        sessions=sessions,
    )


def _limits(allowance: Allowance) -> list[m.LimitInfo]:
    found: list[tuple[str, Limit[Any]]] = [(name, getattr(allowance, name)) for name in LIMITS]
    return [m.LimitInfo(name=name, value=_plain(limit.value), rule=limit.rule) for name, limit in found]


def _plain(value: Any) -> Any:
    """A limit's value in JSON: seconds for a time, a list for a set."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return sorted(value) if isinstance(value, frozenset) else value


def _budget(call: Call, allowance: Allowance) -> m.BudgetInfo:
    balance = call.services.usage.budget_of(require_person(call), allowance)
    return m.BudgetInfo(
        limit_hours=balance.limit.value,
        rule=balance.limit.rule,
        used_hours=balance.used_hours,
        left_hours=balance.left_hours,
        back_on=balance.back_on,
        ends_at=balance.ends_at,
    )


def show_usage(call: Call) -> m.Usage:
    """What was used: by everybody for who manages, else by oneself."""
    query: m.UsageQuery = call.query
    today: date = call.services.clock().date()
    until = query.until or today
    since = query.since or until - timedelta(days=7)
    if not timedelta(0) <= until - since <= LONGEST_REPORT:
        raise InvalidRequest("since must be a day before until, and not more than ten years before it.")
    report = call.services.usage.report(query.by, since, until, owner=whose_usage(call))
    return m.Usage(
        by=query.by,
        since=since,
        until=until,
        rows=[_line(row) for row in report.rows],
        total=_line(report.total),
    )


def _line(row: ReportRow) -> m.UsageLine:
    return m.UsageLine(
        key=row.key,
        about=row.about,
        sessions=row.sessions,
        held_hours=row.held_hours,
        sampled_hours=row.sampled_hours,
        active_hours=row.active_hours,
        wasted_hours=row.wasted_hours,
        peak_memory_bytes=row.peak_memory_bytes,
        energy_kwh=row.energy_kwh,
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
