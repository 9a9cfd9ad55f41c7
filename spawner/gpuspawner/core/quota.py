"""What a person may have: judged against their allowance, each refusal with the rule it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .errors import RefusalKind, Refused
from .fitting import may_use, suits
from .model import Device, DeviceRecord, Lease, SpawnRequest
from .policy import Allowance
from .words import mark


def judge_quota(request: SpawnRequest, owner: str, live: Iterable[Lease], allowance: Allowance) -> None:
    """Let a request pass if the person may hold that many devices.

    Leases that are being released do not count against the person: the wait is not theirs.

    Raises:
        Refused: ``NOT_ALLOWED``, with the limit that forbids it.
    """
    judge_server(request, allowance)
    most = allowance.gpus_per_person
    holding = sum(len(lease.devices) for lease in live if lease.owner == owner and not lease.state.ending)
    if request.gpus and most.value is not None and holding + request.gpus > most.value:
        way_out = mark(" Stop another server of yours first.") if holding else ""
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You hold {holding} GPU{'' if holding == 1 else 's'} already and asked for {request.gpus} more; "
            f"one person may hold at most {most.value}{most.because}.{way_out}",
        )


def judge_server(request: SpawnRequest, allowance: Allowance) -> None:
    """Let a request pass if one server may have that many devices.

    Raises:
        Refused: ``NOT_ALLOWED``, with the limit that forbids it.
    """
    most = allowance.gpus_per_server
    if most.value is not None and request.gpus > most.value:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"You asked for {request.gpus} GPUs; a server may have at most {most.value}{most.because}.",
        )


def why_no_gpus(allowance: Allowance) -> str | None:
    """Say why a person may have no GPU at all, whatever is here, or None if they may."""
    for limit in (allowance.gpus_per_server, allowance.gpus_per_person):
        if limit.value == 0:
            return mark(f"not allowed to you: {limit.rule} allows 0 GPUs")
    return None


def why_no_more(holding: int, allowance: Allowance) -> str | None:
    """Say why a person may have no GPU beside those that they hold in other servers, or None if they may."""
    most = allowance.gpus_per_person
    if most.value is None or holding < most.value or not holding:
        return None
    return mark(
        f"You hold {holding} GPU{'' if holding == 1 else 's'} in other servers, and one person may hold at "
        f"most {most.value}{most.because}. Stop one of them to get a GPU here."
    )


def find_most_gpus(allowance: Allowance, total: int, holding: int = 0) -> int:
    """The most GPUs that one more server of a person may have.

    Args:
        allowance: What they may use.
        total: How many there are of one model.
        holding: GPUs in their other servers.
    """
    server, person = allowance.gpus_per_server.value, allowance.gpus_per_person.value
    limits = [total, total if server is None else server, total if person is None else person - holding]
    return max(min(limits), 0)


def choose_image(request: SpawnRequest, catalogue: Sequence[str], allowance: Allowance) -> str:
    """The name of the image that a request gets: the one that was chosen, else the first allowed one.

    Raises:
        Refused: ``NOT_ALLOWED``, with the limit that forbids it.
    """
    if request.image is not None:
        reason = why_not_image(request.image, allowance)
        if reason:
            raise Refused(RefusalKind.NOT_ALLOWED, f"The image {request.image!r} is {reason}.")
        return request.image
    for name in catalogue:
        if why_not_image(name, allowance) is None:
            return name
    raise Refused(RefusalKind.NOT_ALLOWED, f"No image is allowed to you{allowance.images.because}.")


def why_not_image(name: str, allowance: Allowance) -> str | None:
    """Say why a person may not use an image, or None if they may."""
    limit = allowance.images
    return None if limit.value is None or name in limit.value else _not_among(limit.value, limit.rule)


def why_not_device(device: Device, allowance: Allowance) -> str | None:
    """Say why a person may not use a device, or None if they may."""
    cards, slices = allowance.cards, allowance.slices
    if not may_use(device, cards.value, None):
        return _not_among(cards.value or frozenset(), cards.rule)
    if not may_use(device, None, slices.value):
        return _not_among(slices.value or frozenset(), slices.rule)
    return None


def judge_devices(
    request: SpawnRequest, inventory: Sequence[DeviceRecord], allowance: Allowance
) -> Sequence[DeviceRecord]:
    """The devices among which a request may choose.

    What could never be served to anybody passes unchanged, since that is the better reason.

    Raises:
        Refused: ``NOT_ALLOWED``: there are enough, and not of those that the person may use.
    """
    wanted = [record for record in inventory if suits(record.device, request)]
    reasons = {record.device.uuid: why_not_device(record.device, allowance) for record in wanted}
    allowed = [record for record in inventory if reasons.get(record.device.uuid, "") is None]
    if request.gpus == 0 or _most_of_one_model(wanted) < request.gpus:
        return inventory
    if _most_of_one_model(allowed) >= request.gpus:
        return allowed
    if request.needs is not None:
        mine = [record for record in inventory if why_not_device(record.device, allowance) is None]
        plain = replace(request, needs=None)
        if _most_of_one_model([one for one in mine if suits(one.device, plain)]) >= request.gpus:
            return mine  # it is the image that rules these out, and that is the better reason
    reason = next(reason for reason in reasons.values() if reason)
    if not allowed:
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            f"The GPUs{f' of model {request.model}' if request.model else ''} that are here are {reason}.",
        )
    raise Refused(
        RefusalKind.NOT_ALLOWED,
        f"You asked for {request.gpus} GPUs{f' of model {request.model}' if request.model else ''}; "
        "of one model you may use "
        f"{_most_of_one_model(allowed)} at most, the others are {reason}.",
    )


def _most_of_one_model(records: Sequence[DeviceRecord]) -> int:
    return max(Counter(record.device.model for record in records).values(), default=0)


def _not_among(allowed: frozenset[str], rule: str) -> str:
    listed = ", ".join(sorted(allowed))
    return mark(f"not allowed to you: {rule} allows {listed or 'nothing'}")
