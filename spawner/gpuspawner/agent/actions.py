"""Carrying out what reconcile planned, one action at a time.

Each checks in its own transaction that the lease is still in the state it was planned for, and leaves it
alone otherwise: the next tick decides afresh. Engine calls are made outside transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.errors import EngineError
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Container, ContainerState, Event, Lease, LeaseState, Outcome
from gpuspawner.core.reconcile import Activate, Collect, Quarantine, Release, RequestRelease, StopContainer
from gpuspawner.core.usage import find_end
from gpuspawner.core.words import mark
from gpuspawner.ports import ContainerEngine

from .accounts import Books

STOP_GRACE_SECONDS = 10
LOG_LINES = 50
LOG_MOST_CHARACTERS = 16_384
LOG_ATTEMPTS = 5
"""So often the log of an ended container is asked for; then the container goes without it."""

LedgerAction = Activate | RequestRelease | Release | Quarantine


class Actions:
    """What the agent can do about leases and containers.

    Args:
        ledger: Where leases and the audit trail are.
        engine: Where the containers are.
        clock: Says the present.
        books: Where use is accounted for before a lease is released.
    """

    def __init__(
        self, ledger: Ledger, engine: ContainerEngine, clock: Callable[[], datetime], books: Books
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._clock = clock
        self._books = books
        self._log_failures: Counter[str] = Counter()

    # -- in the ledger alone --------------------------------------------------------------------------------

    def write(self, action: LedgerAction) -> str | None:
        """Take a step of a lease; None if it is not in the planned state any more. Raises: LedgerError."""
        now = self._clock()
        with self._ledger.write() as unit:
            lease = _unchanged(unit, action.lease)
            if lease is None:
                return None
            if isinstance(action, Release):
                lease = self._books.settle(unit, lease, now)
            lease, event = _take_step(action, lease, now)
            unit.update_lease(lease)
            unit.add_event(event)
        return _tell(event)

    # -- with the Engine ------------------------------------------------------------------------------------

    def stop(self, action: StopContainer) -> str | None:
        """End a container whose lease is over.

        If the lease is still live the container is left for :meth:`collect`, which keeps how it ended.

        Raises:
            EngineError: It could not be done; the next tick tries again.
            LedgerError: The ledger cannot be used.
        """
        container = action.container
        with self._ledger.read() as unit:
            lease = unit.lease(action.lease_id)
        if lease is None or not lease.state.ending:
            return None
        if container.state is ContainerState.RUNNING:
            self._engine.stop(container.id, STOP_GRACE_SECONDS)
        if not lease.state.live:
            self._engine.remove(container.id)
        event = self._container_event("container.stopped", action.reason, container, lease.id)
        with self._ledger.write() as unit:
            unit.add_event(event)
        return _tell(event)

    def collect(self, action: Collect) -> str | None:
        """Keep how a container ended, remove it, and only then let its lease go.

        Every step may be repeated: if one fails, the next tick begins again from the first.

        Raises:
            EngineError: It could not be done; the next tick tries again.
            LedgerError: The ledger cannot be used.
        """
        container = action.container
        log_tail = self._read_log(container) if container.state is ContainerState.EXITED else ""
        with self._ledger.write() as unit:
            lease = _unchanged(unit, action.lease)
            if lease is None:
                return None
            if container.state is ContainerState.EXITED:
                unit.update_lease(replace(lease, outcome=_keep_outcome(lease, container, log_tail)))
        self._engine.remove(container.id)
        self._log_failures.pop(container.id, None)
        event = self._container_event("container.collected", action.reason, container, lease.id)
        with self._ledger.write() as unit:
            unit.add_event(event)
            lease = unit.lease(lease.id)
            if lease is not None and not lease.state.ending:
                released = RequestRelease(lease, action.reason)
                lease, begun = _take_step(released, lease, event.at)
                unit.update_lease(lease)
                unit.add_event(begun)
        return _tell(event)

    def _read_log(self, container: Container) -> str:
        try:
            return self._engine.read_log_tail(container.id, LOG_LINES)[-LOG_MOST_CHARACTERS:]
        except EngineError as error:
            self._log_failures[container.id] += 1
            if self._log_failures[container.id] < LOG_ATTEMPTS:
                raise
            return mark(f"(the log could not be read: {error})")

    def _container_event(self, kind: str, reason: str, container: Container, lease_id: str) -> Event:
        data: dict[str, object] = {"container": container.id, "name": container.name}
        if container.outcome is not None:
            data |= {
                "exit_code": container.outcome.exit_code,
                "oom_killed": container.outcome.oom_killed,
                "memory_limit_bytes": container.outcome.memory_limit_bytes,
            }
        return Event(self._clock(), kind, reason, "agent", lease_id, data=data)


def _unchanged(unit: LedgerUnit, planned: Lease) -> Lease | None:
    lease = unit.lease(planned.id)
    return lease if lease is not None and lease.state is planned.state else None


def _take_step(action: LedgerAction, lease: Lease, now: datetime) -> tuple[Lease, Event]:
    """The lease after the step, and the line for the audit trail.

    A lease keeps the reason for which it ended: its person reads it later. The proof is its evidence.
    """
    match action:
        case Activate(container=container):
            reason = mark("the server runs")
            lease = step(lease, LeaseState.ACTIVE, now=now, reason=reason)
            lease = replace(lease, container_id=container.id)
            return lease, _lease_event("lease.active", reason, lease, now, container=container.id)
        case RequestRelease(reason=reason):
            lease = replace(lease, ended_at=lease.ended_at or find_end(lease, lease.outcome, now))
            lease = step(lease, LeaseState.RELEASING, now=now, reason=reason)
            return lease, _lease_event("lease.releasing", reason, lease, now)
        case Release(evidence=evidence):
            lease = step(lease, LeaseState.RELEASED, now=now, reason=lease.reason, evidence=evidence)
            ran = {"image": lease.image, "digest": lease.digest}
            return lease, _lease_event("lease.released", evidence, lease, now, ended=lease.reason, **ran)
        case Quarantine(evidence=evidence):
            lease = step(lease, LeaseState.QUARANTINED, now=now, reason=lease.reason, evidence=evidence)
            return lease, _lease_event("lease.quarantined", evidence, lease, now, ended=lease.reason)


def _lease_event(kind: str, reason: str, lease: Lease, now: datetime, **data: object) -> Event:
    return Event(now, kind, reason, "agent", lease.id, data={"devices": list(lease.devices), **data})


def _keep_outcome(lease: Lease, container: Container, log_tail: str) -> Outcome:
    before = lease.outcome.log_tail if lease.outcome else ""
    return replace(container.outcome or lease.outcome or Outcome(), log_tail=log_tail or before)


def _tell(event: Event) -> str:
    return f"{event.kind} {event.lease_id}: {event.reason}"
