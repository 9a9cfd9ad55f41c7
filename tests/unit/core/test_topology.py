from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from gpuspawner.core.model import Device
from gpuspawner.core.topology import (
    EXACT_UP_TO,
    Nearness,
    choose_set,
    nearness_of_nvlinks,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import device

Near = Callable[[int, int], int]
"""The nearness of two devices by their numbers."""


def machine(size: int, near: Near) -> list[Device]:
    """Devices GPU-0, GPU-1 …, each with a link to every other one of which anything is known."""
    return [
        device(
            f"GPU-{n}",
            index=n,
            links=tuple((f"GPU-{m}", near(n, m)) for m in range(size) if m != n and near(n, m)),
        )
        for n in range(size)
    ]


def dgx(n: int, m: int) -> int:
    """Eight cards that NVSwitches join."""
    return nearness_of_nvlinks(12)


def quads(n: int, m: int) -> int:
    """Fours that NVLinks join, each on a socket."""
    return nearness_of_nvlinks(4) if n // 4 == m // 4 else Nearness.SYSTEM


def pcie_pairs(n: int, m: int) -> int:
    """Pairs on a PCIe switch each, four cards on a socket."""
    if n // 2 == m // 2:
        return Nearness.ONE_SWITCH
    return Nearness.NODE if n // 4 == m // 4 else Nearness.SYSTEM


def bridges(n: int, m: int) -> int:
    """Pairs that an NVLink bridge joins; the others meet at the CPU."""
    return nearness_of_nvlinks(4) if n // 2 == m // 2 else Nearness.HOST_BRIDGE


def sockets(n: int, m: int) -> int:
    """Four cards on the CPU's own lanes on each of two sockets."""
    return Nearness.HOST_BRIDGE if n // 4 == m // 4 else Nearness.SYSTEM


def cube_mesh(n: int, m: int) -> int:
    """A DGX-1 with V100: 1 or 2 links to four of the others, and PCIe to the rest."""
    double = {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}
    single = {(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)}
    pair = (min(n, m), max(n, m))
    if pair in double | single:
        return nearness_of_nvlinks(2 if pair in double else 1)
    return Nearness.ONE_SWITCH if n // 4 == m // 4 else Nearness.SYSTEM


def nothing(n: int, m: int) -> int:
    """A driver that tells no connection."""
    return Nearness.UNKNOWN


def numbers(devices: Sequence[Device]) -> list[int]:
    return [int(d.uuid.removeprefix("GPU-")) for d in devices]


def choose(near: Near, free: Sequence[int], count: int) -> list[int]:
    fleet = machine(max(free) + 1, near)
    return numbers(choose_set([fleet[n] for n in free], count))


ALL = range(8)


@pytest.mark.parametrize(
    ("near", "free", "chosen"),
    [
        pytest.param(dgx, ALL, 0, id="all alike: the first"),
        pytest.param(quads, ALL, 0, id="whole fours: the first"),
        pytest.param(quads, [0, 1, 2, 3, 4, 5], 4, id="the four that is broken already"),
        pytest.param(quads, [0, 1, 2, 3, 7], 7, id="the one that is left of a four"),
        pytest.param(pcie_pairs, [0, 1, 2, 4, 5], 2, id="the one whose neighbour is gone"),
        pytest.param(pcie_pairs, [0, 1, 2, 3, 4, 5], 4, id="the pair with no other near it"),
        pytest.param(bridges, [0, 1, 3, 4, 5], 3, id="the one whose bridge leads nowhere"),
        pytest.param(sockets, [0, 1, 2, 5, 6], 5, id="the socket with fewer free"),
        pytest.param(cube_mesh, [0, 1, 2, 3, 6], 6, id="the worst connected of a mesh"),
        pytest.param(nothing, [3, 5, 7], 3, id="nothing known: the first"),
        pytest.param(quads, [6], 6, id="the only one"),
    ],
)
def test_one_device_breaks_least(near: Near, free: Sequence[int], chosen: int) -> None:
    assert choose(near, free, 1) == [chosen]


@pytest.mark.parametrize(
    ("near", "free", "chosen"),
    [
        pytest.param(dgx, ALL, [0, 1], id="all alike: the first"),
        pytest.param(dgx, ALL, [0, 1, 2, 3], id="all alike, four of them"),
        pytest.param(quads, [2, 3, 4, 5, 6, 7], [2, 3], id="two from the broken four"),
        pytest.param(quads, [1, 3, 4, 5, 6, 7], [4, 5, 6], id="three from the whole four"),
        pytest.param(quads, [0, 1, 2, 4, 5, 6, 7], [4, 5, 6, 7], id="the whole four"),
        pytest.param(quads, [0, 1, 2, 4, 5, 6, 7], [0, 1, 2], id="three leave the four whole"),
        pytest.param(quads, [0, 3, 4, 5, 6, 7], [0, 4, 5, 6, 7], id="five: a four and one more"),
        pytest.param(quads, [2, 3, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7], id="all that are free"),
        pytest.param(pcie_pairs, [1, 2, 4, 5], [4, 5], id="a pair, and no two halves"),
        pytest.param(pcie_pairs, [0, 1, 2, 3, 6, 7], [6, 7], id="the pair with no other near it"),
        pytest.param(pcie_pairs, [0, 1, 2, 4, 6, 7], [0, 1, 2], id="three on one socket"),
        pytest.param(pcie_pairs, [0, 2, 4, 5, 6, 7], [4, 5, 6, 7], id="two pairs of one socket"),
        pytest.param(bridges, [0, 2, 3, 4, 6, 7], [2, 3, 6, 7], id="two whole bridges"),
        pytest.param(sockets, [0, 4, 5, 6], [4, 5], id="no two sockets"),
        pytest.param(cube_mesh, ALL, [0, 3], id="a double link that breaks no more than others"),
        pytest.param(cube_mesh, ALL, [0, 1, 2, 3], id="a mesh's own four"),
        pytest.param(nothing, ALL, [0, 1, 2], id="nothing known: the first"),
    ],
)
def test_several_devices_are_the_best_connected(near: Near, free: Sequence[int], chosen: list[int]) -> None:
    assert choose(near, free, len(chosen)) == chosen


def test_the_result_is_in_the_order_of_the_free() -> None:
    assert choose(quads, [7, 1, 5, 0, 4, 6], 4) == [7, 5, 4, 6]
    assert choose(quads, [7, 1, 5, 0, 4, 6], 2) == [1, 0]
    assert choose(dgx, [5, 2, 7], 2) == [5, 2]


def test_a_link_counts_that_only_one_end_tells() -> None:
    fleet = [device("GPU-0"), device("GPU-1"), device("GPU-2", links=(("GPU-1", 50),))]
    assert numbers(choose_set(fleet, 2)) == [1, 2]
    assert numbers(choose_set(fleet, 1)) == [0]


def test_links_to_devices_that_are_not_free_count_for_nothing() -> None:
    fleet = [device("GPU-0", links=(("GPU-9", 1200), ("GPU-0", 9999))), device("GPU-1"), device("GPU-2")]
    assert numbers(choose_set(fleet, 2)) == [0, 1]


def test_none_and_all() -> None:
    fleet = machine(4, quads)
    assert choose_set(fleet, 0) == ()
    assert choose_set(fleet, 4) == tuple(fleet)
    assert choose_set([], 0) == ()


@pytest.mark.parametrize("count", [-1, 4])
def test_more_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} of 3 devices"):
        choose_set(machine(3, quads), count)


