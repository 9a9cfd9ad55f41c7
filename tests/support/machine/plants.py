"""Allocators with a mistake in them, which the machine must find out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.allocator import Allocator
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Lease, LeaseState

from support.build import HOST

from .ledger import WatchedLedger

WRITES_MEANWHILE = 4


class TrustingAllocator(Allocator):
    """Frees a card as soon as the hub's poll says that the server is stopped."""

    def request_release(self, lease_id: str, *, reason: str, actor: str) -> None:
        super().request_release(lease_id, reason=reason, actor=actor)
        with self.ledger.write() as unit:
            lease = unit.lease(lease_id)
            if lease is not None and lease.state is LeaseState.RELEASING:
                now, evidence = self._clock(), "poll() returned an exit code"
                unit.update_lease(step(lease, LeaseState.RELEASED, now=now, reason=reason, evidence=evidence))


class _StaleUnit(LedgerUnit):
    """Sees the leases as they were when it began to wait for the lock."""

    stale: tuple[Lease, ...] = ()

    def live_leases(self, host: str, *, owner: str | None = None) -> tuple[Lease, ...]:
        return tuple(lease for lease in self.stale if owner in (None, lease.owner))


class FailOpenLedger(WatchedLedger):
    """When it waits too long for the lock it goes on without: every third time, here.

    Others wrote meanwhile what it does not see, and no index refuses the second owner.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen: deque[tuple[Lease, ...]] = deque(maxlen=WRITES_MEANWHILE)
        self._writes = 0

    @contextmanager
    def write(self) -> Iterator[LedgerUnit]:
        with super().write() as unit:
            if not self._writes:
                unit._db.exec_driver_sql("DROP INDEX one_owner_per_device")
            self._writes += 1
            self._seen.append(unit.live_leases(HOST))
            if self._writes % 3:
                yield unit
            else:
                stale = _StaleUnit(unit._db)
                stale.stale = self._seen[0]
                yield stale
