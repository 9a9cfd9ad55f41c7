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
from .images import suits_image, why_unsuited
from .model import Device, DeviceRecord, Health, SpawnRequest
from .policy import Allowance
from .quota import why_not_device
from .topology import choose_set
from .words import describe_bytes, describe_duration, mark

STALE_AFTER = timedelta(seconds=30)
"""Age from which a report of the agent is not believed, unless a site says otherwise."""


HELD = mark("held by a lease")
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
    driver: str | None = None
    """Version of the driver; None when that is not known."""
    until: datetime | None = None
    """When a session with one of them that is started now must end, if that is before the person's own limit;
    of what is reserved for others: until when."""
    because: str = ""
    """Why it must end then."""
    waits: str | None = None
    """What a request for one of them would wait for; None when it would be granted now."""
    ahead: int = 0
    """How many would then come before it."""
    out_of_service: bool = False
    """Whether it waits because all of them are out of service, rather than in use."""
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
        return mark(f"not seen for {describe_duration(now - record.seen_at)}")
    if record.health is not Health.OK:
        return f"{record.health.value}: {record.health_reason}"
    if record.occupied_by:
        return mark(f"in use by others: {record.occupied_by}")
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
        offers.append(
            Offer(
                model,
                device.memory_bytes,
                len(records),
                len(free),
                barred,
                device.parent is not None,
                device.compute_capability,
                device.driver,
            )
        )
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
        return mark(f"There is no GPU of model {request.model!r} here; there are: {known}.")
    totals = Counter(record.device.model for record in inventory if suits(record.device, request))
    most = max(totals.values(), default=0)
    if request.gpus <= most:
        return None
    return why_image_unfit(request, inventory) or _describe_lack(request, most)


def why_image_unfit(request: SpawnRequest, inventory: Sequence[DeviceRecord]) -> str | None:
    """Say why an image runs on too few of the devices that are otherwise right; None when it is not that."""
    needs = request.needs
    if needs is None or request.gpus == 0:
        return None
    plain = replace(request, needs=None)
    right = [record.device for record in inventory if suits(record.device, plain)]
    if max(Counter(device.model for device in right).values(), default=0) < request.gpus:
        return None
    fitting = Counter(device.model for device in right if suits_image(needs, device))
    most = max(fitting.values(), default=0)
    if most >= request.gpus:
        return None
    why = why_unsuited(needs, [device for device in right if not suits_image(needs, device)])
    if most == 0:
        return why
    return mark(
        f"You asked for {request.gpus} GPUs of one model; the image runs on "
        f"{most} {'GPU' if most == 1 else 'GPUs'} at most. {why}"
    )


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
    kind = mark(f" of model {request.model}") if request.model else otherwise
    needs = []
    if request.memory_bytes:
        needs.append(mark(f"at least {describe_bytes(request.memory_bytes)} of memory"))
    if request.compute_capability:
        version = "{}.{}".format(*request.compute_capability)
        needs.append(mark(f"compute capability {version} or higher"))
    if not needs:
        return kind
    listed_needs = " and ".join(needs)
    return mark(f"{kind} with {listed_needs}") if kind else mark(f" with {listed_needs}")


def _describe_lack(request: SpawnRequest, most: int) -> str:
    if request.slice_bytes is not None:
        size, kind = describe_bytes(request.slice_bytes), describe_kind(request)
        return mark(f"A slice of at least {size}{kind} was asked for; this server has {most} at most.")
    kind = describe_kind(request, mark(" of one model"))
    if request.gpus == 1:
        return mark(f"1 GPU{kind} was asked for; this server has {most} at most.")
    return mark(f"{request.gpus} GPUs{kind} were asked for; this server has {most} at most.")


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
    parts = [mark(f"{held} in use")] if held else []
    parts += [mark(f"{kept} kept for others")] if kept else []
    parts += [mark(f"{unfit} out of service")] if unfit else []
    because = f" ({', '.join(parts)})" if parts else ""
    free, kind = total - held - kept - unfit, describe_kind(request)
    if request.slice_bytes is not None:
        size = describe_bytes(request.slice_bytes)
        return mark(
            f"You asked for a slice of at least {size}{kind}; "
            f"{free} of {total} {'slice is' if total == 1 else 'slices are'} free now{because}."
        )
    return mark(
        f"You asked for {request.gpus} GPU{'s' if request.gpus > 1 else ''}{kind}; "
        f"{free} of {total} {'GPU is' if total == 1 else 'GPUs are'} free now{because}."
    )


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
        return mark(
            "No GPU is known on this server yet. The administrator should check that the GPU agent runs."
        )
    newest = max(inventory, key=lambda r: r.seen_at)
    age = now - newest.seen_at
    if age <= stale_after:
        return None
    if newest.health is not Health.OK:
        return mark(
            f"The GPUs cannot be given out: none has answered for {describe_duration(age)} "
            f"({newest.health_reason}). The administrator should check the driver and the GPU agent."
        )
    return mark(
        "The GPUs cannot be given out because their state is not known: the GPU agent last reported "
        f"{describe_duration(age)} ago. The administrator should check that it runs."
    )
