"""Who uses a card without a lease for it."""

from __future__ import annotations

from collections.abc import Sequence

from .model import Container, ContainerState, Device, Lease, Sample
from .words import mark


def name_stranger(
    device: Device, sample: Sample | None, leases: Sequence[Lease], containers: Sequence[Container]
) -> str | None:
    """Name, in words, who is on a card that no lease puts there; None when nobody is.

    Args:
        device: The card.
        sample: The newest look at it; None when there is none, which names nobody.
        leases: All live leases.
        containers: Every container of the host that may use a GPU, ours included.
    """
    uuids = {device.uuid, device.parent} - {None}
    lease_ids = {lease.id for lease in leases if uuids & set(lease.devices)}
    for container in containers:
        if container.state is not ContainerState.RUNNING or container.lease_id in lease_ids:
            continue
        if uuids & set(container.devices) or "all" in container.devices:
            return mark(f"container {container.name!r}, which has no lease for it")
    explained = {c.id for c in containers if c.lease_id in lease_ids}
    for process in (sample.processes if sample else None) or ():
        if process.container_id not in explained:
            if process.container_id:
                return mark(f"process {process.pid} in container {process.container_id[:12]}")
            return mark(f"process {process.pid} on the host")
    return None
