"""Whether a grant took a seat from a reservation: by brute force, and without the code that is tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.drains import find_drain
from gpuspawner.core.model import DeviceRecord, Health, Lease, LeaseState
from gpuspawner.core.occurrences import Occurrence, may_serve, open_occurrences

from support.build import HOST

HORIZON = timedelta(days=8)


def find_robbed(
    unit: LedgerUnit, live: Mapping[str, Lease], fresh: Collection[str], now: datetime
) -> str | None:
    """Say at which moment reservations could have fewer seats because of the fresh leases, if at any.

    Between two moments at which something begins or ends nothing changes, so it is enough to look at those.
    At each, seats are matched with devices: a free device may be any seat that it can serve, a held one only
    a seat of its session.
    """
    reservations = unit.reservations(HOST)
    if not reservations:
        return None
    returns = unit.seat_returns(HOST, now - HORIZON)
    occurrences = open_occurrences(reservations, returns, now, now + HORIZON)
    drains = unit.drains(HOST)
    records = [r for r in unit.inventory(HOST) if is_well(r) and not find_drain(r.device, drains, now)]
    before = [lease for lease in live.values() if lease.id not in fresh]
    for at in sorted(list_moments(occurrences, live.values(), now)):
        here = [one for one in occurrences if one.held_from <= at < one.end]
        without = count_seats(here, records, before, at, now)
        having = count_seats(here, records, live.values(), at, now)
        if having < without:
            whose = ", ".join(live[one].owner for one in fresh)
            titles = ", ".join(one.title for one in here)
            return f"a grant to {whose} leaves {having} seats of {without} to {titles} at {at}"
    return None


def is_well(record: DeviceRecord) -> bool:
    return record.health is Health.OK and record.occupied_by is None


def list_moments(occurrences: Iterable[Occurrence], leases: Iterable[Lease], now: datetime) -> set[datetime]:
    found = {now, *(lease.ends_at for lease in leases if lease.ends_at)}
    for one in occurrences:
        found |= {one.held_from, one.end}
    return {at for at in found if at >= now}


def count_seats(
    here: Sequence[Occurrence],
    records: Sequence[DeviceRecord],
    leases: Iterable[Lease],
    at: datetime,
    now: datetime,
) -> int:
    """The most seats that can be had at a time, by augmenting paths from devices to seats."""
    holders = {uuid: lease for lease in leases if still_holds(lease, at, now) for uuid in lease.devices}
    slots = [(one, n) for one in here for n in range(one.seats)]
    taken: dict[int, str] = {}
    ways: dict[str, list[int]] = {}
    for record in records:
        lease = holders.get(record.device.uuid)
        ways[record.device.uuid] = [
            n
            for n, (one, _) in enumerate(slots)
            if may_serve(record.device, one.reservation.cards) and may_fill(lease, one, here)
        ]

    def place(uuid: str, tried: set[int]) -> bool:
        for slot in ways[uuid]:
            if slot not in tried:
                tried.add(slot)
                if slot not in taken or place(taken[slot], tried):
                    taken[slot] = uuid
                    return True
        return False

    return sum(place(uuid, set()) for uuid in ways)


def may_fill(lease: Lease | None, one: Occurrence, here: Sequence[Occurrence]) -> bool:
    if lease is None:
        return True
    if lease.state.ending:
        return False
    if lease.reservation in [other.key for other in here]:
        return lease.reservation == one.key
    return one.reservation.admits(lease.owner, lease.party)


def still_holds(lease: Lease, at: datetime, now: datetime) -> bool:
    if at == now or lease.state is LeaseState.QUARANTINED:
        return True
    return not lease.state.ending and (lease.ends_at is None or lease.ends_at > at)
