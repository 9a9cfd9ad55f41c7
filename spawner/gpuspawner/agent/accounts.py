"""The agent's books: what was seen of each card since use was last written, and the writing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.model import (
    Container,
    ContainerState,
    DeviceReading,
    DeviceRecord,
    Lease,
    Outcome,
    Sample,
)
from gpuspawner.core.usage import end_of, mean_use, take_accounts

MOST_LOOKS = 300
"""So many looks at a card are remembered while the ledger cannot be written: ten minutes of them, usually."""


class Books:
    """What was seen of each card since the accounts were last written.

    The accounts do not depend on this memory: held time comes from the leases alone. What an agent that is
    killed had seen and not written is missing from the sampled time, and is thereby unknown.

    Args:
        host: Whose cards they are.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._looks: dict[str, list[Sample]] = {}
        self._records: Mapping[str, DeviceRecord] = {}
        self._kept_at: dict[str, datetime] = {}
        """By card, up to which look what was seen is in the samples that are kept."""

    def note(self, readings: Iterable[DeviceReading], previous: Sequence[DeviceRecord]) -> None:
        """Remember a look at the cards.

        Args:
            readings: What it showed.
            previous: The records before it. The sample in one tells since when the first look after a start
                speaks.
        """
        self._records = {record.device.uuid: record for record in previous}
        for reading in readings:
            if reading.sample is None:
                continue
            before = self._records.get(reading.uuid)
            first = [before.sample] if before and before.sample else []
            looks = self._looks.setdefault(reading.uuid, first)
            looks.append(replace(reading.sample, processes=None))
            del looks[:-MOST_LOOKS]

    def write(
        self, unit: LedgerUnit, *, until: datetime, now: datetime, containers: Sequence[Container] = ()
    ) -> None:
        """Account for every live lease, from the leases as they are in this transaction.

        Args:
            unit: The transaction; it moves ``accounted_at`` too.
            until: Until when. No later than the newest look, so that it is known what happened until then.
            now: The present.
            containers: What the Engine listed, to know when those ended that have ended by themselves.
        """
        ended = {
            container.lease_id: container.outcome
            for container in containers
            if container.lease_id and container.outcome and container.state is ContainerState.EXITED
        }
        self._write(unit, unit.live_leases(self._host), until=until, now=now, outcomes=ended)

    def settle(self, unit: LedgerUnit, lease: Lease, now: datetime) -> Lease:
        """Account for all of a lease that is about to be released; return it as it is then."""
        until = end_of(lease) or now
        moved = self._write(unit, (lease,), until=until, now=now)
        return replace(lease, accounted_at=moved.get(lease.id, lease.accounted_at))

    def sum_up(self, uuid: str, sample: Sample) -> Sample:
        """The newest sample of a card, its utilisation that of all looks since the last one that was kept.

        Args:
            uuid: The card.
            sample: What the newest look showed.
        """
        kept_at = self._kept_at.get(uuid)
        looks = [one for one in self._looks.get(uuid, ()) if kept_at is not None and one.at > kept_at]
        return replace(sample, utilization_percent=mean_use(looks or [sample]))

    def forget(self, until: datetime) -> None:
        """Drop looks that are in the accounts and the samples, once those are in the ledger."""
        for uuid, looks in self._looks.items():
            if looks:
                self._kept_at[uuid] = looks[-1].at
            # The last one stays: the next look speaks for the time since it.
            last = max((n for n, sample in enumerate(looks) if sample.at <= until), default=0)
            self._looks[uuid] = looks[last:]

    def _write(
        self,
        unit: LedgerUnit,
        leases: Sequence[Lease],
        *,
        until: datetime,
        now: datetime,
        outcomes: Mapping[str, Outcome] | None = None,
    ) -> Mapping[str, datetime]:
        if not any(lease.devices for lease in leases):
            return {}
        accounts = take_accounts(
            leases,
            {uuid: record.device for uuid, record in self._records.items()},
            self._looks,
            unit.standings(self._host),
            until=until,
            now=now,
            outcomes=outcomes,
        )
        unit.add_usage(self._host, accounts.usage)
        unit.put_standings(self._host, accounts.standings)
        unit.mark_accounted(accounts.accounted_at)
        return accounts.accounted_at
