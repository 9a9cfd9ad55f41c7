"""Devices that an administrator took out of use, or keeps for somebody.

What is said of a card holds for its slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from .claims import Drain, Pin
from .model import Device, DeviceRecord, Lease
from .words import mark

WITHOUT_CARD = "cpu-only"
"""Stands where a device stands, for servers without a GPU: while it is drained, none of them begins."""
NOW_GRACE = timedelta(minutes=1)
"""So long a session goes on whose card is drained now: its person is told, and can save."""


def is_over(drain: Drain, now: datetime) -> bool:
    """Whether its time is over; such a drain says nothing any more, whether or not it was removed."""
    return drain.until is not None and drain.until <= now


def find_drain(device: Device, drains: Iterable[Drain], now: datetime) -> Drain | None:
    """The drain under which a device is now; of its own and that of its card, the one that lasts longer."""
    names = {device.uuid, device.parent}
    found = [drain for drain in drains if drain.device in names and not is_over(drain, now)]
    return max(found, key=lambda drain: (drain.until is None, drain.until or now), default=None)


def find_stop(drains: Iterable[Drain], now: datetime) -> Drain | None:
    """The drain under which servers without a GPU are now; None while they may begin."""
    return next((one for one in drains if one.device == WITHOUT_CARD and not is_over(one, now)), None)


def find_pin(device: Device, pins: Iterable[Pin]) -> Pin | None:
    """Whom a device is kept for: what is said of a slice goes before what is said of its card."""
    by_device = {pin.device: pin for pin in pins}
    return by_device.get(device.uuid) or by_device.get(device.parent or "")


def why_drained(drain: Drain, now: datetime) -> str:
    """Say why a device is drained: ``drained by root until 18:00 UTC: fan is replaced``."""
    if drain.until is None:
        return mark(f"drained by {drain.actor}: {drain.reason}")
    return mark(f"drained by {drain.actor} until {describe_time(drain.until, now)}: {drain.reason}")


def why_kept(pin: Pin) -> str:
    """Say for whom a device is kept: ``kept for group `vision` by root: their grant paid it``."""
    return mark(f"kept for {pin.holder} by {pin.actor}: {pin.reason}")


def describe_time(at: datetime, now: datetime) -> str:
    """A time for people, in UTC; with its date when that is not today's."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def find_family(device: str, records: Iterable[DeviceRecord]) -> frozenset[str]:
    """A device and, for a card, all its slices, as UUIDs."""
    return frozenset({device, *(r.device.uuid for r in records if r.device.parent == device)})


def find_card_family(device: str, records: Sequence[DeviceRecord]) -> frozenset[str]:
    """The whole physical card that a device is, or is a part of, with all its parts, as UUIDs."""
    parents = {r.device.uuid: r.device.parent for r in records}
    return find_family(parents.get(device) or device, records)


def choose_end(lease: Lease, drain: Drain, now: datetime) -> tuple[datetime, str] | None:
    """When a session must end because its device is drained now, and why; None when it ends before."""
    ends_at = now + NOW_GRACE
    if lease.state.ending or (lease.ends_at is not None and lease.ends_at <= ends_at):
        return None
    return ends_at, mark(f"card is drained by {drain.actor}: {drain.reason}")
