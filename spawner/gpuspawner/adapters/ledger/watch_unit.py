"""What can be done about sessions that may lie idle, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import sqlalchemy as sa
from pydantic import TypeAdapter

from gpuspawner.core.culling import Keep, Watch

from .line_unit import LineUnit
from .schema import keeps, watches

_WATCH = TypeAdapter(Watch)


class WatchUnit(LineUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def watches(self) -> dict[str, Watch]:
        """What is kept of sessions from look to look, by the lease's id."""
        found = self._db.execute(sa.select(watches.c.lease_id, watches.c.data)).all()
        return {lease_id: _WATCH.validate_json(data) for lease_id, data in found}

    def watch_of(self, lease_id: str) -> Watch | None:
        """What is kept of one session; None where nobody has looked into it."""
        data = self._db.execute(sa.select(watches.c.data).where(watches.c.lease_id == lease_id)).scalar()
        return None if data is None else _WATCH.validate_json(data)

    def put_watches(self, new: Iterable[Watch]) -> None:
        """Store what is kept of sessions, in place of what was."""
        rows = [{"lease_id": one.lease_id, "data": _WATCH.dump_json(one).decode()} for one in new]
        self._put(watches, *rows, key=("lease_id",))

    def drop_watches(self, lease_ids: Collection[str]) -> None:
        """Forget sessions that are over; what they came to is in the audit trail."""
        if lease_ids:
            for table in (watches, keeps):
                self._db.execute(sa.delete(table).where(table.c.lease_id.in_(lease_ids)))

    def keeps(self) -> dict[str, Keep]:
        """How long people asked to keep their sessions, by the lease's id."""
        found = self._db.execute(sa.select(keeps.c.lease_id, keeps.c.until, keeps.c.total_seconds)).all()
        return {lease_id: Keep(until, timedelta(seconds=total)) for lease_id, until, total in found}

    def keep_of(self, lease_id: str) -> Keep | None:
        """How long one session is kept; None where nobody asked."""
        asked = sa.select(keeps.c.until, keeps.c.total_seconds).where(keeps.c.lease_id == lease_id)
        row = self._db.execute(asked).first()
        return None if row is None else Keep(row[0], timedelta(seconds=row[1]))

    def put_keep(self, lease_id: str, keep: Keep) -> None:
        """Store how long a session is kept, in place of what was."""
        row = {"lease_id": lease_id, "until": keep.until, "total_seconds": keep.total.total_seconds()}
        self._put(keeps, row, key=("lease_id",))
