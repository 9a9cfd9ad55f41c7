"""Reservations: what collides, and what is given back. From its neighbours: when they are, what they mean."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from .claims import Reservation, SeatReturn
from .model import DeviceRecord, Lease
from .occurrences import (
    LONGEST,
    Key,
    Occurrence,
    all_starts,
    check_reservation,
    describe_holding,
    describe_when,
    expand,
    find_zone,
    may_serve,
    open_occurrences,
)
from .recurrence import HORIZON
from .seating import Calendar, Shortfall
from .seats import count_filled, count_used

PATIENCE = timedelta(minutes=15)
"""How long a seat may stay unused, from the start or after it was left, before it is given back."""
MOST_CONFLICTS = 20


@dataclass(frozen=True, slots=True)
class Conflict:
    """A time at which a new reservation cannot have its devices."""

    occurrence: Occurrence
    """Of the new one."""
    at: datetime
    """The first time at which they are missing."""
    left: int
    """How many it could have then."""
    others: tuple[Occurrence, ...] = ()
    """What takes the rest; none when there are not so many devices here at all."""

    def describe(self, *, people: bool = True) -> str:
        """The conflict in words, on one line, without the devices that were asked for.

        Args:
            people: Whether persons are named for whom something is reserved.
        """
        zone = ZoneInfo(self.occurrence.reservation.zone)
        gpus = "1 GPU is" if self.left == 1 else f"{self.left} GPUs are"
        if not self.others:
            return f"{gpus} all that this server has of this kind"
        taken = "; ".join(
            f"{one.title!r} for {_name(one, people)} has {one.seats}, {describe_when(one, zone)}"
            for one in self.others
        )
        return f"{describe_when(self.occurrence, zone)}: {gpus} left ({taken})"


def _name(one: Occurrence, people: bool) -> str:
    holder = one.reservation.holder
    return str(holder) if people or holder.kind != "person" else "a person"


def find_conflicts(
    new: Reservation,
    standing: Iterable[Reservation],
    inventory: Sequence[DeviceRecord],
    now: datetime,
    *,
    returns: Iterable[SeatReturn] = (),
) -> tuple[Conflict, ...]:
    """Where a new reservation collides with those that stand: at most :data:`MOST_CONFLICTS` times.

    It collides where, at some time, the devices of all that takes place then cannot be had together, so that
    the new one would get fewer than it wants. Lead times count. Who sits on which card is not planned ahead:
    where pools overlap only in part, a seat may have to be found on another card later.

    Args:
        new: Checked (see :func:`check_reservation`). One of the same id among the standing is being replaced.
        standing: All reservations of the host that stand.
        inventory: Every device of the host, whatever its state is now.
        now: The present; what has ended does not matter any more.
        returns: Seats that were given back.
    """
    kept = [one for one in standing if one.id != new.id]
    ahead = expand(new, now, new.start + HORIZON + LONGEST)
    if not ahead:
        return ()
    taken = open_occurrences(kept, returns, ahead[0].held_from, max(one.end for one in ahead))
    return find_collisions(new, taken, inventory, now)


def find_collisions(
    new: Reservation, taken: Iterable[Occurrence], inventory: Sequence[DeviceRecord], now: datetime
) -> tuple[Conflict, ...]:
    """What :func:`find_conflicts` finds, for somebody who knows what takes place in the time of ``new``.

    Args:
        new: Checked.
        taken: What takes place, without what is being replaced, in any order.
        inventory: Every device of the host.
        now: The present.
    """
    cards = [record.device for record in inventory]
    total = sum(1 for device in cards if may_serve(device, new.cards))
    wanted = expand(new, now, new.start + HORIZON + LONGEST)
    if total < new.devices:
        return tuple(Conflict(one, one.start, total) for one in wanted[:1])
    coming = deque(sorted(taken, key=lambda one: one.held_from))
    sets = dict.fromkeys([new.cards, *(one.reservation.cards for one in coming)])
    bits = {one: 1 << n for n, one in enumerate(sets)}
    supply = Counter(sum(bit for one, bit in bits.items() if may_serve(device, one)) for device in cards)
    conflicts: list[Conflict] = []
    near: list[Occurrence] = []
    for one in wanted:
        near = [other for other in near if other.end > one.held_from]
        while coming and coming[0].held_from < one.end:
            near.append(coming.popleft())
        found = _find_conflict(one, near, supply, bits, now)
        conflicts += [found] if found else []
        if len(conflicts) == MOST_CONFLICTS:
            break
    return tuple(conflicts)


def _find_conflict(
    new: Occurrence,
    near: Sequence[Occurrence],
    supply: Counter[int],
    bits: dict[frozenset[str], int],
    now: datetime,
) -> Conflict | None:
    begins = {max(new.held_from, now), *(one.held_from for one in near if one.held_from > new.held_from)}
    for at in sorted(begins):
        others = tuple(one for one in near if one.on(at))
        # Reservations for the same cards are one demand.
        demand: Counter[int] = Counter()
        for one in others:
            demand[bits[one.reservation.cards]] += one.seats
        before = count_filled(supply, demand)
        demand[bits[new.reservation.cards]] += new.seats
        left = count_filled(supply, demand) - before
        if left < new.seats:
            return Conflict(new, at, left, others)
    return None


def plan_returns(
    occurrences: Iterable[Occurrence],
    leases: Sequence[Lease],
    inventory: Sequence[DeviceRecord],
    now: datetime,
    patience: timedelta = PATIENCE,
) -> tuple[SeatReturn, ...]:
    """Which seats are everybody's again because nobody uses them.

    Seats are given back one by one: those in use stay with their users. What was given back stays so.

    Args:
        occurrences: Open ones, without the seats that were given back already.
        leases: Live leases, and those that had a seat and ended within ``patience``: who starts a server anew
            does not lose the seat.
        inventory: Every device of the host.
        now: The present.
        patience: How long a seat may stay unused.

    Returns:
        For each occurrence of which something is to be given back, how many seats of it are then given back
        in all.
    """
    due = [one for one in occurrences if one.start + patience <= now < one.end]
    bits = {one.reservation_id: 1 << n for n, one in enumerate(due)}
    profiles = {
        record.device.uuid: sum(
            bits[one.reservation_id] for one in due if may_serve(record.device, one.reservation.cards)
        )
        for record in inventory
    }
    used = count_used(due, leases, bits, profiles)
    used.update(_count_left(leases, now, patience))
    return tuple(
        SeatReturn(one.reservation_id, one.start, one.reservation.devices - used[one.key], now)
        for one in due
        if used[one.key] < one.seats
    )


def _count_left(leases: Iterable[Lease], now: datetime, patience: timedelta) -> Counter[Key]:
    """Seats that were left so lately that they are still kept."""
    left: Counter[Key] = Counter()
    for lease in leases:
        if (
            lease.state.ending
            and lease.reservation
            and now - (lease.ended_at or lease.state_since) < patience
        ):
            left[lease.reservation] += len(lease.devices)
    return left


def count_losing(reservation_id: str, ahead: Sequence[Occurrence], leases: Iterable[Lease]) -> int:
    """How many sessions have a seat of a reservation, and would have none of another one in its place.

    Args:
        reservation_id: Id of both.
        ahead: What is to come of the other one.
        leases: Live ones.
    """
    kept = {one.start for one in ahead}
    return sum(
        1
        for lease in leases
        if lease.reservation is not None
        and lease.reservation[0] == reservation_id
        and lease.reservation[1] not in kept
        and not lease.state.ending
    )


__all__ = [
    "PATIENCE",
    "Calendar",
    "Conflict",
    "Key",
    "Occurrence",
    "Shortfall",
    "all_starts",
    "check_reservation",
    "count_losing",
    "count_used",
    "describe_holding",
    "describe_when",
    "expand",
    "find_collisions",
    "find_conflicts",
    "find_zone",
    "may_serve",
    "open_occurrences",
    "plan_returns",
]
