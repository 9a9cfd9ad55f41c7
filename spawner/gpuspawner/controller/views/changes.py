"""What changing a reservation will do, said before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gpuspawner.core.claims import Reservation
from gpuspawner.core.occurrences import Occurrence
from gpuspawner.language import mark
from gpuspawner.policy.reservations import to_body

LABELS = {
    "title": ("title", mark("Title")),
    "person": ("whom", mark("For whom")),
    "group": ("whom", mark("For whom")),
    "course": ("whom", mark("For whom")),
    "users": ("users", mark("Who of them may use it")),
    "devices": ("devices", mark("How many GPUs")),
    "models": ("pool", mark("Which GPUs")),
    "pool": ("pool", mark("Which GPUs")),
    "cards": ("pool", mark("Which GPUs")),
    "start": ("date", mark("Day and time")),
    "length": ("length", mark("How long")),
    "zone": ("zone", mark("Time zone")),
    "rule": ("repeat", mark("How often")),
    "except": ("except", mark("Not on")),
    "lead": ("lead", mark("Kept free before")),
}
"""By field of a reservation: id of the field in the form, and its label."""
MOST_GONE = 6
"""Dates in the list of those that do not take place any more."""


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a reservation that becomes another one."""

    label: str
    """Of its field in the form, to be translated."""
    before: str
    """Empty for nothing."""
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a change comes to; times are in the time zone that the reservation will have."""

    changes: tuple[Change, ...]
    gone: tuple[tuple[datetime, datetime], ...]
    """Start and end of the next dates on which it does not take place any more."""
    times_gone: int
    """How many they are in all."""
    seats_lost: int
    """Sessions that have a seat of it now, and will have none."""


def compare(
    old: Reservation,
    new: Reservation,
    before: Sequence[Occurrence],
    after: Sequence[Occurrence],
    seats_lost: int,
) -> Difference:
    """What comes of a change.

    Args:
        old: What stands.
        new: What would stand.
        before: All that is still to come of the old one.
        after: Of the new one.
        seats_lost: Sessions that have a seat of the old one and none of the new one.
    """
    zone, kept = ZoneInfo(new.zone), {one.start for one in after}
    gone = [one for one in before if one.start not in kept]
    then, now = _describe(old), _describe(new)
    return Difference(
        changes=tuple(
            Change(LABELS[field][1], then[field], now[field]) for field in now if then[field] != now[field]
        ),
        gone=tuple((one.start.astimezone(zone), one.end.astimezone(zone)) for one in gone[:MOST_GONE]),
        times_gone=len(gone),
        seats_lost=seats_lost,
    )


def _describe(one: Reservation) -> dict[str, str]:
    """What stands in the fields of the form, as text."""
    zone, body = ZoneInfo(one.zone), to_body(one)
    said = {
        field: str(body.get(field, "")) for field in ("title", "devices", "length", "zone", "rule", "lead")
    }
    cards = ", ".join(sorted(one.cards))
    return {
        **said,
        "person": f"{one.holder.kind} {one.holder.name}",
        "users": ", ".join(one.users),
        "pool": f"{one.pool} ({cards})" if one.pool else cards,
        "start": f"{one.start.astimezone(zone):%Y-%m-%d %H:%M}",
        "except": ", ".join(f"{start.astimezone(zone):%Y-%m-%d %H:%M}" for start in one.left_out),
    }
