"""Builders of reservations and what belongs to them, each with a default for everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gpuspawner.core.claims import Actor, ActorKind, Holder, Reservation
from gpuspawner.core.model import Party
from gpuspawner.core.reservations import Occurrence, expand

from .build import HOST, NOW, ago

COURSE = Party(("students",), ("cs231",))
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(text: str) -> datetime:
    """A time in UTC, from ISO 8601."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def person(name: str) -> Actor:
    """A user of the hub who acts."""
    return Actor(name, ActorKind.PERSON)


def reservation(**changes: Any) -> Reservation:
    """Two devices for the course, once, two hours from now, for two hours."""
    values: dict[str, Any] = {
        "id": "r1",
        "host": HOST,
        "title": "Tuesday lab",
        "holder": Holder("course", "cs231"),
        "devices": 2,
        "start": NOW + 2 * HOUR,
        "length": 2 * HOUR,
        "zone": "UTC",
        "actor": person("grace"),
        "made_at": ago(3600),
    }
    return Reservation(**values | changes)


def first(made: Reservation) -> Occurrence:
    """The first time that a reservation takes place."""
    return expand(made, made.start - made.lead, made.start + made.length)[0]
