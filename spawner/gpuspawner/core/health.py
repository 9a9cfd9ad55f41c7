"""Whether a device is fit for work, judged from what the driver says.

Sources: NVIDIA's XID catalogue and NVML's field 230 (``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .faults import CURES, MOST_EVIDENCE, Cause, Fault, choose_worse, continue_check
from .model import DeviceReading, DeviceRecord, Health
from .words import describe_duration, mark

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Faults of the program that ran, not of the card."""

KNOWN_XIDS = {
    48: mark("uncorrectable memory error"),
    64: mark("a memory repair could not be recorded"),
    74: mark("NVLink error"),
    79: mark("the card has fallen off the bus"),
    95: mark("uncontained memory error"),
    119: mark("the card's system processor does not answer"),
    120: mark("error of the card's system processor"),
    140: mark("unrecovered memory error"),
}
"""Faults of the card, in words. One that is neither here nor a program's is held against the card too."""

RECOVERY_ACTIONS = {
    1: mark("reset the GPU"),
    2: mark("reboot the host"),
    3: mark("drain peer-to-peer work"),
    4: mark("drain and reset"),
}
"""What NVML asks for in field 230; 0 is *nothing to do*."""

DRIVER_REPLACED = mark(
    "the NVIDIA driver was replaced while it was in use; "
    "reboot the host, or reload the driver and restart the GPU agent"
)
"""NVML's error 18, in words."""

_UNKNOWN_CAUSES = frozenset({Cause.UNLISTED, Cause.SILENT})
"""Causes of which no fault follows: the state of the device is only not known."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a look says of a device's condition."""

    health: Health
    reason: str
    """Empty for OK."""
    standing_fault: str | None = None
    """A hard fault; it stays until an administrator clears it."""
    fault: Fault | None = None
    """Why it is out of service, with the evidence; None when it is not."""


def judge_health(reading: DeviceReading, standing_fault: str | None) -> tuple[Health, str]:
    """Judge one look by itself, without what was seen before it.

    Args:
        reading: The newest look at the device.
        standing_fault: A fault found earlier that stays until an administrator clears it, or None.

    Returns:
        The health and its reason; the reason is empty for OK.
    """
    wrongs = [reason for _, reason, _ in _read_wrongs(reading)]
    fault = _join(standing_fault, find_standing_fault(reading))
    if fault is not None:
        wrongs.append(fault)
    if wrongs:
        return Health.FAULTY, "; ".join(wrongs)
    silence = _read_silence(reading)
    return (Health.OK, "") if silence is None else (Health.UNKNOWN, silence)


def find_standing_fault(reading: DeviceReading) -> str | None:
    """Name the fault that must outlive its reading: a hard XID is told once, and time does not cure it."""
    hard = list(dict.fromkeys(xid for xid in reading.xids if xid not in APPLICATION_XIDS))
    xids = ", ".join(map(_name_xid, hard))
    return mark(f"hardware or driver fault, XID {xids}") if hard else None


def judge_look(
    reading: DeviceReading, old: DeviceRecord | None, inherited: str | None, *, now: datetime
) -> Judgement:
    """Judge a device after a look, with what was known of it before.

    Args:
        reading: The look.
        old: The record before it; None for a device that was never seen.
        inherited: A hard fault that stands against the physical card that it is, or is a part of.
        now: The present.
    """
    known = (old.standing_fault if old else None) or inherited
    standing = _join(known, find_standing_fault(reading))
    before = _known_fault(old, standing)
    seen = _read_fault(reading, standing, now)
    if seen is not None:
        return _out_of_service(choose_worse(before, seen), reading, standing)
    if before is None:
        # What an administrator cleared is back at the first look that shows nothing wrong: they know more.
        return Judgement(Health.OK, "")
    going_on = continue_check(before, now=now, seen_at=old.seen_at if old else now)
    return Judgement(Health.OK, "") if going_on is None else _under_check(going_on)


def judge_unseen(old: DeviceRecord, cause: Cause, reason: str, *, now: datetime) -> Judgement:
    """Judge a device of which the look said nothing at all.

    Args:
        old: The record before the look.
        cause: ``DRIVER``, ``UNLISTED`` or ``SILENT``.
        reason: Why nothing was said.
        now: The present.
    """
    standing = old.standing_fault
    seen = _fault(Cause.XID, standing, standing, now) if standing else _fault(cause, reason, reason, now)
    fault = choose_worse(_known_fault(old, standing), seen)
    health = Health.UNKNOWN if fault.cause in _UNKNOWN_CAUSES else Health.FAULTY
    return Judgement(health, "; ".join(dict.fromkeys((fault.reason, reason))), standing, fault)


