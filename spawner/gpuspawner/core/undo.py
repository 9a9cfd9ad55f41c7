"""Taking back what was decided.

How it was before stands as ``undo`` in the evidence of its event: the drain or the pin that stood on the
device, and the ends that sessions had. It can be taken back as long as it stands as it was decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .claims import Drain, Holder, Pin
from .drains import is_over
from .model import Event, Lease
from .sessions import LEAST_NOTICE
from .words import mark

DRAIN_KINDS = ("device.drained", "device.undrained")
PIN_KINDS = ("device.pinned", "device.unpinned")
NEVER = mark("This cannot be undone.")

Limits = Mapping[str, tuple[datetime | None, str]]
"""By lease, the latest end that is possible (None: any), and what stands there, as a sentence."""


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A session that gets back the end that it had."""

    lease: Lease
    """As it is now."""
    ends_at: datetime | None
    end_reason: str

    @property
    def goes_on(self) -> bool:
        """Whether that is later than the end it has now."""
        now_has = self.lease.ends_at
        return self.ends_at is None or (now_has is not None and self.ends_at > now_has)


@dataclass(frozen=True, slots=True)
class Undoing:
    """What taking back an event comes to."""

    event: Event
    device: str = ""
    """UUID; empty where it is about no device."""
    drain: Drain | None = None
    """The drain that stands on it afterwards, where the event was about one; None: it is given out again."""
    pin: Pin | None = None
    """The same, for whom it is kept."""
    ends: tuple[GivenBack, ...] = ()
    lost: tuple[str, ...] = ()
    """Why sessions that the event was about too stay as they are, as sentences."""
    why_not: str = ""
    """Why nothing can be taken back, as a sentence; empty where it can."""


@dataclass(frozen=True, slots=True)
class Around:
    """What is there now."""

    now: datetime
    drains: Iterable[Drain]
    leases: Mapping[str, Lease]
    """All live ones, by id."""
    newer: Mapping[tuple[str, ...], Mapping[str, int]]
    """By kinds (:data:`DRAIN_KINDS`, :data:`PIN_KINDS`), and then by device, the newest event."""
    limits: Limits


def can_ever(event: Event) -> bool:
    """Whether an event is one of those that can be taken back for a while."""
    return isinstance(event.data.get("undo"), dict)


def plan_undo(event: Event, around: Around) -> Undoing:
    """Say what taking back an event comes to now."""
    told = event.data.get("undo")
    if not isinstance(told, dict):
        return Undoing(event, why_not=NEVER)
    device = event.device or ""
    drain = read_drain(device, told["drain"]) if told.get("drain") else None
    pin = read_pin(device, told["pin"]) if told.get("pin") else None
    ends, lost = _plan_ends(told.get("ends") or (), around)
    why_not = ""
    if "drain" in told:
        why_not = _why_not_drain(event, drain, around)
    elif "pin" in told:
        why_not = _why_newer(event, PIN_KINDS, around)
    elif not ends:
        why_not = lost[0] if lost else NEVER
    return Undoing(event, device, drain, pin, ends, lost, why_not)


def _why_newer(event: Event, kinds: tuple[str, ...], around: Around) -> str:
    newest = around.newer.get(kinds, {}).get(event.device or "", 0)
    since = mark("Something else was decided on this GPU since.")
    return since if newest > (event.id or 0) else ""


def _why_not_drain(event: Event, drain: Drain | None, around: Around) -> str:
    newer = _why_newer(event, DRAIN_KINDS, around)
    if newer:
        return newer
    if drain is not None and is_over(drain, around.now):
        return mark("The time for which it was drained is over.")
    drained = any(one.device == event.device and not is_over(one, around.now) for one in around.drains)
    if event.kind == DRAIN_KINDS[0] and not drained:
        return mark("It is not drained any more.")
    return ""


def _plan_ends(
    told: Iterable[Mapping[str, Any]], around: Around
) -> tuple[tuple[GivenBack, ...], tuple[str, ...]]:
    ends, lost = [], []
    for one in told:
        lease = around.leases.get(one["lease"])
        why_not = _why_not_end(lease, one, around)
        if lease is None or why_not:
            lost.append(why_not)
        else:
            ends.append(GivenBack(lease, _read_time(one["before"]), one["reason"]))
    return tuple(ends), tuple(dict.fromkeys(lost))


def _why_not_end(lease: Lease | None, told: Mapping[str, Any], around: Around) -> str:
    if lease is None or lease.state.ending or lease.warned == 0:
        return mark("The session has ended, or its end has come.")
    before, now_has = _read_time(told["before"]), lease.ends_at
    if now_has != _read_time(told["ends_at"]):
        return mark("Another end was set for the session since.")
    if before is not None and before <= around.now:
        return mark("The end that the session had before has passed too.")
    shorter = before is not None and (now_has is None or before < now_has)
    if shorter and before is not None and before - around.now < LEAST_NOTICE:
        return mark("Its person would not have the 15 min of the first warning any more.")
    limit, reason = around.limits.get(lease.id, (None, ""))
    if not shorter and limit is not None and (before is None or before > limit):
        return mark(f"The session cannot go on beyond {limit:%Y-%m-%d %H:%M} UTC now: {reason}")
    return ""


# -- what stands in the event -------------------------------------------------------------------------------


def tell_drain(drain: Drain | None) -> dict[str, object] | None:
    """A drain as evidence; None for none."""
    if drain is None:
        return None
    until = drain.until.isoformat() if drain.until else None
    return {
        "reason": drain.reason,
        "actor": drain.actor,
        "since": drain.since.isoformat(),
        "until": until,
        "now": drain.now,
    }


def read_drain(device: str, told: Mapping[str, Any]) -> Drain:
    """The drain that :func:`tell_drain` told of."""
    since = datetime.fromisoformat(told["since"])
    return Drain(device, told["reason"], told["actor"], since, _read_time(told["until"]), told["now"])


def tell_pin(pin: Pin | None) -> dict[str, object] | None:
    """For whom a device was kept, as evidence; None for nobody."""
    if pin is None:
        return None
    return {
        "kind": pin.holder.kind,
        "name": pin.holder.name,
        "reason": pin.reason,
        "actor": pin.actor,
        "since": pin.since.isoformat(),
    }


def read_pin(device: str, told: Mapping[str, Any]) -> Pin:
    """What :func:`tell_pin` told of."""
    holder = Holder(told["kind"], told["name"])
    return Pin(device, holder, told["reason"], told["actor"], datetime.fromisoformat(told["since"]))


def tell_end(before: Lease, after: Lease) -> dict[str, object]:
    """The end that a session had, and the one that it got, as evidence."""
    return {
        "lease": before.id,
        "ends_at": after.ends_at.isoformat() if after.ends_at else None,
        "before": before.ends_at.isoformat() if before.ends_at else None,
        "reason": before.end_reason,
    }


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
