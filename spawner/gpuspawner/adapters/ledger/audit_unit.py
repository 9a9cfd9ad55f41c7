"""The audit trail: what can be written down and found in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from gpuspawner.core.audit import EventSearch
from gpuspawner.core.model import Event

from . import statements as sql
from .notice_unit import NoticeUnit
from .schema import events, lease_devices, leases


class AuditUnit(NoticeUnit):
    """The part of :class:`~gpuspawner.adapters.ledger.LedgerUnit` that keeps the audit trail."""

    def add_event(self, event: Event) -> None:
        """Append to the audit trail."""
        self._db.execute(
            sql.ADD_EVENT,
            {
                "at": event.at,
                "kind": event.kind,
                "reason": event.reason,
                "actor": event.actor,
                "lease_id": event.lease_id,
                "device": event.device,
                "data": event.data,
            },
        )

    def drop_events(self, kind: str, before: datetime) -> None:
        """Forget events of a kind that were before a time: what is kept of people for a while only."""
        self._db.execute(sa.delete(events).where(events.c.kind == kind, events.c.at < before))

    def has_event_since(self, since: datetime, like: Event) -> bool:
        """Whether an event of the same kind, actor and reason is in the trail since then."""
        same = (
            (events.c.kind == like.kind) & (events.c.actor == like.actor) & (events.c.reason == like.reason)
        )
        found = self._db.execute(sa.select(events.c.id).where(events.c.at >= since, same).limit(1))
        return found.first() is not None

    def count_events(self, kind: str, actor: str, since: datetime) -> int:
        """How many events of a kind somebody has caused since then."""
        theirs = (events.c.kind == kind) & (events.c.actor == actor) & (events.c.at >= since)
        found = self._db.execute(sa.select(sa.func.count()).select_from(events).where(theirs))
        return int(found.scalar_one())

    def recent_events(self, limit: int, *, prefix: str = "") -> Sequence[Event]:
        """The newest events, newest first; with ``prefix`` those whose kind begins so."""
        return self.find_events(EventSearch(kind=prefix), limit)

    def find_events(self, search: EventSearch, limit: int) -> Sequence[Event]:
        """The newest events that are looked for, newest first."""
        found = self._db.execute(
            sa.select(events).where(*_conditions(search)).order_by(events.c.id.desc()).limit(limit)
        )
        return [_row_to_event(row) for row in found.mappings()]

    def newest_of(self, lease_id: str, kind: str) -> Event | None:
        """The newest event of a kind about a session."""
        found = self._db.execute(
            sa.select(events)
            .where(events.c.lease_id == lease_id, events.c.kind == kind)
            .order_by(events.c.id.desc())
            .limit(1)
        )
        row = found.mappings().first()
        return _row_to_event(row) if row else None

    def event(self, event_id: int) -> Event | None:
        """One event."""
        row = self._db.execute(sa.select(events).where(events.c.id == event_id)).mappings().first()
        return _row_to_event(row) if row else None

    def last_event_id(self) -> int:
        """The id of the newest event; 0 where there is none."""
        return self._db.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0

    def has_event_after(self, event_id: int, prefixes: Collection[str]) -> bool:
        """Whether an event came after the one of that id whose kind begins with one of these."""
        kinds = sa.or_(*(events.c.kind.startswith(prefix, autoescape=True) for prefix in prefixes))
        found = self._db.execute(sa.select(events.c.id).where(events.c.id > event_id, kinds).limit(1))
        return found.first() is not None

    def newest_about(self, devices: Collection[str], kinds: Collection[str], after: int) -> dict[str, int]:
        """By device, the id of the newest event of these kinds that is newer than the one of that id."""
        found = self._db.execute(
            sa.select(events.c.device, sa.func.max(events.c.id))
            .where(events.c.id > after, events.c.kind.in_(kinds), events.c.device.in_(devices))
            .group_by(events.c.device)
        )
        return {row[0]: row[1] for row in found}

    def events_of(
        self, owner: str, since: datetime, prefixes: Collection[str], limit: int
    ) -> Sequence[Event]:
        """What happened to a person's sessions since then, newest first, of kinds that begin so."""
        kinds = [events.c.kind.startswith(prefix, autoescape=True) for prefix in prefixes]
        found = self._db.execute(
            sa.select(events)
            .join(leases, leases.c.id == events.c.lease_id)
            .where(leases.c.owner == owner, events.c.at >= since, sa.or_(*kinds))
            .order_by(events.c.id.desc())
            .limit(limit)
        )
        return [_row_to_event(row) for row in found.mappings()]

    def events_between(self, kind: str, since: datetime, until: datetime) -> Sequence[Event]:
        """The events of one kind from a time on and before another, oldest first."""
        found = self._db.execute(
            sa.select(events)
            .where(events.c.kind == kind, events.c.at >= since, events.c.at < until)
            .order_by(events.c.id)
        )
        return [_row_to_event(row) for row in found.mappings()]


def _row_to_event(row: sa.RowMapping) -> Event:
    return Event(
        id=row["id"],
        at=row["at"],
        kind=row["kind"],
        reason=row["reason"],
        actor=row["actor"],
        lease_id=row["lease_id"],
        device=row["device"],
        data=row["data"],
    )


def _conditions(search: EventSearch) -> list[sa.ColumnElement[bool]]:
    """What a search comes to; what people write stands for itself, % and _ included."""
    event, found = events.c, []
    if search.kind:
        found.append(event.kind.startswith(search.kind, autoescape=True))
    if search.actor:
        found.append(event.actor == search.actor)
    if search.person:
        theirs = sa.select(leases.c.id).where(leases.c.owner == search.person)
        told = sa.func.json_each(event.data, "$.people").table_valued("value")
        found.append(
            (event.actor == search.person)
            | event.lease_id.in_(theirs)
            | (sa.func.json_extract(event.data, "$.owner") == search.person)
            | sa.exists().where(told.c.value == search.person)
        )
    if search.card:
        held = lease_devices.c.device.startswith(search.card, autoescape=True)
        having = sa.select(lease_devices.c.lease_id).where(held)
        found.append(event.device.startswith(search.card, autoescape=True) | event.lease_id.in_(having))
    if search.text:
        found.append(event.reason.contains(search.text, autoescape=True))
    found += [] if search.since is None else [event.at >= search.since]
    found += [] if search.until is None else [event.at < search.until]
    found += [] if search.before is None else [event.id < search.before]
    found += [] if search.after is None else [event.id > search.after]
    return found
