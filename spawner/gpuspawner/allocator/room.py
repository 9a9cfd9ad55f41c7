"""Whether there is room for new reservations beside those that stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gpuspawner.core.claims import Reservation, SeatReturn
from gpuspawner.core.errors import InvalidRequest, ReservationConflict
from gpuspawner.core.model import Device, DeviceRecord
from gpuspawner.core.occurrences import LONGEST
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import Conflict, Occurrence, expand, find_collisions, open_occurrences

MOST_STANDING = 1000
"""Reservations of a host that are not over."""
MOST_AT_ONCE = 20_000
"""Occurrences of all reservations that are made together."""
MOST_TOLD = 3
"""Conflicts, or sessions, in one message; the error carries more."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a new reservation is compared with."""

    standing: tuple[Reservation, ...]
    returns: tuple[SeatReturn, ...]
    devices: tuple[Device, ...]
    inventory: tuple[DeviceRecord, ...] = field(compare=False)
    """The same devices, with what changes with each look at them."""


def require_room(
    new: Sequence[Reservation], known: Known, now: datetime, *, people: bool = True
) -> list[Occurrence]:
    """Everything that will take place, if there are devices for it. Raises: see :meth:`Reservations.make`."""
    if len(known.standing) + len(new) > MOST_STANDING:
        raise InvalidRequest(f"{MOST_STANDING} reservations are the most at once; cancel some first.")
    end = now + 2 * HORIZON + LONGEST
    wanted = [expand(one, now, end) for one in new]
    if sum(map(len, wanted)) > MOST_AT_ONCE:
        raise InvalidRequest(f"{MOST_AT_ONCE} occurrences are the most in one calendar; divide it.")
    taken = list(open_occurrences(known.standing, known.returns, now, end))
    for one, occurrences in zip(new, wanted, strict=True):
        conflicts = find_collisions(one, taken, known.inventory, now)
        if conflicts:
            raise ReservationConflict(_describe_conflicts(one, conflicts, people), conflicts)
        taken += occurrences
    return taken


def _describe_conflicts(new: Reservation, conflicts: tuple[Conflict, ...], people: bool) -> str:
    told = "; ".join(one.describe(people=people) for one in conflicts[:MOST_TOLD])
    more = len(conflicts) - MOST_TOLD
    gpus = f"{new.devices} GPU{'' if new.devices == 1 else 's'}"
    of_pool = f" of pool {new.pool}" if new.pool else ""
    return f"{new.title!r} cannot have {gpus}{of_pool}. {told}{and_more(more)}."


def and_more(more: int) -> str:
    """The rest of a list that is not told."""
    return f", and {more} more" if more > 0 else ""
