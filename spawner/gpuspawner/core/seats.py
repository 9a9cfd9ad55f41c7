"""How many reserved seats can be filled at once, when not every card will do for every reservation.

Cards that will do for the same reservations are one class: a bit mask with a bit for each of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

from .model import Lease
from .occurrences import Key, Occurrence

_MOST_SUBSETS = 8
"""Up to so many reservations at once, every combination of them is looked at (256 of them)."""


def count_filled(supply: Mapping[int, int], demand: Mapping[int, int]) -> int:
    """The most seats that can be filled: a maximal flow from classes of cards to reservations.

    Args:
        supply: How many cards there are of each class; bits that have no demand are of no meaning.
        demand: How many seats each reservation has, by its bit (1, 2, 4, …).
    """
    if len(demand) == 1:
        ((bit, seats),) = demand.items()
        return min(seats, sum(count for mask, count in supply.items() if mask & bit))
    return _Flow(supply, demand).fill()


class _Flow:
    """Cards on their way to seats: a greedy start, then better ways as long as there are any."""

    def __init__(self, supply: Mapping[int, int], demand: Mapping[int, int]) -> None:
        self.left = {mask: count for mask, count in supply.items() if count}
        self.need = dict(demand)
        self.given: dict[tuple[int, int], int] = {}
        """Cards by (class, reservation)."""
        self.total = 0

    def fill(self) -> int:
        """Fill as many seats as can be, and say how many."""
        for mask in sorted(self.left, key=int.bit_count):
            for bit in self.bits(mask):
                amount = min(self.left[mask], self.need[bit])
                self.given[mask, bit] = amount
                self._deliver(mask, bit, amount)
        while any(self.need.values()) and self._augment():
            pass
        return self.total

    def bits(self, mask: int) -> Iterator[int]:
        """The reservations that cards of a class can serve."""
        return (bit for bit in self.need if mask & bit)

    def _deliver(self, mask: int, bit: int, amount: int) -> None:
        self.left[mask] -= amount
        self.need[bit] -= amount
        self.total += amount

    def _augment(self) -> bool:
        """Find cards for an unfilled seat, by way of seats that change theirs; False if there are none."""
        came: dict[int, tuple[int, int] | None] = {bit: None for bit, open_ in self.need.items() if open_}
        queue = deque(came)
        while queue:
            bit = queue.popleft()
            for mask, spare in self.left.items():
                if not mask & bit:
                    continue
                if spare:
                    self._push(mask, bit, came)
                    return True
                for other in self.bits(mask):
                    if other not in came and self.given[mask, other]:
                        came[other] = (mask, bit)
                        queue.append(other)
        return False

    def _push(self, mask: int, bit: int, came: Mapping[int, tuple[int, int] | None]) -> None:
        """Move as much as the way allows; it leads from spare cards of ``mask`` back to an unfilled seat."""
        way = [(mask, bit)]
        amount = self.left[mask]
        while (step := came[way[-1][1]]) is not None:
            # These seats give cards of that class to those that stand before them on the way.
            amount = min(amount, self.given[step[0], way[-1][1]])
            way.append(step)
        amount = min(amount, self.need[way[-1][1]])
        self._deliver(mask, way[-1][1], amount)
        for n, step in enumerate(way):
            self.given[step] += amount
            if n:
                self.given[step[0], way[n - 1][1]] -= amount


def count_spare(supply: Mapping[int, int], demand: Mapping[int, int]) -> int:
    """How many cards, whichever, can be taken away without a seat fewer being filled.

    Never too many; 0 where that is not known without looking closer.
    """
    if len(demand) > _MOST_SUBSETS:
        return 0
    bits = list(demand)
    least = sum(supply.values())
    for subset in range(1, 1 << len(bits)):
        chosen = [bit for n, bit in enumerate(bits) if subset >> n & 1]
        union = sum(chosen)
        cards = sum(count for mask, count in supply.items() if mask & union)
        least = min(least, cards - sum(demand[bit] for bit in chosen))
    return max(0, least)


def count_used(
    on: Iterable[Occurrence], leases: Iterable[Lease], bits: Mapping[str, int], profiles: Mapping[str, int]
) -> Counter[Key]:
    """Seats in use of occurrences that are on.

    A session that was granted a seat uses it; any other session of somebody who may use a reservation counts
    for the first, by start, that has room for it. What is being released is used by nobody.

    Args:
        on: The occurrences.
        leases: Live leases.
        bits: A bit for each reservation, by its id.
        profiles: The bits of the reservations that a device can serve, by its UUID.
    """
    ordered = by_start(on)
    keys = {one.key for one in ordered}
    used: Counter[Key] = Counter()
    others = []
    for lease in leases:
        if lease.state.ending:
            continue
        if lease.reservation in keys:
            used[lease.reservation] += len(lease.devices)
        else:
            others.append(lease)
    for lease in others:
        fill_seat(used, ordered, lease, bits, profiles)
    return used


def by_start(on: Iterable[Occurrence]) -> list[Occurrence]:
    """In the order in which sessions without a seat of their own fill them."""
    return sorted(on, key=lambda one: (one.start, one.key))


def fill_seat(
    used: Counter[Key],
    on: Iterable[Occurrence],
    lease: Lease,
    bits: Mapping[str, int],
    profiles: Mapping[str, int],
) -> None:
    """Let a session that was granted no seat count for the first occurrence, by start, with room for it.

    Args:
        used: Seats in use; they are counted up.
        on: The occurrences, by start.
        lease: The session.
        bits: As in :func:`count_used`.
        profiles: As in :func:`count_used`.
    """
    for one in on:
        bit = bits[one.reservation_id]
        usable = sum(1 for uuid in lease.devices if profiles.get(uuid, 0) & bit)
        room = min(usable, one.seats - used[one.key])
        if room > 0 and one.reservation.admits(lease.owner, lease.party):
            used[one.key] += room
            return