# -- against every set there is ----------------------------------------------------------------------------


def within(fleet: Sequence[Device], places: Sequence[int]) -> int:
    near = [dict(d.links) for d in fleet]
    return sum(near[n].get(fleet[m].uuid, 0) for n, m in combinations(places, 2))


def broken(fleet: Sequence[Device], places: Sequence[int]) -> int:
    near = [dict(d.links) for d in fleet]
    rest = [m for m in range(len(fleet)) if m not in places]
    return sum(near[n].get(fleet[m].uuid, 0) for n in places for m in rest)


def naive(fleet: Sequence[Device], count: int) -> tuple[Device, ...]:
    """The first of all sets of the most nearness within, then the least to the others."""
    sets = combinations(range(len(fleet)), count)
    return tuple(fleet[n] for n in min(sets, key=lambda s: (-within(fleet, s), broken(fleet, s))))


def some_graph(size: int, levels: Sequence[int], seed: int) -> list[Device]:
    chance = random.Random(seed)
    near = {pair: chance.choice(levels) for pair in combinations(range(size), 2)}
    return machine(size, lambda n, m: near[min(n, m), max(n, m)])


LEVELS = st.sampled_from(
    [
        (0, 100),
        (10, 20),
        (0, 10, 20, 50, 100, 1200),
        tuple(range(1, 2000, 7)),
        (1200, 1200, 1200, 1200, 1200, 600),
    ]
)