def find_card_faults(records: Iterable[DeviceRecord]) -> dict[str, str]:
    """Hard faults by the UUID of the physical card that they were found on, or on a part of.

    A fault of the card is one of all its slices, also of those that are made later; and a card that is whole
    again is the one that its slices were.

    Args:
        records: What is known of the devices, those that are not there any more included.
    """
    return {r.device.parent or r.device.uuid: r.standing_fault for r in records if r.standing_fault}


def describe_return(fault: Fault) -> str:
    """Say why a device is in service again, and what it was out for."""
    check = CURES[fault.cause].check
    why = (
        mark("cleared by an administrator, and it answers without a fault")
        if check is None
        else mark(f"it answered without a fault for {describe_duration(check)}")
    )
    return mark(f"{why}; it was out for: {fault.reason}")


def _known_fault(old: DeviceRecord | None, standing: str | None) -> Fault | None:
    """The fault of the record before. One that an administrator cleared is no fault of now."""
    fault = old.fault if old else None
    if old is None or old.health is Health.OK or (fault and fault.cause is Cause.XID and standing is None):
        return None
    if fault is None and standing is None:
        # Of a ledger from before faults were kept: it was not well, and that is all that is known.
        return _fault(Cause.SILENT, old.health_reason, old.health_reason, old.seen_at)
    return fault


def _read_fault(reading: DeviceReading, standing: str | None, now: datetime) -> Fault | None:
    """The worst that speaks against the device at this look."""
    if standing is not None:
        codes = f"XID {', '.join(map(str, reading.xids))}" if reading.xids else standing
        return _fault(Cause.XID, standing, codes, now)
    for cause, reason, evidence in _read_wrongs(reading):
        return _fault(cause, reason, evidence, now)
    silence = _read_silence(reading)
    return None if silence is None else _fault(Cause.SILENT, silence, silence, now)


def _read_wrongs(reading: DeviceReading) -> list[tuple[Cause, str, str]]:
    """What the driver says is wrong now, as (cause, words, evidence); an XID has its own way."""
    wrongs = []
    if reading.lost:
        reason = mark("the driver has lost the card (it has fallen off the bus)")
        wrongs.append((Cause.LOST, reason, "NVML error 15 (GPU is lost)"))
    action = reading.recovery_action
    if action:
        wanted = RECOVERY_ACTIONS.get(action, mark(f"take recovery action {action}"))
        wrongs.append((Cause.RECOVERY, mark(f"the driver asks to {wanted}"), f"NVML field 230 is {action}"))
    return wrongs


def _read_silence(reading: DeviceReading) -> str | None:
    sample = reading.sample
    if sample is None or sample.processes is None or sample.memory_used_bytes is None:
        return reading.error or mark("the driver gave no sample")
    return None


def _fault(cause: Cause, reason: str, read: str, now: datetime) -> Fault:
    return Fault(cause, reason, f"{now:%Y-%m-%d %H:%M:%S} UTC: {read}", since=now)


def _out_of_service(fault: Fault, reading: DeviceReading, standing: str | None) -> Judgement:
    health, reason = judge_health(reading, standing)
    if health is Health.UNKNOWN and fault.cause not in _UNKNOWN_CAUSES:
        health, reason = Health.FAULTY, f"{fault.reason}; {reason}"
    return Judgement(health, reason, standing, fault)


def _under_check(fault: Fault) -> Judgement:
    check, since = CURES[fault.cause].check, fault.check_since
    health = Health.UNKNOWN if fault.cause in _UNKNOWN_CAUSES else Health.FAULTY
    if check is None or since is None:
        return Judgement(health, fault.reason, None, fault)
    reason = mark(
        f"{fault.reason}; it answers without a fault since {since:%H:%M:%S} UTC and comes back "
        f"when that has lasted {describe_duration(check)}"
    )
    return Judgement(health, reason, None, fault)


def _join(known: str | None, new: str | None) -> str | None:
    """Both faults, the known one first; the same one only once."""
    if known is None or new is None or new in known:
        return known or new
    joined = f"{known}; {new}"
    return joined if len(joined) <= MOST_EVIDENCE else known


def _name_xid(xid: int) -> str:
    return f"{xid} ({KNOWN_XIDS[xid]})" if xid in KNOWN_XIDS else mark(f"{xid} (not in our table)")
