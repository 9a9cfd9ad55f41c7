"""The accounts: what every lease holds of every device, day by day, and what it does with it.

A device is held from the lease's ``created_at`` until its person lets go of it (:func:`find_end`), and a MIG
instance counts like a card: one GPU-second a second. ``Lease.accounted_at`` says until when a lease is in
the accounts, and only moves on; so every instant counts once, whatever the clock does and however often the
agent is killed, as long as the accounts and ``accounted_at`` are written in one transaction. While a clock
that was set back has not come to ``accounted_at`` again, nothing is added.

A sample speaks for the time since the one before it, for :data:`SAMPLE_SPEAKS_FOR` at most. What no sample
speaks for is held and neither active nor idle: ``sampled_seconds`` tells how much of the held time is known.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from .claims import Standing, Usage
from .model import Device, Lease, LeaseState, Outcome, Sample
from .shares import accrue, decay

SAMPLE_SPEAKS_FOR = timedelta(seconds=30)
"""The longest time before it that a sample says something about."""
UNKNOWN_MODEL = "unknown"
"""Model in the accounts of a device that is not in the inventory."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is to be written, in one transaction."""

    usage: tuple[Usage, ...]
    """To be added to what is there of the same lease, device and day."""
    accounted_at: Mapping[str, datetime]
    """By id of the lease; only of leases for which it moves."""
    standings: Mapping[str, Standing]
    """By person; only of people who used something."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A time that one sample speaks for."""

    start: datetime
    end: datetime
    sample: Sample


def take_accounts(
    leases: Iterable[Lease],
    devices: Mapping[str, Device],
    samples: Mapping[str, Sequence[Sample]],
    standings: Mapping[str, Standing],
    *,
    until: datetime,
    now: datetime,
    outcomes: Mapping[str, Outcome] | None = None,
) -> Accounts:
    """Account for what was used since the last time.

    Args:
        leases: Leases of one host, as they are in the ledger now. Those without devices are passed over.
        devices: By UUID, for their models and to know MIG instances.
        samples: By UUID, in the order in which they were taken. Those from before a lease's ``accounted_at``
            only tell where the next one begins; those after ``until`` speak for the time before it too.
        standings: By person.
        until: Until when to account at most. A time before the newest samples lets them speak for all of it.
        now: For when the standings are computed.
        outcomes: How containers ended whose leases do not say so yet, by id of the lease.
    """
    stretches = {uuid: find_stretches(of_device) for uuid, of_device in samples.items()}
    usage: list[Usage] = []
    accounted_at: dict[str, datetime] = {}
    accrued: dict[str, Standing] = {}
    for lease in leases:
        since, end = _window(lease, until, (outcomes or {}).get(lease.id))
        if not lease.devices or end <= since:
            continue
        accounted_at[lease.id] = end
        for uuid in lease.devices:
            device, known = devices.get(uuid), stretches.get(uuid, ())
            for _, start, stop in split_days(since, end):
                usage.append(_count(lease, uuid, device, known, start=start, end=stop))
        standing = accrued.get(lease.owner) or decay(standings.get(lease.owner, Standing(0.0, now)), now)
        held = (end - since).total_seconds() * len(lease.devices)
        accrued[lease.owner] = accrue(standing, held, since, end)
    return Accounts(tuple(usage), accounted_at, accrued)


def find_end(lease: Lease, outcome: Outcome | None, now: datetime) -> datetime:
    """When a lease that is let go of now ended for its person.

    That is when its container ended, if it ended by itself and the Engine's word for it can be true: nobody
    pays for the time in which the agent did not look.
    """
    finished = outcome.finished_at if outcome else None
    return finished if finished is not None and lease.created_at <= finished <= now else now


def end_of(lease: Lease) -> datetime | None:
    """When a lease ended for its person; None when it has not, as far as the ledger knows."""
    if lease.ended_at or not lease.state.ending:
        return lease.ended_at
    # Let go of before there was ``ended_at``: only the time of that step says it, until another one follows.
    return (
        lease.state_since if lease.state is LeaseState.RELEASING else lease.accounted_at or lease.created_at
    )


def held_by_day(leases: Iterable[Lease], now: datetime) -> dict[date, float]:
    """GPU-seconds by UTC day that leases hold and that are not in the accounts yet."""
    held: dict[date, float] = defaultdict(float)
    for lease in leases:
        for day, start, end in split_days(*_window(lease, now)):
            held[day] += (end - start).total_seconds() * len(lease.devices)
    return {day: seconds for day, seconds in held.items() if seconds}


def split_days(since: datetime, until: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    """Cut a time at the UTC midnights: (day, start, end), in order; nothing for an empty or negative time."""
    start, until = since.astimezone(UTC), until.astimezone(UTC)
    while start < until:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        end = min(midnight, until)
        yield start.date(), start, end
        start = end


def find_stretches(samples: Sequence[Sample]) -> tuple[_Stretch, ...]:
    """What time each sample speaks for; no time twice, also where the clock was set back between two."""
    found: list[_Stretch] = []
    covered: datetime | None = None
    for before, sample in pairwise(samples):
        start = max(before.at, sample.at - SAMPLE_SPEAKS_FOR, *([covered] if covered else []))
        if start < sample.at:
            found.append(_Stretch(start, sample.at, sample))
            covered = sample.at
    return tuple(found)


def mean_use(samples: Iterable[Sample]) -> int | None:
    """Mean utilisation of several looks, in %, rounded up: a little work is not none.

    Returns:
        None when it is not known, also when some of it is not, and the rest was idle.
    """
    values = [one.utilization_percent for one in samples]
    known = [one for one in values if one is not None]
    if not known or (len(known) < len(values) and not any(known)):
        return None
    return math.ceil(sum(known) / len(known))


def _window(lease: Lease, until: datetime, outcome: Outcome | None = None) -> tuple[datetime, datetime]:
    """Since when a lease is not in the accounts, and until when it is to be. The first may be the later."""
    end = end_of(lease) or find_end(lease, outcome or lease.outcome, until)
    return lease.accounted_at or lease.created_at, min(end, until)


def _count(
    lease: Lease,
    uuid: str,
    device: Device | None,
    stretches: Iterable[_Stretch],
    *,
    start: datetime,
    end: datetime,
) -> Usage:
    """The account of one device in a part of one day."""
    sampled = active = joules = 0.0
    powered = False
    peak: int | None = None
    # The card's power is not that of one of its MIG instances.
    whole = device is not None and device.parent is None
    for stretch in stretches:
        seconds = (min(end, stretch.end) - max(start, stretch.start)).total_seconds()
        if seconds <= 0:
            continue
        sample = stretch.sample
        if sample.utilization_percent is not None:
            sampled += seconds
            active += seconds if sample.utilization_percent > 0 else 0.0
        if sample.power_milliwatts is not None and whole:
            joules += sample.power_milliwatts / 1000 * seconds
            powered = True
        if sample.memory_used_bytes is not None and stretch.end <= end:
            peak = max(peak or 0, sample.memory_used_bytes)
    return Usage(
        lease_id=lease.id,
        device=uuid,
        day=start.date(),
        owner=lease.owner,
        server=lease.server,
        image=lease.image,
        model=device.model if device else UNKNOWN_MODEL,
        party=lease.party,
        held_seconds=(end - start).total_seconds(),
        sampled_seconds=sampled,
        active_seconds=active,
        peak_memory_bytes=peak,
        energy_joules=joules if powered else None,
    )
