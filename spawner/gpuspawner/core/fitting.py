"""Which devices a request could be given at all, whoever holds them now."""

from __future__ import annotations

from .images import suits_image
from .model import Device, SpawnRequest

_SLICE = " MIG "
"""What stands in the name of a MIG instance between the model of its card and its profile."""


def suits(device: Device, request: SpawnRequest) -> bool:
    """Whether a device is of the kind that is asked for; a property that is not known does not suit.

    Whole GPUs are wanted unless the request is for a slice, or names one as its model.
    """
    if request.model not in (None, device.model):
        return False
    if request.slice_bytes is not None:
        if device.parent is None or device.memory_bytes < request.slice_bytes:
            return False
    elif device.parent is not None and request.model is None:
        return False
    if request.memory_bytes is not None and device.memory_bytes < request.memory_bytes:
        return False
    least, has = request.compute_capability, device.compute_capability
    if least is not None and (has is None or has < least):
        return False
    return request.needs is None or suits_image(request.needs, device)


def may_use(device: Device, cards: frozenset[str] | None, slices: frozenset[str] | None) -> bool:
    """Whether a device is among those that may be used; None allows all.

    A slice may be used where one of its names is allowed, and its profile is.
    """
    if cards is not None and cards.isdisjoint(names_of(device)):
        return False
    return slices is None or device.parent is None or profile_of(device) in slices


def names_of(device: Device) -> frozenset[str]:
    """By what a device may be allowed: its UUID and model, and of a slice also its card's."""
    card = device.model.partition(_SLICE)[0]
    return frozenset({device.uuid, device.model, card, device.parent or card})


def profile_of(device: Device) -> str:
    """The profile of a MIG instance, such as ``1g.5gb``; empty for a whole GPU."""
    return device.model.partition(_SLICE)[2]
