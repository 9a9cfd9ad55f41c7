"""What comes of making a reservation, or would."""

from __future__ import annotations

from dataclasses import dataclass

from gpuspawner.core.claims import Reservation
from gpuspawner.core.reservations import Occurrence


@dataclass(frozen=True, slots=True)
class Made:
    """A reservation that was made or changed."""

    reservation: Reservation
    warnings: tuple[str, ...] = ()
    """What may stand in its way, in words: it was made nevertheless."""
    replaced: bool = False
    """Whether there was one of this id before."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A reservation that could be made; nothing was stored."""

    reservation: Reservation
    ahead: tuple[Occurrence, ...]
    """All of it that is still to come, in order; never empty."""
    warnings: tuple[str, ...]
    """What may stand in its way, in words: it could be made nevertheless."""
    replaces: Reservation | None = None
    """What stands in its place now."""
    seats_lost: int = 0
    """Sessions that have a seat of what stands, and would have none of this."""
