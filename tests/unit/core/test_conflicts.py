"""Which reservations collide, and which seats are given back."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations, permutations

import pytest
from gpuspawner.core.claims import Holder, Reservation, SeatReturn
from gpuspawner.core.model import LeaseState, Party
from gpuspawner.core.reservations import find_conflicts, open_occurrences, plan_returns
from gpuspawner.core.seats import count_filled, count_spare
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, device, lease, record
from support.reservations import COURSE, DAY, HOUR, first, reservation

CARDS = [record(f"GPU-{n}", model="A100" if n < 3 else "L40S", index=n) for n in range(4)]
START = NOW + 2 * HOUR


def other(**changes: object) -> Reservation:
    return reservation(**{"id": "r2", "title": "Thesis", "holder": Holder("person", "ada")} | changes)


def left(new: Reservation, *standing: Reservation, returns: tuple[SeatReturn, ...] = ()) -> list[int]:
    return [one.left for one in find_conflicts(new, standing, CARDS, NOW, returns=returns)]


@pytest.mark.parametrize(
    ("new", "standing", "found"),
    [
        (other(devices=2), [reservation(devices=2)], []),
        (other(devices=3), [reservation(devices=2)], [2]),
        (other(devices=3, start=START + 2 * HOUR), [reservation(devices=2)], []),
        (other(devices=3, start=START + 2 * HOUR, lead=timedelta(minutes=5)), [reservation(devices=2)], [2]),
        (other(devices=3, start=START - 2 * HOUR), [reservation(lead=timedelta(minutes=5))], [2]),
        (other(cards=frozenset({"L40S"}), devices=1), [reservation(devices=3)], []),
        (other(cards=frozenset({"L40S"}), devices=1), [reservation(devices=4)], [0]),
        (other(cards=frozenset({"A100"}), devices=2), [reservation(devices=3)], [1]),
        (other(cards=frozenset({"GPU-0"}), devices=1), [reservation(cards=frozenset({"A100"}))], []),
        (
            other(cards=frozenset({"GPU-0"}), devices=1),
            [reservation(cards=frozenset({"GPU-0"}), devices=1)],
            [0],
        ),
        (reservation(devices=4), [reservation(devices=2)], []),
    ],
)
def test_conflicts(new: Reservation, standing: list[Reservation], found: list[int]) -> None:
    assert left(new, *standing) == found


def test_three_that_share_cards_only_in_part() -> None:
    """GPU-0 or GPU-1, GPU-1 or GPU-2, GPU-0 or GPU-2: each pair fits twice over, three fit, four do not."""
    pairs = [frozenset({"GPU-0", "GPU-1"}), frozenset({"GPU-1", "GPU-2"}), frozenset({"GPU-0", "GPU-2"})]
    made = [other(id=f"r{n}", cards=cards, devices=1) for n, cards in enumerate(pairs)]
    assert left(made[2], *made[:2]) == []
    assert left(other(id="r9", cards=pairs[0], devices=1), *made) == [0]


def test_each_occurrence_that_collides_is_named_with_what_it_collides_with() -> None:
    weekly = reservation(rule="FREQ=WEEKLY;COUNT=3", devices=3)
    (found,) = find_conflicts(other(start=START + 7 * DAY + HOUR), [weekly], CARDS, NOW)
    assert (found.at, found.left) == (START + 7 * DAY + HOUR, 1)
    assert found.describe() == (
        "Fri 24 May 2030, 15:00 to 17:00 UTC: 1 GPU is left "
        "('Tuesday lab' for course `cs231` has 3, Fri 24 May 2030, 14:00 to 16:00 UTC)"
    )
    assert left(other(rule="FREQ=WEEKLY;COUNT=9"), weekly) == [1, 1, 1]


def test_more_than_there_are_is_never_possible() -> None:
    (found,) = find_conflicts(other(devices=5), [], CARDS, NOW)
    assert (found.left, found.others) == (4, ())
    assert found.describe() == "4 GPUs are all that this server has of this kind"


def test_what_is_infeasible_without_it_is_not_its_fault() -> None:
    assert (
        left(other(cards=frozenset({"L40S"}), devices=1), reservation(cards=frozenset({"A100"}), devices=9))
        == []
    )


def test_seats_that_were_given_back_can_be_reserved() -> None:
    running = reservation(start=NOW - HOUR, devices=4)
    new = other(start=NOW, devices=1, length=HOUR)
    assert left(new, running) == [0]
    assert left(new, running, returns=(SeatReturn("r1", running.start, 2, NOW),)) == []


def test_many_conflicts_are_found_in_time_and_not_all_told() -> None:
    daily = [other(id=f"r{n}", rule="FREQ=DAILY;COUNT=700", devices=1) for n in range(4)]
    assert left(other(id="new", rule="FREQ=DAILY;COUNT=700", devices=1), *daily) == [0] * 20


SUPPLY = st.dictionaries(st.integers(1, 7), st.integers(0, 2), max_size=4)
DEMAND = st.fixed_dictionaries({1: st.integers(0, 2), 2: st.integers(0, 2), 4: st.integers(0, 2)})


def brute_force(supply: dict[int, int], demand: dict[int, int]) -> int:
    cards = [mask for mask, count in supply.items() for _ in range(count)]
    seats = [bit for bit, count in demand.items() for _ in range(count)]
    cards += [0] * len(seats)
    orders = permutations(cards, len(seats)) if len(cards) < 10 else ()
    return max((sum(bool(c & s) for c, s in zip(o, seats, strict=True)) for o in orders), default=0)


@given(SUPPLY, DEMAND)
def test_as_many_seats_are_filled_as_can_be(supply: dict[int, int], demand: dict[int, int]) -> None:
    if sum(supply.values()) + sum(demand.values()) < 9:
        assert count_filled(supply, demand) == brute_force(supply, demand)


@given(SUPPLY, DEMAND)
def test_the_spare_can_be_spared(supply: dict[int, int], demand: dict[int, int]) -> None:
    cards = [mask for mask, count in supply.items() for _ in range(count)]
    spare = count_spare(supply, demand)
    for gone in combinations(range(len(cards)), min(spare, len(cards))):
        rest: dict[int, int] = {}
        for n, mask in enumerate(cards):
            rest[mask] = rest.get(mask, 0) + (n not in gone)
        assert count_filled(rest, demand) == count_filled(supply, demand)


RUNNING = reservation(start=NOW - timedelta(minutes=15), devices=3)
SEAT = (RUNNING.id, RUNNING.start)


def back(*leases: object, running: Reservation = RUNNING, returns: tuple[SeatReturn, ...] = ()) -> list[int]:
    occurrences = open_occurrences([running], returns, NOW, NOW + DAY)
    return [one.seats for one in plan_returns(occurrences, leases, CARDS, NOW)]  # type: ignore[arg-type]


def test_nobody_came() -> None:
    assert back() == [3]
    assert back(running=reservation(start=NOW - timedelta(minutes=14))) == []
    assert back(running=reservation(start=NOW - timedelta(minutes=14), lead=HOUR)) == []
    assert back(running=reservation(start=NOW - 2 * HOUR)) == []


def test_seat_by_seat() -> None:
    assert back(lease(LeaseState.ACTIVE, "GPU-0", reservation=SEAT)) == [2]
    assert back(lease(LeaseState.ACTIVE, "GPU-0", "GPU-1", "GPU-2", reservation=SEAT)) == []


def test_a_session_without_a_seat_counts_where_its_person_may_use_the_reservation() -> None:
    assert back(lease(LeaseState.ACTIVE, "GPU-0", party=COURSE)) == [2]
    assert back(lease(LeaseState.ACTIVE, "GPU-0", party=Party())) == [3]
    on_l40s = reservation(start=RUNNING.start, cards=frozenset({"L40S"}), devices=1)
    assert back(lease(LeaseState.ACTIVE, "GPU-0", party=COURSE), running=on_l40s) == [1]


@pytest.mark.parametrize(("minutes", "given_back"), [(14, [2]), (15, [3])])
def test_a_seat_that_was_left_is_kept_for_a_while(minutes: int, given_back: list[int]) -> None:
    gone = lease(LeaseState.RELEASED, "GPU-0", reservation=SEAT, ended_at=NOW - timedelta(minutes=minutes))
    assert back(gone) == given_back


def test_what_was_given_back_stays_so() -> None:
    once = SeatReturn(RUNNING.id, RUNNING.start, 2, NOW - HOUR)
    used = lease(LeaseState.ACTIVE, "GPU-0", reservation=SEAT)
    assert back(used, returns=(once,)) == []
    assert back(returns=(once,)) == [3]
    assert first(RUNNING).seats == 3
    assert device().parent is None
