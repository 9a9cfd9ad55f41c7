"""Whether there is room for new reservations beside those that stand, and what may stand in their way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.claims import Reservation, SeatReturn
from gpuspawner.core.errors import InvalidRequest, ReservationConflict
from gpuspawner.core.model import Device, DeviceRecord, Lease
from gpuspawner.core.occurrences import LONGEST
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import (
    Calendar,
    Conflict,
    Occurrence,
    Shortfall,
    describe_when,
    expand,
    find_collisions,
    open_occurrences,
)
from gpuspawner.core.words import mark

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


def gather(unit: LedgerUnit, host: str, without: Collection[str], now: datetime) -> Known:
    """What new reservations are compared with.

    Args:
        unit: A transaction.
        host: Whose devices are reserved.
        without: Ids of reservations that are being replaced.
        now: The present.
    """
    inventory = unit.inventory(host)
    return Known(
        tuple(one for one in unit.reservations(host) if one.id not in without),
        unit.seat_returns(host, now - LONGEST),
        tuple(record.device for record in inventory),
        inventory,
    )


def require_room(
    new: Sequence[Reservation], known: Known, now: datetime, *, people: bool = True
) -> list[Occurrence]:
    """What takes place until the new ones end, if they fit. Raises: see :meth:`Reservations.make`."""
    taken, clashes = find_room(new, known, now, most=1)
    for one, conflicts in clashes:
        raise ReservationConflict(describe_conflicts(one, conflicts, people), conflicts)
    return taken


def find_room(
    new: Sequence[Reservation], known: Known, now: datetime, *, most: int
) -> tuple[list[Occurrence], list[tuple[Reservation, tuple[Conflict, ...]]]]:
    """What takes place until the new ones end, and which of them do not fit; at most so many are found.

    Raises:
        InvalidRequest: There are too many.
    """
    if len(known.standing) + len(new) > MOST_STANDING:
        raise InvalidRequest(f"{MOST_STANDING} reservations are the most at once; cancel some first.")
    end = now + 2 * HORIZON + LONGEST
    wanted = [expand(one, now, end) for one in new]
    if sum(map(len, wanted)) > MOST_AT_ONCE:
        raise InvalidRequest(f"{MOST_AT_ONCE} occurrences are the most in one calendar; divide it.")
    reach = max((one.end for occurrences in wanted for one in occurrences), default=now)
    taken = list(open_occurrences(known.standing, known.returns, now, reach))
    clashes: list[tuple[Reservation, tuple[Conflict, ...]]] = []
    for one, occurrences in zip(new, wanted, strict=True):
        conflicts = find_collisions(one, taken, known.inventory, now)
        if conflicts:
            clashes.append((one, conflicts))
            if len(clashes) == most:
                break
        else:
            taken += occurrences
    return taken, clashes


def describe_conflicts(new: Reservation, conflicts: tuple[Conflict, ...], people: bool) -> str:
    """Why a reservation does not fit, as a sentence."""
    why = "; ".join(one.describe(people=people) for one in conflicts[:MOST_TOLD])
    more = len(conflicts) - MOST_TOLD
    return mark(
        f"{new.title!r} cannot have {new.devices} GPU{'' if new.devices == 1 else 's'}"
        f"{f' of pool {new.pool}' if new.pool else ''}. {why}{f', and {more} more' if more > 0 else ''}."
    )


def find_warnings(
    first: Occurrence,
    taken: Sequence[Occurrence],
    inventory: tuple[DeviceRecord, ...],
    leases: Sequence[Lease],
    now: datetime,
    *,
    people: bool,
) -> tuple[str, ...]:
    """What may stand in the way of a reservation for which there is room.

    Args:
        first: Its first occurrence that is still to come.
        taken: What takes place until then, it included.
        inventory: Every device of the host.
        leases: Live leases: sessions under way are never cut for a reservation that was made later.
        now: The present.
        people: Whether persons are named.
    """
    new = first.reservation
    warnings = _find_unknown_cards(new, inventory) if not new.pool else ()
    near = [one for one in taken if one.overlaps(now, first.end)]
    lack = Calendar(inventory, leases, near, now).find_shortfall(first.key)
    return (*warnings, _describe_shortfall(first, lack, people)) if lack else warnings


def _find_unknown_cards(new: Reservation, inventory: tuple[DeviceRecord, ...]) -> tuple[str, ...]:
    devices = [record.device for record in inventory]
    known = {name for device in devices for name in (device.model, device.uuid, device.parent)}
    return tuple(mark(f"There is no GPU {name!r} here now.") for name in sorted(new.cards - known))


def _describe_shortfall(first: Occurrence, lack: Shortfall, people: bool) -> str:
    zone = ZoneInfo(first.reservation.zone)
    because = ", ".join(_describe_session(lease, zone, people) for lease in lack.leases[:MOST_TOLD])
    more, when = len(lack.leases) - MOST_TOLD, describe_when(first, zone)
    return mark(
        f"{lack.missing} of its {first.seats} GPUs may still be in use {when}: "
        f"sessions under way are not cut for it, {'those of ' if people else ''}{because}"
        f"{f', and {more} more' if more > 0 else ''}."
    )


def _describe_session(lease: Lease, zone: ZoneInfo, people: bool) -> str:
    if lease.ends_at is None:
        return mark(f"{lease.owner if people else 'one'} (without an end)")
    until = f"{lease.ends_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    return mark(f"{lease.owner if people else 'one'} (until {until})")
