"""What can be done about sessions that may lie idle, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from gpuspawner.core.culling import Watch, Wish

from .schema import watches, wishes
from .ssh_unit import SshUnit

_WATCH = TypeAdapter(Watch)


class WatchUnit(SshUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def watches(self) -> dict[str, Watch]:
        """What is kept of sessions from look to look, by the lease's id."""
        found = self._db.execute(sa.select(watches.c.lease_id, watches.c.data)).all()
        known = {lease_id: _read_watch(data) for lease_id, data in found}
        return {lease_id: watch for lease_id, watch in known.items() if watch is not None}

    def watched(self) -> list[str]:
        """The ids of the leases of which something is kept."""
        return list(self._db.execute(sa.select(watches.c.lease_id)).scalars())

    def watch_of(self, lease_id: str) -> Watch | None:
        """What is kept of one session; None where nobody has looked into it."""
        data = self._db.execute(sa.select(watches.c.data).where(watches.c.lease_id == lease_id)).scalar()
        return None if data is None else _read_watch(data)

    def put_watches(self, new: Iterable[Watch]) -> None:
        """Store what is kept of sessions, in place of what was."""
        rows = [{"lease_id": one.lease_id, "data": _WATCH.dump_json(one).decode()} for one in new]
        self._put(watches, *rows, key=("lease_id",))

    def drop_watches(self, lease_ids: Collection[str]) -> None:
        """Forget sessions that are over; what they came to is in the audit trail."""
        if lease_ids:
            for table in (watches, wishes):
                self._db.execute(sa.delete(table).where(table.c.lease_id.in_(lease_ids)))

    def wishes(self) -> dict[str, Wish]:
        """What people asked for, by the lease's id."""
        found = self._db.execute(sa.select(wishes)).mappings()
        return {row["lease_id"]: _row_to_wish(row) for row in found}

    def wish_of(self, lease_id: str) -> Wish:
        """What is asked for one session; nothing where nobody asked."""
        row = self._db.execute(sa.select(wishes).where(wishes.c.lease_id == lease_id)).mappings().first()
        return Wish() if row is None else _row_to_wish(row)

    def put_wish(self, lease_id: str, wish: Wish) -> None:
        """Store what is asked for a session, in place of what was."""
        row = {
            "lease_id": lease_id,
            "kept_until": wish.kept_until,
            "kept_seconds": wish.kept.total_seconds(),
            "finish": wish.finish,
        }
        self._put(wishes, row, key=("lease_id",))


def _read_watch(data: str) -> Watch | None:
    """None for what another version wrote: the session is looked into as if for the first time."""
    try:
        return _WATCH.validate_json(data)
    except ValidationError:
        return None


def _row_to_wish(row: sa.RowMapping) -> Wish:
    return Wish(row["kept_until"], timedelta(seconds=row["kept_seconds"]), row["finish"])
