"""The use cases around a lease: gather, let core decide, apply, in one transaction each.

Every method may block on the ledger; the hub calls them in threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.errors import LedgerError, Refused
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import DeviceRecord, Event, Home, Lease, LeaseState, SpawnRequest
from gpuspawner.core.placement import Offer, choose_devices, survey, why_nothing_is_known
from gpuspawner.core.policy import Allowance
from gpuspawner.core.quota import judge_devices, judge_quota


def utc_now() -> datetime:
    """The present, timezone-aware."""
    return datetime.now(UTC)


SAME_REFUSAL_AGAIN = timedelta(minutes=1)
"""A refusal that equals one of this age or younger is not stored again."""


@dataclass(frozen=True, slots=True)
class Status:
    """Cards and who holds them, for people and programs."""

    inventory: tuple[DeviceRecord, ...]
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Stock:
    """What a person can choose from."""

    offers: tuple[Offer, ...]
    """By model."""
    problem: str | None
    """Why nothing of it can be given out: its state is not known. None when some of it is."""


class Allocator:
    """Gives devices to servers and takes them back.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices these are.
        allowance: What the person who asks may use.
        stale_after: Age from which an inventory is no longer believed.
        clock: Says the present.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        allowance: Allowance,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ledger = ledger
        self._host = host
        self._allowance = allowance
        self._stale_after = stale_after
        self._clock = clock

    def ledger_id(self) -> str:
        """The ledger's random name. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.ledger_id()

    def status(self) -> Status:
        """Every device and every live lease. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return Status(unit.inventory(self._host), unit.live_leases(self._host))

    def stock(self) -> Stock:
        """What there is and what is free now; what the person may not use has its reason.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        status, now = self.status(), self._clock()
        offers = survey(
            status.inventory,
            _held(status.leases),
            self._allowance,
            now=now,
            stale_after=self._stale_after,
        )
        return Stock(offers, why_nothing_is_known(status.inventory, now=now, stale_after=self._stale_after))

    def reserve(self, request: SpawnRequest, *, owner: str, server: str, claimant: str, image: str) -> Lease:
        """Reserve devices for a start.

        A lease of the same server that was never let go of (its release could not be written, say) is let go
        of first; its devices stay held until they are proved free.

        Args:
            request: The validated wish.
            owner: The person.
            server: The server's name.
            claimant: This run of the hub.
            image: Image reference that will run.

        Raises:
            Refused: Not granted; the refusal is in the audit trail.
            LedgerError: The ledger cannot be used; nothing was granted.
        """
        now = self._clock()
        refusal: Refused | None = None
        with self.ledger.write() as unit:
            live = unit.live_leases(self._host)
            for old in live:
                if (old.owner, old.server) == (owner, server) and not old.state.ending:
                    _let_go(unit, old, now, "a new start of the same server replaced it", actor=owner)
            live = unit.live_leases(self._host)
            try:
                judge_quota(request, owner, live, self._allowance)
                usable = judge_devices(request, unit.inventory(self._host), self._allowance)
                devices = choose_devices(request, usable, _held(live), now=now, stale_after=self._stale_after)
            except Refused as error:
                refusal = error
                _note_refusal(unit, _refusal_event(error, request, owner, now))
            else:
                lease = _new_lease(
                    host=self._host,
                    owner=owner,
                    server=server,
                    devices=devices,
                    claimant=claimant,
                    image=image,
                    now=now,
                )
                unit.add_lease(lease)
                unit.add_event(
                    Event(
                        now, "lease.granted", lease.reason, owner, lease.id, data={"devices": list(devices)}
                    )
                )
        if refusal is not None:
            raise refusal
        return lease

    def activate(self, lease_id: str, *, container_id: str, claimant: str) -> Lease:
        """Note that the container of a lease runs, and which run of the hub looks after it.

        Raises:
            IllegalTransition: The lease has been let go of meanwhile; the container must be ended.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            lease = _require(unit, lease_id)
            if lease.state is not LeaseState.ACTIVE:
                lease = step(lease, LeaseState.ACTIVE, now=now, reason="the server runs")
                unit.add_event(Event(now, "lease.active", lease.reason, "hub", lease.id))
            lease = replace(lease, container_id=container_id, claimant=claimant)
            unit.update_lease(lease)
            return lease

    def request_release(self, lease_id: str, *, reason: str, actor: str) -> None:
        """Let go of a lease; the agent proves its devices free. Does nothing if that has begun already.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            lease = unit.lease(lease_id)
            if lease is not None:
                _let_go(unit, lease, self._clock(), reason, actor)

    def last_lease(self, owner: str, server: str) -> Lease | None:
        """The newest lease of a server, to tell its person how it ended. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.last_lease(owner, server)

    def home_of(self, owner: str) -> Home | None:
        """Where a person's files are, if they have a home yet. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.home_of(owner)

    def ensure_home(self, fresh: Home) -> Home:
        """Return the home of ``fresh.owner``, binding ``fresh`` to them if they have none.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self.ledger.write() as unit:
            known = unit.home_of(fresh.owner)
            if known is None:
                now = self._clock()
                unit.put_home(fresh, now)
                unit.add_event(
                    Event(now, "home.created", "first server", fresh.owner, data={"source": fresh.source})
                )
            return known or fresh


def _held(leases: tuple[Lease, ...]) -> frozenset[str]:
    return frozenset(uuid for lease in leases for uuid in lease.devices)


def _new_lease(
    *, host: str, owner: str, server: str, devices: tuple[str, ...], claimant: str, image: str, now: datetime
) -> Lease:
    return Lease(
        id=secrets.token_hex(8),
        host=host,
        owner=owner,
        server=server,
        devices=devices,
        state=LeaseState.RESERVED,
        reason=f"{len(devices)} GPU(s) were free" if devices else "a server without a GPU",
        claimant=claimant,
        created_at=now,
        state_since=now,
        image=image,
    )


def _note_refusal(unit: LedgerUnit, event: Event) -> None:
    """Store a refusal, but not the same one over and over: anybody can ask as often as they like."""
    if not unit.has_event_since(event.at - SAME_REFUSAL_AGAIN, event):
        unit.add_event(event)


def _refusal_event(error: Refused, request: SpawnRequest, owner: str, now: datetime) -> Event:
    wanted: dict[str, object] = {"gpus": request.gpus, "model": request.model, "kind": error.kind.value}
    return Event(now, "lease.refused", str(error), owner, data=wanted)


def _let_go(unit: LedgerUnit, lease: Lease, now: datetime, reason: str, actor: str) -> None:
    if lease.state.ending:
        return
    unit.update_lease(step(lease, LeaseState.RELEASING, now=now, reason=reason))
    unit.add_event(Event(now, "lease.releasing", reason, actor, lease.id))


def _require(unit: LedgerUnit, lease_id: str) -> Lease:
    lease = unit.lease(lease_id)
    if lease is None:
        raise LedgerError(f"Lease {lease_id} is not in the ledger. Was the ledger restored from a backup?")
    return lease
