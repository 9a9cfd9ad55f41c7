"""A person's own calendar, which a calendar program reads without a login."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from .claims import Reservation
from .model import Party


@dataclass(frozen=True, slots=True)
class Feed:
    """The calendar of one person. Whoever knows its secret can read it."""

    owner: str
    digest: str
    """Of its secret, which is stored nowhere (see :func:`digest_secret`)."""
    made_at: datetime
    """When the secret was made."""
    read_at: datetime | None = None
    """When it was last read, to within a minute; None for never since the secret was made."""


def digest_secret(secret: str) -> str:
    """What is stored of a secret. It is random and long, so that a plain hash cannot be turned back."""
    return sha256(secret.encode()).hexdigest()


def choose_usable(owner: str, party: Party, reservations: Iterable[Reservation]) -> tuple[Reservation, ...]:
    """The reservations that a person may use: their own, and those of their groups and courses.

    Args:
        owner: The person.
        party: Their groups and all courses that they belong to, as they are now.
        reservations: All that stand.
    """
    return tuple(one for one in reservations if one.admits(owner, party))
