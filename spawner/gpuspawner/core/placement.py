"""Which devices a request gets, or why it gets none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from .claims import Ticket
from .errors import RefusalKind, Refused
from .fitting import may_use, suits
from .model import Device, DeviceRecord, Health, SpawnRequest
from .policy import Allowance
from .quota import why_not_device
from .topology import choose_set
from .words import describe_bytes, describe_duration

STALE_AFTER = timedelta(seconds=30)
"""Age from which a report of the agent is not believed, unless a site says otherwise."""


HELD = "held by a lease"
"""The obstacle that time removes."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is of one model, for the start page."""

    model: str
    memory_bytes: int
    """Memory of one such device."""
    total: int
    """Devices of this model that the installation has."""
    free: int
    """Of these, how many could be given out now."""
    barred: str | None = None
    """Why the person may use none of them; the counts are then of all."""
    sliced: bool = False
    """Whether these are slices of cards, and no whole ones."""
    capability: tuple[int, int] | None = None
    """Compute capability of the model; None when that is not known."""
    until: datetime | None = None
    """When a session with one of them that is started now must end, if that is before the person's own limit;
    of what is reserved for others: until when."""
    because: str = ""
    """Why it must end then."""
    waits: str | None = None
    """What a request for one of them would wait for; None when it would be granted now."""
    ahead: int = 0
    """How many would then come before it."""
    reserved: str | None = None
    """Of what is free: the title of the reservation that keeps it for others."""
    soonest: datetime | None = None
    """When its turn may come at the earliest; None when nothing can be said."""
    latest: datetime | None = None
    """When at the latest; None when that cannot be bounded."""


def why_not_grantable(
    record: DeviceRecord, held: Collection[str], *, now: datetime, stale_after: timedelta
) -> str | None:
    """Say why a device cannot be given out now, or None when it can.

    Args:
        record: The device and what was last learned of it.
        held: UUIDs in live leases.
        now: The present.
        stale_after: Age from which what was learned is no longer believed.
    """
    if record.device.uuid in held:
        return HELD
    if now - record.seen_at > stale_after:
        return f"not seen for {describe_duration(now - record.seen_at)}"
    if record.health is not Health.OK:
        return f"{record.health.value}: {record.health_reason}"
    if record.occupied_by:
        return f"in use by others: {record.occupied_by}"
    return None


def survey(
    inventory: Sequence[DeviceRecord],
    held: Collection[str],
    allowance: Allowance,
    *,
    now: datetime,
    stale_after: timedelta,
) -> tuple[Offer, ...]:
    """Count what a person may use and what of it is free, by model, in the order of the inventory."""
    by_model: dict[str, list[DeviceRecord]] = {}
    for record in inventory:
        by_model.setdefault(record.device.model, []).append(record)
    offers = []
    for model, everything in by_model.items():
        allowed = [record for record in everything if why_not_device(record.device, allowance) is None]
        records = allowed or everything
        free = [r for r in records if why_not_grantable(r, held, now=now, stale_after=stale_after) is None]
        barred = None if allowed else why_not_device(everything[0].device, allowance)
        device = records[0].device
        sliced = device.parent is not None
        capability = device.compute_capability
        offers.append(Offer(model, device.memory_bytes, len(records), len(free), barred, sliced, capability))
    return tuple(offers)


def require_possible(
    request: SpawnRequest, inventory: Sequence[DeviceRecord], *, now: datetime, stale_after: timedelta
) -> None:
    """Let a request pass that this installation could serve once enough devices are free.

    Raises:
        Refused: ``NO_INVENTORY``: the state of the devices is not known; ``NEVER``: it has too few of them.
    """
    if request.gpus == 0:
        return
    unknown = why_nothing_is_known(inventory, now=now, stale_after=stale_after)
    if unknown is not None:
        raise Refused(RefusalKind.NO_INVENTORY, unknown)
    never = why_never(request, inventory)
    if never is not None:
        raise Refused(RefusalKind.NEVER, never)


def why_never(request: SpawnRequest, inventory: Sequence[DeviceRecord]) -> str | None:
    """Say why these devices could not serve a request even if all were free; None when they could."""
    models = {record.device.model for record in inventory}
    if request.model is not None and request.model not in models:
        known = ", ".join(sorted(models))
        return f"There is no GPU of model {request.model!r} here; there are: {known}."
    totals = Counter(record.device.model for record in inventory if suits(record.device, request))
    most = max(totals.values(), default=0)
    if request.gpus > most:
        return f"{_count(request, ' of one model')} asked for; this server has {most} at most."
    return None


