"""What was used, added up by person, group, image and so on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from .claims import Usage

_HOUR = 3600.0
_KILOWATT_HOUR = 3.6e6
NOBODY = ""
"""Key of what belongs to no group or no course."""


class By(StrEnum):
    """What a report has a row for."""

    USER = "user"
    GROUP = "group"
    """Groups of the policy that the person was in when the session began. It counts for each of them."""
    COURSE = "course"
    """Courses that the session took a seat of."""
    IMAGE = "image"
    MODEL = "model"
    DEVICE = "device"
    DAY = "day"
    """UTC days."""
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What was used of all devices together."""

    key: str
    """Person, group, …; :data:`NOBODY` for what belongs to none."""
    about: str
    """For people: whose server a lease was, which model a device is; else empty."""
    held_hours: float
    """GPU-hours that sessions held; an hour of a MIG instance is one too."""
    sampled_hours: float
    """Of these, those in which the card said how busy it was."""
    active_hours: float | None
    """Of the sampled ones, those in which some kernel ran; None when none were sampled."""
    wasted_hours: float | None
    """Of the sampled ones, those in which none did; None when none were sampled."""
    peak_memory_bytes: int | None
    """Most memory in use on one device; None when it is not known."""
    energy_kwh: float | None
    """As far as cards say what they draw; None when none did."""
    sessions: int
    """How many leases."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report."""

    by: By
    since: date
    until: date
    """The last UTC day; it counts too."""
    rows: tuple[ReportRow, ...]
    """By day in order; else the most held first."""
    total: ReportRow
    """Everything once, also what counts for several groups."""


def build_report(accounts: Iterable[Usage], by: By, since: date, until: date) -> Report:
    """Add accounts up; those of other days are left out."""
    kept = [one for one in accounts if since <= one.day <= until]
    parts: dict[str, list[Usage]] = defaultdict(list)
    for one in kept:
        for key in _keys(one, by):
            parts[key].append(one)
    rows = [_sum(key, part, _describe(part[0], by)) for key, part in sorted(parts.items())]
    if by is not By.DAY:
        rows.sort(key=lambda row: -row.held_hours)
    return Report(by, since, until, tuple(rows), _sum("total", kept))


def _keys(usage: Usage, by: By) -> Sequence[str]:
    match by:
        case By.USER:
            return (usage.owner,)
        case By.GROUP:
            return usage.party.groups or (NOBODY,)
        case By.COURSE:
            return usage.party.courses or (NOBODY,)
        case By.IMAGE:
            return (usage.image,)
        case By.MODEL:
            return (usage.model,)
        case By.DEVICE:
            return (usage.device,)
        case By.DAY:
            return (usage.day.isoformat(),)
        case By.LEASE:
            return (usage.lease_id,)


def _describe(usage: Usage, by: By) -> str:
    if by is By.DEVICE:
        return usage.model
    if by is By.LEASE:
        return f"{usage.owner}/{usage.server}" if usage.server else usage.owner
    return ""


def _sum(key: str, accounts: Sequence[Usage], about: str = "") -> ReportRow:
    sampled = sum(one.sampled_seconds for one in accounts) / _HOUR
    active = sum(one.active_seconds for one in accounts) / _HOUR
    peaks = [one.peak_memory_bytes for one in accounts if one.peak_memory_bytes is not None]
    energies = [one.energy_joules for one in accounts if one.energy_joules is not None]
    return ReportRow(
        key=key,
        about=about,
        held_hours=sum(one.held_seconds for one in accounts) / _HOUR,
        sampled_hours=sampled,
        active_hours=active if sampled else None,
        wasted_hours=max(sampled - active, 0.0) if sampled else None,
        peak_memory_bytes=max(peaks, default=None),
        energy_kwh=sum(energies) / _KILOWATT_HOUR if energies else None,
        sessions=len({one.lease_id for one in accounts}),
    )
