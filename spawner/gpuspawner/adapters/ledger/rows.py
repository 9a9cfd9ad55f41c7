"""Between rows and values, with nothing decided on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import RowMapping

from gpuspawner.core.faults import Cause, Fault
from gpuspawner.core.model import (
    Device,
    DeviceRecord,
    GpuProcess,
    Health,
    Home,
    HomeKind,
    Lease,
    LeaseState,
    Outcome,
    Party,
    Sample,
)

Row = RowMapping | Mapping[str, Any]


def device_to_row(record: DeviceRecord) -> dict[str, Any]:
    """A device record as a row of ``devices``."""
    device = record.device
    major, minor = device.compute_capability or (None, None)
    return {
        "host": device.host,
        "uuid": device.uuid,
        "index": device.index,
        "model": device.model,
        "memory_bytes": device.memory_bytes,
        "compute_major": major,
        "compute_minor": minor,
        "parent": device.parent,
        "present": True,
        "health": record.health.value,
        "health_reason": record.health_reason,
        "standing_fault": record.standing_fault,
        "occupied_by": record.occupied_by,
        "baseline_bytes": record.baseline_bytes,
        "seen_at": record.seen_at,
        "sample": sample_to_json(record.sample),
        "links": [list(link) for link in device.links],
        "driver": device.driver,
        "fault": fault_to_json(record.fault),
    }


def rows_to_devices(rows: Iterable[Sequence[Any]]) -> Iterator[DeviceRecord]:
    """Rows of :data:`~gpuspawner.adapters.ledger.schema.DEVICE_COLUMNS` as values; JSON comes as text."""
    for (
        host, uuid, index, model, memory_bytes, major, minor, parent, health, health_reason, standing_fault,
        occupied_by, baseline_bytes, seen_at, sample, links, fault, driver,
    ) in rows:  # fmt: skip
        yield DeviceRecord(
            device=Device(
                host=host,
                uuid=uuid,
                model=model,
                memory_bytes=memory_bytes,
                index=index,
                compute_capability=None if major is None or minor is None else (major, minor),
                parent=parent,
                driver=driver,
                links=tuple((other, nearness) for other, nearness in _read(links) or ()),
            ),
            health=_HEALTH[health],
            health_reason=health_reason,
            seen_at=seen_at,
            occupied_by=occupied_by,
            standing_fault=standing_fault,
            baseline_bytes=baseline_bytes,
            sample=json_to_sample(_read(sample)),
            fault=json_to_fault(_read(fault)),
        )


_HEALTH = {health.value: health for health in Health}


def _read(text: str | None) -> Any:
    return None if text is None else from_json(text)


def fault_to_json(fault: Fault | None) -> dict[str, Any] | None:
    """Why a device is out of service, as it is kept beside it."""
    if fault is None:
        return None
    return {
        "cause": fault.cause.value,
        "reason": fault.reason,
        "evidence": fault.evidence,
        "since": fault.since.isoformat(),
        "check_since": fault.check_since.isoformat() if fault.check_since else None,
    }


def json_to_fault(data: Row | None) -> Fault | None:
    """The way back of :func:`fault_to_json`."""
    if data is None:
        return None
    return Fault(
        cause=Cause(data["cause"]),
        reason=data["reason"],
        evidence=data["evidence"],
        since=datetime.fromisoformat(data["since"]),
        check_since=datetime.fromisoformat(data["check_since"]) if data["check_since"] else None,
    )


def sample_to_json(sample: Sample | None) -> dict[str, Any] | None:
    """The newest sample as it is kept beside its device."""
    if sample is None:
        return None
    return {
        "at": sample.at.isoformat(),
        "utilization_percent": sample.utilization_percent,
        "memory_used_bytes": sample.memory_used_bytes,
        "temperature_celsius": sample.temperature_celsius,
        "power_milliwatts": sample.power_milliwatts,
        "processes": None
        if sample.processes is None
        else [
            {"pid": p.pid, "memory_bytes": p.memory_bytes, "container_id": p.container_id}
            for p in sample.processes
        ],
    }


def json_to_sample(data: Row | None) -> Sample | None:
    """The way back of :func:`sample_to_json`."""
    if data is None:
        return None
    processes = data["processes"]
    return Sample(
        at=datetime.fromisoformat(data["at"]),
        utilization_percent=data["utilization_percent"],
        memory_used_bytes=data["memory_used_bytes"],
        temperature_celsius=data["temperature_celsius"],
        power_milliwatts=data["power_milliwatts"],
        processes=None if processes is None else tuple(GpuProcess(**p) for p in processes),
    )


def lease_to_row(lease: Lease) -> dict[str, Any]:
    """A lease as a row of ``leases``; its devices are rows of their own."""
    return {
        "id": lease.id,
        "host": lease.host,
        "owner": lease.owner,
        "server": lease.server,
        "state": lease.state.value,
        "reason": lease.reason,
        "claimant": lease.claimant,
        "created_at": lease.created_at,
        "state_since": lease.state_since,
        "image": lease.image,
        "digest": lease.digest,
        "container_id": lease.container_id,
        "outcome": outcome_to_json(lease.outcome),
        "evidence": lease.evidence,
        "party": party_to_json(lease.party),
        "ends_at": lease.ends_at,
        "end_reason": lease.end_reason,
        "ended_at": lease.ended_at,
        "ticket_id": lease.ticket_id,
        "claim_by": lease.claim_by,
        "reservation_id": lease.reservation[0] if lease.reservation else None,
        "reservation_start": lease.reservation[1] if lease.reservation else None,
        "warned": lease.warned,
        "accounted_at": lease.accounted_at,
    }


def row_to_lease(row: Row, devices: tuple[str, ...]) -> Lease:
    """A row of ``leases``, with the devices that belong to it, as a value."""
    return Lease(
        id=row["id"],
        host=row["host"],
        owner=row["owner"],
        server=row["server"],
        devices=devices,
        state=LeaseState(row["state"]),
        reason=row["reason"],
        claimant=row["claimant"],
        created_at=row["created_at"],
        state_since=row["state_since"],
        image=row["image"],
        digest=row["digest"],
        container_id=row["container_id"],
        outcome=json_to_outcome(row["outcome"]),
        evidence=row["evidence"],
        party=json_to_party(row["party"]),
        ends_at=row["ends_at"],
        end_reason=row["end_reason"],
        ended_at=row["ended_at"],
        ticket_id=row["ticket_id"],
        claim_by=row["claim_by"],
        reservation=(row["reservation_id"], row["reservation_start"]) if row["reservation_id"] else None,
        warned=row["warned"],
        accounted_at=row["accounted_at"],
    )


def party_to_json(party: Party) -> dict[str, Any]:
    """Whom a session counts for, as it is kept with leases, tickets and usage."""
    return {"groups": list(party.groups), "courses": list(party.courses)}


def json_to_party(data: Row | None) -> Party:
    """The way back of :func:`party_to_json`; a lease from before there were parties has an empty one."""
    return Party(tuple(data["groups"]), tuple(data["courses"])) if data else Party()


def outcome_to_json(outcome: Outcome | None) -> dict[str, Any] | None:
    """How a container ended, as it is kept with its lease."""
    if outcome is None:
        return None
    return {
        "exit_code": outcome.exit_code,
        "oom_killed": outcome.oom_killed,
        "memory_limit_bytes": outcome.memory_limit_bytes,
        "finished_at": outcome.finished_at.isoformat() if outcome.finished_at else None,
        "log_tail": outcome.log_tail,
        "error": outcome.error,
    }


def json_to_outcome(data: Row | None) -> Outcome | None:
    """The way back of :func:`outcome_to_json`."""
    if data is None:
        return None
    finished = data["finished_at"]
    return Outcome(**{**data, "finished_at": datetime.fromisoformat(finished) if finished else None})


def row_to_home(row: Row) -> Home:
    """A row of ``homes`` as a value."""
    return Home(owner=row["owner"], kind=HomeKind(row["kind"]), source=row["source"])
