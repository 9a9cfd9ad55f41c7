"""What becomes of messages to people outside of the pages, in one transaction."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import sqlalchemy as sa

from gpuspawner.core.model import Message
from gpuspawner.core.notices import Channel

from .schema import deliveries, messages
from .watch_unit import WatchUnit


class NoticeUnit(WatchUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def messages_due(
        self, channel: Channel, since: datetime, now: datetime, limit: int
    ) -> list[tuple[int, Message, int]]:
        """Messages from then on that are to be delivered now, oldest first, as (id, message, tries)."""
        row = deliveries.c
        tried = sa.and_(row.message_id == messages.c.id, row.channel == channel.value)
        waits = sa.and_(row.ended_at.is_(None), row.not_before <= now)
        found = self._db.execute(
            sa.select(messages, row.tries)
            .select_from(messages.outerjoin(deliveries, tried))
            .where(messages.c.at >= since, sa.or_(row.message_id.is_(None), waits))
            .order_by(messages.c.id)
            .limit(limit)
        )
        return [
            (
                one["id"],
                Message(one["at"], one["owner"], one["text"], one["actor"], one["lease_id"]),
                one["tries"] or 0,
            )
            for one in found.mappings()
        ]

    def put_delivery(
        self,
        message_id: int,
        channel: Channel,
        *,
        tries: int = 0,
        not_before: datetime | None = None,
        ended_at: datetime | None = None,
        outcome: str = "",
        error: str = "",
    ) -> None:
        """Store what became of a message on a channel, in place of what was."""
        new = {
            "message_id": message_id,
            "channel": channel.value,
            "tries": tries,
            "not_before": not_before,
            "ended_at": ended_at,
            "outcome": outcome,
            "error": error,
        }
        self._put(deliveries, new, key=("message_id", "channel"))

    def deliveries_overdue(self, channel: Channel, before: datetime) -> list[tuple[int, int, str]]:
        """Messages from before then that were tried in vain so far, as (id, tries, error)."""
        found = self._db.execute(
            sa.select(deliveries.c.message_id, deliveries.c.tries, deliveries.c.error)
            .join(messages, messages.c.id == deliveries.c.message_id)
            .where(
                deliveries.c.channel == channel.value,
                deliveries.c.ended_at.is_(None),
                messages.c.at < before,
            )
        )
        return [(row[0], row[1], row[2]) for row in found]

    def deliveries_ended(self, since: datetime, until: datetime) -> list[tuple[str, str, int]]:
        """How many messages were done with after the one and until the other time, as (channel, outcome, how
        many)."""
        found = self._db.execute(
            sa.select(deliveries.c.channel, deliveries.c.outcome, sa.func.count())
            .where(deliveries.c.ended_at > since, deliveries.c.ended_at <= until)
            .group_by(deliveries.c.channel, deliveries.c.outcome)
        )
        return [(row[0], row[1], row[2]) for row in found]

    def deliveries_open(self) -> Counter[str]:
        """How many messages were tried in vain and are tried again, by channel."""
        found = self._db.execute(
            sa.select(deliveries.c.channel, sa.func.count())
            .where(deliveries.c.ended_at.is_(None))
            .group_by(deliveries.c.channel)
        )
        return Counter({row[0]: row[1] for row in found})
