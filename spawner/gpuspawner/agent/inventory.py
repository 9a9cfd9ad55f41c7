"""What is known of every card after a look: the report and what was known before, merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gpuspawner.core.faults import Cause
from gpuspawner.core.health import (
    DRIVER_REPLACED,
    Judgement,
    describe_return,
    find_card_faults,
    judge_look,
    judge_unseen,
)
from gpuspawner.core.model import Container, Device, DeviceReading, DeviceRecord, Event, Health, Lease
from gpuspawner.core.occupancy import name_stranger
from gpuspawner.core.words import mark
from gpuspawner.ports import ProbeReport

BASELINE_MOST_PERCENT = 5
"""An empty card's baseline is never more than this share of its memory, whatever a dead program left."""

NOT_LISTED = mark("the driver does not list it any more")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The outcome of :func:`take_inventory`."""

    records: tuple[DeviceRecord, ...]
    """Every device of the host that counts as present."""
    events: tuple[Event, ...]
    """What is worth a line in the audit trail."""

    @property
    def baselines(self) -> dict[str, int]:
        """Idle memory by UUID, in bytes, as far as it is known."""
        return {r.device.uuid: r.baseline_bytes for r in self.records if r.baseline_bytes is not None}


@dataclass(frozen=True, slots=True)
class _Around:
    """What else was seen at the look."""

    leases: Sequence[Lease]
    containers: Sequence[Container] | None
    card_faults: Mapping[str, str]
    now: datetime
    listed: frozenset[str]
    """UUIDs of all devices that are there, or are thought to be."""


def take_inventory(
    report: ProbeReport,
    previous: Sequence[DeviceRecord],
    absent: Sequence[DeviceRecord],
    leases: Sequence[Lease],
    containers: Sequence[Container] | None,
    *,
    now: datetime,
) -> Inventory:
    """Merge a look at the cards with what was known of them.

    Args:
        report: The look.
        previous: The records before it.
        absent: Records of cards that were there once; one that comes back keeps its fault and its baseline,
            and the parts of a card keep each other's hard faults.
        leases: All live leases, read after the containers were listed.
        containers: Every container that may use a GPU; None when the Engine could not tell.
        now: The present.
    """
    known = {record.device.uuid: record for record in previous}
    before = frozenset(known)
    listed = before | {reading.uuid for reading in report.devices}
    once = {record.device.uuid: record for record in absent}
    around = _Around(leases, containers, find_card_faults((*absent, *previous)), now, listed)
    records: list[DeviceRecord] = []
    events: list[Event] = []
    for reading in report.devices:
        old = known.pop(reading.uuid, None) or once.get(reading.uuid)
        described = reading.device and replace(reading.device, driver=report.driver_version)
        device = described or (old.device if old else None)
        if device is None:
            continue  # it never said what it is: there is nothing that could be given out
        new = reading.uuid not in before
        record = _merge(device, reading, _miss(old) if old and new else old, around)
        if report.driver_replaced:
            record = _judged(record, judge_unseen(record, Cause.DRIVER, DRIVER_REPLACED, now=now))
        records.append(record)
        if new:
            events.append(
                _event(now, "device.found", mark(f"the driver lists a {device.model}"), reading.uuid)
            )
        events += _describe_changes(record, old, reading.xids, now)
    held = {uuid for lease in leases for uuid in lease.devices}
    for uuid, old in known.items():
        if report.missing_reason is None and uuid not in held:
            events.append(_event(now, "device.gone", NOT_LISTED, uuid))
            continue
        record = _unseen(old, report, now)
        records.append(record)
        events += _describe_changes(record, old, (), now)
    return Inventory(tuple(records), tuple(events))


def without_stamps(records: Iterable[DeviceRecord]) -> dict[str, DeviceRecord]:
    """The records without what changes at every look, to tell whether anything else did."""
    return {r.device.uuid: replace(r, seen_at=datetime.min, sample=None) for r in records}


def _merge(device: Device, reading: DeviceReading, old: DeviceRecord | None, around: _Around) -> DeviceRecord:
    judged = judge_look(reading, old, around.card_faults.get(device.parent or device.uuid), now=around.now)
    sample = reading.sample
    fresh = DeviceRecord(
        device=_keep_links(device, old, around.listed),
        health=judged.health,
        health_reason=judged.reason,
        seen_at=sample.at if sample else (old.seen_at if old else around.now),
        occupied_by=_find_stranger(device, reading, old, around),
        standing_fault=judged.standing_fault,
        baseline_bytes=old.baseline_bytes if old else None,
        sample=sample or (old.sample if old else None),
        fault=judged.fault,
    )
    return replace(fresh, baseline_bytes=_learn_baseline(fresh, reading))


def _keep_links(device: Device, old: DeviceRecord | None, listed: frozenset[str]) -> Device:
    """The device with the links that were known before and that the driver does not tell now.

    After a restart it tells nothing of a link until both ends answer.
    """
    if old is None or device.parent is not None:
        return device
    kept = {uuid: nearness for uuid, nearness in old.device.links if uuid in listed}
    return replace(device, links=tuple(sorted((kept | dict(device.links)).items())))


def _learn_baseline(record: DeviceRecord, reading: DeviceReading) -> int | None:
    sample = reading.sample
    if sample is None or sample.processes != () or sample.memory_used_bytes is None:
        return record.baseline_bytes
    most = record.device.memory_bytes * BASELINE_MOST_PERCENT // 100
    seen = min(sample.memory_used_bytes, most)
    return seen if record.baseline_bytes is None else min(seen, record.baseline_bytes)


def _find_stranger(
    device: Device, reading: DeviceReading, old: DeviceRecord | None, around: _Around
) -> str | None:
    before = old.occupied_by if old else None
    sample = reading.sample
    if around.containers is None:
        # Whose a process is cannot be told now; on a card that nobody leased, any process is a stranger.
        if any({device.uuid, device.parent} & set(lease.devices) for lease in around.leases):
            return before
        return name_stranger(device, sample, around.leases, ()) or before
    found = name_stranger(device, sample, around.leases, around.containers)
    if found is None and (sample is None or sample.processes is None):
        return before
    return found


def _unseen(old: DeviceRecord, report: ProbeReport, now: datetime) -> DeviceRecord:
    cause = Cause.SILENT if report.missing_reason else Cause.UNLISTED
    if report.driver_replaced:
        cause = Cause.DRIVER
    reason = report.missing_reason or NOT_LISTED
    return _judged(old, judge_unseen(old, cause, reason, now=now))


def _miss(old: DeviceRecord) -> DeviceRecord:
    """A card that is back, as it was while it was not there: it must show for a while that it is well."""
    return _judged(old, judge_unseen(old, Cause.UNLISTED, NOT_LISTED, now=old.seen_at))


def _judged(old: DeviceRecord, judged: Judgement) -> DeviceRecord:
    return replace(
        old,
        health=judged.health,
        health_reason=judged.reason,
        standing_fault=judged.standing_fault,
        fault=judged.fault,
    )


def _describe_changes(
    record: DeviceRecord, old: DeviceRecord | None, xids: Sequence[int], now: datetime
) -> Iterator[Event]:
    uuid = record.device.uuid
    for xid in xids:
        yield _event(now, "device.xid", mark(f"the driver reported XID {xid}"), uuid, xid=xid)
    yield from _describe_health(record, old, now)
    before, stranger = old.occupied_by if old else None, record.occupied_by
    if stranger and stranger != before:
        yield _event(now, "device.stranger", mark(f"in use by others: {stranger}"), uuid)
    elif before and not stranger:
        yield _event(now, "device.stranger_gone", mark(f"not in use by others any more: {before}"), uuid)


def _describe_health(record: DeviceRecord, old: DeviceRecord | None, now: datetime) -> Iterator[Event]:
    """A line when a card leaves, when what keeps it out changes, and when it comes back."""
    uuid, was, fault = record.device.uuid, old.fault if old else None, record.fault
    same_health = record.health is (old.health if old else Health.OK)
    if same_health and (fault and fault.cause) is (was and was.cause):
        return
    reason = record.health_reason or (
        describe_return(was) if was else mark("it answers and reports no fault")
    )
    told = fault or was
    evidence: dict[str, object] = {}
    if told is not None:
        evidence = {"cause": told.cause.value, "evidence": told.evidence, "since": told.since.isoformat()}
        if fault is None and told.check_since is not None:
            evidence["well_since"] = told.check_since.isoformat()
    yield _event(now, f"device.{record.health.value}", reason, uuid, **evidence)


def _event(now: datetime, kind: str, reason: str, uuid: str, **data: object) -> Event:
    return Event(now, kind, reason, "agent", device=uuid, data=data)
