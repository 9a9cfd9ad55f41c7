"""Which devices a request gets, or why it gets none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .errors import RefusalKind, Refused
from .model import DeviceRecord, Health, SpawnRequest
from .policy import Allowance
from .quota import why_not_device
from .words import describe_duration

STALE_AFTER = timedelta(seconds=30)
"""Age from which a report of the agent is not believed, unless a site says otherwise."""


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
        return "held by a lease"
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
        offers.append(Offer(model, records[0].device.memory_bytes, len(records), len(free), barred))
    return tuple(offers)


def choose_devices(
    request: SpawnRequest,
    inventory: Sequence[DeviceRecord],
    held: Collection[str],
    *,
    now: datetime,
    stale_after: timedelta,
) -> tuple[str, ...]:
    """Choose the devices for a request.

    Several devices are always of one model. Among models that can serve the request, the one with
    the fewest devices to spare is used, so that the larger stock stays whole for larger requests.

    Args:
        request: What is wanted.
        inventory: Every device of the host, with what was last learned of it.
        held: UUIDs in live leases.
        now: The present.
        stale_after: Age from which an inventory is no longer believed.

    Returns:
        UUIDs in inventory order; empty for a request without GPUs.

    Raises:
        Refused: With the kind and a sentence that says why.
    """
    if request.gpus == 0:
        return ()
    unknown = why_nothing_is_known(inventory, now=now, stale_after=stale_after)
    if unknown is not None:
        raise Refused(RefusalKind.NO_INVENTORY, unknown)
    totals = Counter(r.device.model for r in inventory)
    _require_possible(request, totals)
    grantable: dict[str, list[str]] = {}
    obstacles: list[str] = []
    for record in inventory:
        if request.model not in (None, record.device.model):
            continue
        obstacle = why_not_grantable(record, held, now=now, stale_after=stale_after)
        if obstacle is None:
            grantable.setdefault(record.device.model, []).append(record.device.uuid)
        else:
            obstacles.append(obstacle)
    serving = [uuids for uuids in grantable.values() if len(uuids) >= request.gpus]
    if not serving:
        raise Refused(RefusalKind.NOT_NOW, _not_now(request, grantable, totals, obstacles))
    return tuple(min(serving, key=len)[: request.gpus])


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


def _require_possible(request: SpawnRequest, totals: Counter[str]) -> None:
    if request.model is not None and request.model not in totals:
        known = ", ".join(sorted(totals))
        raise Refused(
            RefusalKind.NEVER, f"There is no GPU of model {request.model!r} here; there are: {known}."
        )
    most = totals[request.model] if request.model else max(totals.values())
    if request.gpus > most:
        of_model = f" of model {request.model}" if request.model else " of one model"
        raise Refused(
            RefusalKind.NEVER,
            f"{request.gpus} GPUs{of_model} were asked for; this server has {most} at most.",
        )


def _not_now(
    request: SpawnRequest, grantable: dict[str, list[str]], totals: Counter[str], obstacles: list[str]
) -> str:
    total = totals[request.model] if request.model else totals.total()
    free = sum(len(uuids) for uuids in grantable.values())
    of_model = f" of model {request.model}" if request.model else ""
    gpus = "GPU is" if total == 1 else "GPUs are"
    held = obstacles.count("held by a lease")
    unfit = len(obstacles) - held
    parts = [f"{held} in use"] if held else []
    parts += [f"{unfit} out of service"] if unfit else []
    state = f" ({', '.join(parts)})" if parts else ""
    return (
        f"You asked for {request.gpus} GPU{'s' if request.gpus > 1 else ''}{of_model}; "
        f"{free} of {total} {gpus} free now{state}."
    )
