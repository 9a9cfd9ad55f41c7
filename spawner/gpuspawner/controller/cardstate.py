"""What a card is doing, in one word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from gpuspawner.core.claims import Drain
from gpuspawner.core.model import DeviceRecord, Health, Lease, LeaseState, Sample

CARD_STATES = ("free", "held", "releasing", "quarantined", "occupied", "drained", "faulty", "unknown")


def name_card_state(
    record: DeviceRecord,
    lease: Lease | None,
    drain: Drain | None,
    *,
    now: datetime,
    stale_after: timedelta,
) -> str:
    """One of :data:`CARD_STATES`; the first that is true of: a lease, unknown, occupied, faulty, drained."""
    if lease is not None:
        held = lease.state in (LeaseState.RESERVED, LeaseState.ACTIVE)
        return "held" if held else lease.state.value
    if now - record.seen_at > stale_after or record.health is Health.UNKNOWN:
        return "unknown"
    if record.occupied_by:
        return "occupied"
    if record.health is Health.FAULTY:
        return "faulty"
    drained = drain is not None and (drain.until is None or drain.until > now)
    return "drained" if drained else "free"


def fresh_sample(record: DeviceRecord, *, now: datetime, stale_after: timedelta) -> Sample | None:
    """The newest sample, unless it is too old to be believed."""
    sample = record.sample
    return None if sample is None or now - sample.at > stale_after else sample


def by_device(leases: Collection[Lease]) -> Mapping[str, Lease]:
    """Who holds which device."""
    return {uuid: lease for lease in leases for uuid in lease.devices}
