"""How near GPUs are to one another, and which of the free ones a request gets for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from operator import add

from .model import Device

EXACT_UP_TO = 16
"""Up to so many free devices every set is looked at; there are at most 12,870."""
_SEEDS = 8
"""From how many devices a set is grown, where there are too many to look at every set."""

Link = tuple[str, int]
"""The UUID of another device and the nearness to it."""


class Nearness(IntEnum):
    """How two whole GPUs are connected; a larger number is nearer, and the numbers add up.

    The levels of PCIe are those of ``nvmlGpuTopologyLevel_t``, the other way round. The figures are those
    of NVIDIA's go-gpuallocator: their sum over the pairs of a set is how well the set is connected.
    """

    UNKNOWN = 0
    """The driver does not say: it counts for nothing."""
    SYSTEM = 10
    """Through the link between two sockets."""
    NODE = 20
    """Within one NUMA node, through the link between its host bridges."""
    HOST_BRIDGE = 30
    """Through one PCIe host bridge, which is the CPU."""
    MULTIPLE_SWITCHES = 40
    """Through several PCIe switches, and not the CPU."""
    ONE_SWITCH = 50
    """Through one PCIe switch."""
    INTERNAL = 60
    """On one board."""
    NVLINK = 100
    """One NVLink. Bandwidth adds up, and so n links, direct or through NVSwitches, are n times this."""


def nearness_of_nvlinks(links: int) -> int:
    """The nearness of two GPUs that so many NVLinks join."""
    return Nearness.NVLINK * links


def choose_set(free: Sequence[Device], count: int) -> tuple[Device, ...]:
    """Choose the devices that a request of ``count`` gets.

    It is the best connected set, by the sum of nearness over its pairs; among equals the one that is worst
    connected to the devices that stay free, so that least is broken; among equals the first. For one device
    this is the one that the other free ones miss least.

    Up to ``EXACT_UP_TO`` free devices the set is the best there is. Above, it is grown from several
    devices, and its sum is at least 2 / ``count`` of the best: in the best set some device's own links come
    to that share, and growth from the device with the best own links adds no less at each step.

    Args:
        free: Devices that could be given out, of one model, in the order of the inventory.
        count: How many are wanted.

    Returns:
        The devices, in the order of ``free``.

    Raises:
        ValueError: There are not as many.
    """
    if not 0 <= count <= len(free):
        raise ValueError(f"{count} of {len(free)} devices cannot be chosen")
    if count in (0, len(free)):
        return tuple(free[:count])
    rows = _read_matrix(free)
    if rows is None:
        return tuple(free[:count])
    graph = _Graph(rows)
    found = graph.find_best(count) if len(free) <= EXACT_UP_TO else graph.grow_best(count)
    return tuple(free[n] for n in found)


def _read_matrix(devices: Sequence[Device]) -> list[list[int]] | None:
    """Nearness by the two places in ``devices``; None when every pair is as near as every other.

    A pair of which only one side knows is as near as that side says.
    """
    places = {device.uuid: n for n, device in enumerate(devices)}
    if not any(device.links for device in devices):
        return None
    size = len(devices)
    rows = [[0] * size for _ in devices]
    for n, device in enumerate(devices):
        row = rows[n]
        for uuid, nearness in device.links:
            m = places.get(uuid, n)
            if m != n and nearness > row[m]:
                row[m] = rows[m][n] = nearness
    first = rows[0][1]
    if all(row.count(first) >= size - (first != 0) for row in rows):
        return None
    return rows


class _Graph:
    """Devices by their place, and what a set of them is worth.

    The worth of a set is one number: the nearness within it, scaled so that it outweighs everything
    else, less the nearness of each of its devices to all others. Of two sets that are as well
    connected, the one with less of the latter has less to the devices that stay free.

    Args:
        rows: Nearness by the two places; symmetric, with 0 on the diagonal.
    """

    def __init__(self, rows: list[list[int]]) -> None:
        self._degrees = [sum(row) for row in rows]
        scale = 1 + sum(self._degrees)
        self._near = rows
        self._alone = [-degree for degree in self._degrees]
        """What each device adds to an empty set."""
        self._rows = [[nearness * scale for nearness in row] for row in rows]
        """What each device adds to what another one adds."""
        self._most = max(map(max, self._rows))

    def find_best(self, count: int) -> tuple[int, ...]:
        """The places of the best set of all, the first in order among equals."""
        tails = [row[n + 1 :] for n, row in enumerate(self._rows)]
        best_worth = self._worth(range(count))
        best = tuple(range(count))

        def extend(chosen: tuple[int, ...], worth: int, gains: list[int]) -> None:
            """Look at every set that begins with these; gains are of the devices behind the last of them."""
            nonlocal best, best_worth
            missing = count - len(chosen)
            most = max(gains)
            if worth + missing * most + missing * (missing - 1) // 2 * self._most <= best_worth:
                return
            first = len(self._alone) - len(gains)
            if missing == 1:
                best, best_worth = (*chosen, first + gains.index(most)), worth + most
                return
            for ahead in range(len(gains) - missing + 1):
                rest = list(map(add, gains[ahead + 1 :], tails[first + ahead]))
                extend((*chosen, first + ahead), worth + gains[ahead], rest)

        extend((), 0, self._alone)
        return best

    def grow_best(self, count: int) -> tuple[int, ...]:
        """The places of the best among the sets that are grown from several devices.

        These are the ones with the best links of their own, each outside of the sets grown before it. From
        each a set is grown twice: among devices that add the same, once the one with the fewest other links
        is taken, which breaks least, and once the one with the most, from which growth goes on best.
        """
        stars = [sum(sorted(row)[-(count - 1) :]) if count > 1 else 0 for row in self._near]
        order = sorted(range(len(stars)), key=lambda n: (-stars[n], self._degrees[n]))
        covered: set[int] = set()
        grown: list[tuple[int, ...]] = []
        for seed in order:
            if seed not in covered:
                sets = [self._grow(seed, count, ties) for ties in (self._alone, self._degrees)]
                grown += sets
                covered.update(*sets)
            if len(grown) == 2 * _SEEDS:
                break
        return min(grown, key=lambda places: (-self._worth(places), places))

    def _grow(self, seed: int, count: int, ties: list[int]) -> tuple[int, ...]:
        chosen = [seed]
        never = -self._most * len(self._alone) ** 2
        gains = list(map(add, ties, self._rows[seed]))
        gains[seed] = never
        while len(chosen) < count:
            best = gains.index(max(gains))
            chosen.append(best)
            gains = list(map(add, gains, self._rows[best]))
            gains[best] = never
        return tuple(sorted(chosen))

    def _worth(self, places: Sequence[int]) -> int:
        within = sum(self._rows[n][m] for n in places for m in places if m < n)
        return within + sum(self._alone[n] for n in places)