def list_hopeless(tickets: Iterable[Ticket], inventory: Sequence[DeviceRecord]) -> dict[str, str]:
    """By ticket, why it can never be served with these devices; those that can be are left out."""
    known: dict[object, str | None] = {}
    found = {}
    for ticket in tickets:
        terms = ticket.terms
        kind = (replace(ticket.request, image=None, session=None), terms.cards, terms.slices)
        if kind not in known:
            usable = [one for one in inventory if may_use(one.device, terms.cards, terms.slices)]
            known[kind] = why_never(ticket.request, usable)
        reason = known[kind]
        if reason is not None:
            found[ticket.id] = reason
    return found


def describe_kind(request: SpawnRequest, otherwise: str = "") -> str:
    """What kind of device is asked for, as it follows on *GPU*: `` of model T4 with at least 16 GiB``."""
    model = f" of model {request.model}" if request.model else otherwise
    needs = [f"at least {describe_bytes(request.memory_bytes)} of memory"] if request.memory_bytes else []
    if request.compute_capability:
        needs.append("compute capability {}.{} or higher".format(*request.compute_capability))
    return model + (f" with {' and '.join(needs)}" if needs else "")


def _count(request: SpawnRequest, otherwise: str = "") -> str:
    if request.slice_bytes is not None:
        size = describe_bytes(request.slice_bytes)
        return f"A slice of at least {size}{describe_kind(request)} was"
    return (
        f"{request.gpus} GPU{'s' if request.gpus > 1 else ''}{describe_kind(request, otherwise)} "
        f"{'were' if request.gpus > 1 else 'was'}"
    )


class Shortage(NamedTuple):
    """How the devices stand that a request could ever be given: too few of them are free."""

    total: int
    held: int
    """In use."""
    kept: int
    """Free, and kept for somebody else."""
    unfit: int
    """Out of service: not well, drained, in use without a lease, or their state is not known."""


def describe_shortage(request: SpawnRequest, shortage: Shortage) -> str:
    """Say what a request waits for."""
    total, held, kept, unfit = shortage
    if request.slice_bytes is not None:
        thing = f"a slice of at least {describe_bytes(request.slice_bytes)}{describe_kind(request)}"
        things = "slice is" if total == 1 else "slices are"
    else:
        thing = f"{request.gpus} GPU{'s' if request.gpus > 1 else ''}{describe_kind(request)}"
        things = "GPU is" if total == 1 else "GPUs are"
    parts = [f"{held} in use"] if held else []
    parts += [f"{kept} kept for others"] if kept else []
    parts += [f"{unfit} out of service"] if unfit else []
    state = f" ({', '.join(parts)})" if parts else ""
    free = total - held - kept - unfit
    return f"You asked for {thing}; {free} of {total} {things} free now{state}."


def pick(count: int, stocks: Mapping[str, Sequence[Device]]) -> tuple[Device, ...]:
    """Choose devices from what could be given out.

    Several devices are always of one model. Among models that can serve, the one with the least memory
    for a slice, or else with the fewest devices to spare, is used, so that the larger stock stays whole for
    larger requests; within it :func:`gpuspawner.core.topology.choose_set` chooses.

    Args:
        count: How many.
        stocks: Devices by model; at least one model has enough.
    """
    serving = [devices for devices in stocks.values() if len(devices) >= count]
    smallest = min(serving, key=lambda devices: (_slice_memory(devices[0]), len(devices)))
    return choose_set(smallest, count)


def _slice_memory(device: Device) -> int:
    return 0 if device.parent is None else device.memory_bytes


def why_nothing_is_known(
    inventory: Sequence[DeviceRecord], *, now: datetime, stale_after: timedelta
) -> str | None:
    """Say why the state of all devices is unknown, and what to do; None when some of it is known."""
    if not inventory:
        return "No GPU is known on this server yet. The administrator should check that the GPU agent runs."
    newest = max(inventory, key=lambda r: r.seen_at)
    age = now - newest.seen_at
    if age <= stale_after:
        return None
    if newest.health is not Health.OK:
        return (
            f"The GPUs cannot be given out: none has answered for {describe_duration(age)} "
            f"({newest.health_reason}). The administrator should check the driver and the GPU agent."
        )
    return (
        "The GPUs cannot be given out because their state is not known: the GPU agent last reported "
        f"{describe_duration(age)} ago. The administrator should check that it runs."
    )