@given(st.integers(1, 10), st.integers(1, 10), LEVELS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_up_to_the_limit_no_set_is_better(size: int, count: int, levels: Sequence[int], seed: int) -> None:
    fleet = some_graph(size, levels, seed)
    count = min(count, size)
    assert choose_set(fleet, count) == naive(fleet, count)


@pytest.mark.parametrize("near", [dgx, quads, pcie_pairs, bridges, sockets, cube_mesh])
def test_of_a_machine_of_eight_no_set_is_better(near: Near) -> None:
    fleet = machine(8, near)
    for gone in (0, 0b1, 0b1001, 0b1100_0000, 0b0101_0010, 0b1000_0111):
        free = [d for n, d in enumerate(fleet) if not gone >> n & 1]
        for count in range(1, len(free) + 1):
            assert choose_set(free, count) == naive(free, count)


# -- more devices than every set of which can be looked at -------------------------------------------------


def blocks(size: int, far: int) -> Near:
    return lambda n, m: nearness_of_nvlinks(12) if n // size == m // size else far


@pytest.mark.parametrize("count", [2, 3, 4, 16])
@given(LEVELS, st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_a_large_choice_has_its_share_of_the_best(count: int, levels: Sequence[int], seed: int) -> None:
    fleet = some_graph(EXACT_UP_TO + 1, levels, seed)
    chosen = choose_set(fleet, count)
    places = [fleet.index(d) for d in chosen]
    assert places == sorted(set(places))
    assert len(places) == count
    best = max(within(fleet, s) for s in combinations(range(len(fleet)), count))
    assert within(fleet, places) * count >= 2 * best


def test_of_a_large_machine_the_pair_is_the_best_there_is() -> None:
    for seed in range(5):
        fleet = some_graph(40, (0, 10, 20, 50, 100, 1200), seed)
        assert choose_set(fleet, 2) == naive(fleet, 2)


@pytest.mark.parametrize("far", [0, Nearness.SYSTEM])
def test_of_a_large_machine_whole_blocks_are_taken_and_left(far: int) -> None:
    near = blocks(8, far)
    free = [n for n in range(64) if n not in (0, 1, 2, 20, 21, 22, 23, 33)]  # 5, 8, 4, 8, 7, 8, 8, 8 are left
    assert choose(near, free, 8) == list(range(8, 16))
    assert choose(near, free, 7) == [32, *range(34, 40)]
    assert choose(near, free, 5) == [3, 4, 5, 6, 7]
    assert choose(near, free, 4) == [16, 17, 18, 19]
    assert choose(near, free, 16) == [*range(8, 16), *range(24, 32)]
    assert choose(near, free, 12) == [*range(8, 16), *range(16, 20)]


@pytest.mark.parametrize("far", [0, Nearness.SYSTEM])
def test_of_a_large_machine_one_device_breaks_least(far: int) -> None:
    assert choose(blocks(8, far), [n for n in range(64) if n not in (16, 17)], 1) == [18]
    assert choose(blocks(8, far), range(64), 1) == [0]


def test_of_a_large_machine_of_which_nothing_is_known_the_first() -> None:
    assert choose(nothing, range(40), 3) == [0, 1, 2]
    assert choose(dgx, range(40), 3) == [0, 1, 2]


# -- speed -------------------------------------------------------------------------------------------------


def seconds(fleet: Sequence[Device], count: int) -> float:
    """Of the process's own time, and the best of three, because the machine is not ours alone."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        choose_set(fleet, count)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize("levels", [(0, 100), (99, 100), (10, 20, 50, 100, 1200), tuple(range(1000, 2000))])
@pytest.mark.alone
def test_every_set_of_sixteen_is_quickly_looked_at(levels: Sequence[int]) -> None:
    assert seconds(some_graph(16, levels, 1), 8) < 0.03


@pytest.mark.parametrize("count", [1, 2, 8, 32, 63])
@pytest.mark.parametrize("near", [blocks(8, 10), pcie_pairs])
@pytest.mark.alone
def test_sixty_four_devices_are_quick(near: Near, count: int) -> None:
    assert seconds(machine(64, near), count) < 0.01


@pytest.mark.alone
def test_a_thousand_devices_do_not_explode() -> None:
    assert seconds(machine(1000, blocks(8, 0)), 8) < 0.5


def test_order_of_levels() -> None:
    levels = [*Nearness, nearness_of_nvlinks(2), nearness_of_nvlinks(18)]
    assert levels == sorted(set(levels))
    assert nearness_of_nvlinks(1) == Nearness.NVLINK
