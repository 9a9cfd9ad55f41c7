from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.drains import (
    NOW_GRACE,
    choose_end,
    describe_time,
    find_card_family,
    find_drain,
    find_family,
    find_pin,
    is_over,
    why_drained,
)
from gpuspawner.core.model import LeaseState, Party
from gpuspawner.core.situation import Situation, find_unavailable
from support.build import NOW, ago, device, lease, record, ticket

LATER = NOW + timedelta(hours=6)
CARD, SLICE = device(), device("MIG-1", parent="GPU-0")
DRAIN = Drain("GPU-0", "fan is replaced", "root", ago(60))
PIN = Pin("GPU-0", Holder("group", "vision"), "their grant paid it", "root", ago(60))
FLEET = [
    record("GPU-1"),
    *(record(device=device(name, parent="GPU-0")) for name in ("MIG-1", "MIG-2")),
    record(device=device("MIG-9", parent="GPU-9")),
]


def drain(device: str = "GPU-0", hours: float | None = None) -> Drain:
    return Drain(device, "x", "root", ago(60), None if hours is None else NOW + timedelta(hours=hours))


def pin(kind: str, name: str, device: str = "GPU-0") -> Pin:
    return Pin(device, Holder(kind, name), "x", "root", ago(60))


@pytest.mark.parametrize(("hours", "over"), [(None, False), (1, False), (0, True), (-1, True)])
def test_a_drain_is_over_at_its_end(hours: float | None, over: bool) -> None:
    assert is_over(drain(hours=hours), NOW) is over
    assert (find_drain(CARD, [drain(hours=hours)], NOW) is None) is over


def test_a_card_is_drained_with_its_slices_and_a_slice_alone() -> None:
    assert find_drain(CARD, [drain()], NOW)
    assert find_drain(SLICE, [drain()], NOW)
    assert find_drain(SLICE, [drain("MIG-1")], NOW)
    assert find_drain(CARD, [drain("MIG-1")], NOW) is None
    assert find_drain(SLICE, [drain("MIG-2"), drain("GPU-1")], NOW) is None
    assert find_drain(CARD, [], NOW) is None


@pytest.mark.parametrize("of_card", [2, None])
def test_of_two_drains_the_longer_one_counts(of_card: float | None) -> None:
    longer = drain(hours=of_card)
    assert find_drain(SLICE, [longer, drain("MIG-1", 1)], NOW) is longer
    assert find_drain(SLICE, [drain("MIG-1", 1), longer], NOW) is longer


def test_what_is_said_of_a_slice_goes_before_what_is_said_of_its_card() -> None:
    both = [pin("person", "ada"), pin("person", "bob", "MIG-1")]
    assert find_pin(SLICE, both) is both[1]
    assert find_pin(CARD, both) is both[0]
    assert find_pin(SLICE, both[:1]) is both[0]
    assert find_pin(device("GPU-1"), both) is None


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (None, "drained by root: fan is replaced"),
        (LATER, "drained by root until 18:00 UTC: fan is replaced"),
        (NOW + timedelta(days=1), "drained by root until 2030-05-18 12:00 UTC: fan is replaced"),
    ],
)
def test_why_drained(until, words: str) -> None:
    assert why_drained(Drain("GPU-0", "fan is replaced", "root", ago(60), until), NOW) == words


def test_a_time_is_told_in_utc() -> None:
    assert describe_time((NOW + timedelta(hours=13)), NOW) == "2030-05-18 01:00 UTC"


@pytest.mark.parametrize(
    ("drains", "pins", "person", "party", "theirs"),
    [
        ([], [], "ada", Party(), True),
        ([DRAIN], [], "ada", Party(), False),
        ([DRAIN], [PIN], "ada", Party(("vision",)), False),
        ([drain(hours=-1)], [], "ada", Party(), True),
        ([], [PIN], "ada", Party(), False),
        ([], [PIN], "vision", Party(), False),
        ([], [PIN], "ada", Party(("other", "vision")), True),
        ([], [PIN], "ada", Party(courses=("vision",)), False),
        ([], [pin("group", "default")], "ada", Party(), True),
        ([], [pin("person", "ada")], "ada", Party(), True),
        ([], [pin("person", "ada")], "bob", Party(), False),
        ([], [pin("course", "ml")], "ada", Party(courses=("ml",)), True),
        ([], [pin("course", "ml")], "ada", Party(), False),
    ],
)
def test_who_can_be_given_a_card(drains, pins, person: str, party: Party, theirs: bool) -> None:
    for one in (CARD, SLICE):
        situation = Situation(NOW, [record(device=one, seen_at=NOW)], (), drains=drains, pins=pins)
        missing = find_unavailable(situation, ticket(owner=person, party=party))
        assert missing == (frozenset() if theirs else {one.uuid})


def test_families() -> None:
    assert find_family("GPU-0", FLEET) == {"GPU-0", "MIG-1", "MIG-2"}
    assert find_family("MIG-1", FLEET) == {"MIG-1"}
    assert find_card_family("MIG-1", FLEET) == {"GPU-0", "MIG-1", "MIG-2"}
    assert find_card_family("GPU-1", FLEET) == {"GPU-1"}


@pytest.mark.parametrize(
    ("held", "ends"),
    [
        (lease(), True),
        (lease(LeaseState.RESERVED), True),
        (lease(LeaseState.RELEASING), False),
        (lease(LeaseState.QUARANTINED), False),
        (lease(ends_at=LATER), True),
        (lease(ends_at=NOW + NOW_GRACE), False),
    ],
)
def test_who_ends_when_a_card_is_drained_now(held, ends: bool) -> None:
    end = (NOW + NOW_GRACE, "card is drained by root: fan is replaced")
    assert choose_end(held, DRAIN, NOW) == (end if ends else None)
