"""Short builders of core values, each with a default for everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.model import (
    Container,
    ContainerState,
    Device,
    DeviceReading,
    DeviceRecord,
    GpuProcess,
    Health,
    Lease,
    LeaseState,
    Sample,
    SpawnRequest,
)

NOW = datetime(2030, 5, 17, 12, 0, 0, tzinfo=UTC)
MIB = 1024**2
GIB = 1024**3
HOST = "gpu1"
CLAIMANT = "run1"


def ago(seconds: float) -> datetime:
    """So long before the present of the tests."""
    return NOW - timedelta(seconds=seconds)


def device(uuid: str = "GPU-0", **changes: Any) -> Device:
    """A whole card of 40 GiB."""
    return Device(
        **{"host": HOST, "uuid": uuid, "model": "A100", "memory_bytes": 40 * GIB, "index": 0} | changes
    )


def sample(**changes: Any) -> Sample:
    """An idle card, seen now."""
    idle = {"at": NOW, "utilization_percent": 0, "memory_used_bytes": 4 * MIB, "processes": ()}
    return Sample(**idle | changes)


def busy(*pids: int, container_id: str | None = None, **changes: Any) -> Sample:
    """A card with processes on it."""
    processes = tuple(GpuProcess(pid, 100 * MIB, container_id) for pid in pids)
    return sample(**{"processes": processes, "memory_used_bytes": GIB, "utilization_percent": 90} | changes)


def reading(uuid: str = "GPU-0", **changes: Any) -> DeviceReading:
    """A card that answers and is idle."""
    return DeviceReading(**{"uuid": uuid, "device": device(uuid), "sample": sample()} | changes)


def silent(uuid: str = "GPU-0", **changes: Any) -> DeviceReading:
    """A card that did not answer."""
    return DeviceReading(**{"uuid": uuid, "error": "the driver did not answer within 5 s"} | changes)


def record(uuid: str = "GPU-0", *, model: str = "A100", index: int = 0, **changes: Any) -> DeviceRecord:
    """A healthy idle card, seen now."""
    values: dict[str, Any] = {
        "device": device(uuid, model=model, index=index),
        "health": Health.OK,
        "health_reason": "",
        "seen_at": NOW,
        "baseline_bytes": 4 * MIB,
        "sample": sample(),
    }
    return DeviceRecord(**values | changes)


def lease(state: LeaseState = LeaseState.ACTIVE, *devices: str, **changes: Any) -> Lease:
    """A lease of GPU-0, in its state since a second."""
    values: dict[str, Any] = {
        "id": "lease1",
        "host": HOST,
        "owner": "ada",
        "server": "",
        "devices": devices or ("GPU-0",),
        "state": state,
        "reason": "stopped by ada",
        "claimant": CLAIMANT,
        "created_at": ago(60),
        "state_since": ago(1),
    }
    return Lease(**values | changes)


def ticket(request: SpawnRequest | int = 1, **changes: Any) -> Ticket:
    """A place in line for that many GPUs, asked for a minute ago by whoever its id names."""
    request = SpawnRequest(request) if isinstance(request, int) else request
    owner = changes.get("owner", changes.get("id", "grace"))
    values: dict[str, Any] = {
        "id": owner,
        "host": HOST,
        "owner": owner,
        "server": "",
        "request": request,
        "image": "base",
        "asked_at": ago(60),
        "queued_at": ago(60),
        "state": TicketState.WAITING,
        "state_since": ago(60),
        "reason": "waits",
    }
    return Ticket(**values | changes)


def container(state: ContainerState = ContainerState.RUNNING, **changes: Any) -> Container:
    """The container of ``lease()``."""
    values: dict[str, Any] = {
        "id": "c" * 64,
        "name": "jupyter-ada",
        "state": state,
        "lease_id": "lease1",
        "owner": "ada",
        "devices": ("GPU-0",),
    }
    return Container(**values | changes)
