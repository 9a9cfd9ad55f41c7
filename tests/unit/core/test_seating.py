"""What reservations mean for one session."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from gpuspawner.core.claims import Holder, Reservation
from gpuspawner.core.model import Lease, LeaseState, Party
from gpuspawner.core.reservations import Calendar, open_occurrences
from gpuspawner.core.seats import count_filled
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import NOW, lease, record
from support.reservations import COURSE, DAY, HOUR, reservation

CARDS = [record(f"GPU-{n}", model="A100" if n < 3 else "L40S", index=n) for n in range(4)]
FREE = [one.device.uuid for one in CARDS]
START = NOW + 2 * HOUR
NOBODY = Party()


def calendar(*reservations: Reservation, leases: tuple[Lease, ...] = ()) -> Calendar:
    return Calendar(CARDS, leases, open_occurrences(reservations, (), NOW, NOW + 30 * DAY), NOW)


def held(*devices: str, **changes: Any) -> Lease:
    return lease(LeaseState.ACTIVE, *devices, **changes)


def limit(book: Calendar, *uuids: str, party: Party = NOBODY, **more: Any) -> datetime | None:
    return book.limit(uuids or ("GPU-0",), "bob", party, **more)[0]


def test_nothing_is_reserved() -> None:
    book = calendar()
    assert book.limit(FREE, "bob", NOBODY) == (None, "")
    assert book.seat_for("bob", NOBODY, FREE, 1) is None
    assert book.choose_widest(FREE, 1, "bob", NOBODY) == tuple(FREE)


@pytest.mark.parametrize(("devices", "ends"), [(3, None), (4, START)])
def test_a_session_must_end_where_the_reservation_lacks_its_device(
    devices: int, ends: datetime | None
) -> None:
    assert limit(calendar(reservation(devices=devices))) == ends


def test_it_ends_before_the_lead_time_and_reads_why() -> None:
    book = calendar(reservation(devices=4, lead=timedelta(minutes=10)))
    assert book.limit(["GPU-0"], "bob", NOBODY) == (
        START - timedelta(minutes=10),
        "reserved for course `cs231` (Tuesday lab) from 14:00 UTC",
    )


def test_several_devices_together() -> None:
    book = calendar(reservation(devices=3))
    assert limit(book, "GPU-0") is None
    assert limit(book, "GPU-0", "GPU-1") == START


def test_sessions_that_last_longer_leave_less() -> None:
    made = reservation(devices=3)
    assert limit(calendar(made, leases=(held("GPU-1"),))) == START
    assert limit(calendar(made, leases=(held("GPU-1", ends_at=START),))) is None
    assert limit(calendar(made, leases=(held("GPU-1", ends_at=START + HOUR),))) == START
    assert limit(calendar(made, leases=(lease(LeaseState.RELEASING, "GPU-1"),))) is None
    assert limit(calendar(made, leases=(lease(LeaseState.QUARANTINED, "GPU-1"),))) == START


def test_what_is_lost_already_does_not_limit() -> None:
    """The reservation gets the two A100 that are left, and the L40S is no use to it."""
    made = reservation(devices=3, cards=frozenset({"A100"}))
    book = calendar(made, leases=(held("GPU-0"),))
    assert limit(book, "GPU-3") is None
    assert limit(book, "GPU-1") == START


def test_only_cards_that_are_meant() -> None:
    book = calendar(reservation(devices=1, cards=frozenset({"GPU-2"})))
    assert limit(book, "GPU-2") == START
    assert limit(book, "GPU-0", "GPU-1", "GPU-3") is None
    assert book.choose_widest(FREE, 3, "bob", NOBODY) == ("GPU-0", "GPU-1", "GPU-3")
    assert book.choose_widest(FREE, 4, "bob", NOBODY) == tuple(FREE)


def test_of_cards_that_are_all_reserved_those_that_are_needed_last() -> None:
    soon = reservation(devices=3, cards=frozenset({"A100"}))
    late = reservation(id="r2", devices=1, cards=frozenset({"L40S"}), start=START + DAY)
    assert calendar(soon, late).choose_widest(FREE, 1, "bob", NOBODY) == ("GPU-3",)
    assert calendar(soon, late).choose_widest(FREE[:3], 1, "bob", NOBODY) == tuple(FREE[:3])


def test_two_reservations_that_share_cards_only_in_part() -> None:
    """Three A100 and any one: all four cards are needed, and the L40S by the second."""
    book = calendar(
        reservation(devices=3, cards=frozenset({"A100"})), reservation(id="r2", devices=1, start=START + HOUR)
    )
    assert limit(book, "GPU-0") == START
    assert limit(book, "GPU-3") == START + HOUR


def test_what_is_later_than_the_end_is_not_looked_at() -> None:
    book = calendar(reservation(devices=4))
    assert limit(book, until=START) is None
    assert limit(book, until=START + HOUR) == START


def test_a_person_of_the_reservation_need_not_end_and_then_fills_a_seat() -> None:
    made = reservation(devices=4)
    book = calendar(made)
    assert limit(book, party=COURSE) is None
    mine = held("GPU-0", party=COURSE)
    assert limit(calendar(made, leases=(mine,)), "GPU-1") == START
    narrow = calendar(reservation(devices=3), leases=(mine,))
    assert limit(narrow, "GPU-1") is None
    assert limit(narrow, "GPU-1", "GPU-2") == START


def test_who_is_not_among_the_users_is_like_anybody() -> None:
    book = calendar(reservation(devices=4, users=("ada",)))
    assert limit(book, party=COURSE) == START
    assert book.limit(["GPU-0"], "ada", COURSE) == (None, "")


def test_a_person_of_one_reservation_must_still_end_for_another() -> None:
    mine = reservation(devices=2)
    theirs = reservation(id="r2", devices=4, holder=Holder("person", "ada"), start=START + DAY)
    assert limit(calendar(mine, theirs), party=COURSE) == START + DAY


def test_while_it_is_on_the_cards_that_are_needed_cannot_be_had() -> None:
    made = reservation(devices=3, start=NOW - HOUR)
    taken = held("GPU-0", "GPU-1", reservation=(made.id, made.start), party=COURSE)
    book = calendar(made, leases=(taken,))
    assert limit(book, "GPU-2") is None
    assert book.limit(["GPU-2", "GPU-3"], "bob", NOBODY) == (
        NOW,
        "reserved for course `cs231` (Tuesday lab) until 13:00 UTC",
    )


def test_a_seat_for_those_who_may() -> None:
    made = reservation(devices=2, start=NOW)
    book = calendar(made)
    found = book.seat_for("bob", COURSE, FREE, 2)
    assert found
    assert found.key == (made.id, made.start)
    assert book.seat_for("bob", NOBODY, FREE, 1) is None
    assert book.seat_for("bob", COURSE, FREE, 3) is None
    assert book.seat_for("bob", COURSE, FREE[:1], 2) is None


@pytest.mark.parametrize(("lead", "there"), [(29, False), (30, True)])
def test_a_seat_from_the_lead_time_on(lead: int, there: bool) -> None:
    made = reservation(start=NOW + timedelta(minutes=30), lead=timedelta(minutes=lead))
    assert bool(calendar(made).seat_for("bob", COURSE, FREE, 1)) is there


def test_seats_in_use() -> None:
    made = reservation(devices=2, start=NOW)
    seated = held("GPU-0", reservation=(made.id, NOW), party=COURSE)
    early = held("GPU-1", party=COURSE, id="l2")
    gone = lease(LeaseState.RELEASING, "GPU-0", reservation=(made.id, NOW), party=COURSE)
    strange = held("GPU-1", id="l2")
    for leases, used in [((seated,), 1), ((seated, early), 2), ((gone,), 0), ((seated, strange), 1)]:
        book = calendar(made, leases=leases)
        (one,) = open_occurrences([made], (), NOW, NOW + DAY)
        assert book.used(one) == used
        assert bool(book.seat_for("bob", COURSE, ["GPU-2", "GPU-3"], 1)) is (used < 2)


def test_seats_are_only_of_the_cards_that_are_meant() -> None:
    made = reservation(devices=1, start=NOW, cards=frozenset({"L40S"}))
    book = calendar(made)
    assert book.seat_for("bob", COURSE, FREE[:3], 1) is None
    found = book.seat_for("bob", COURSE, FREE, 1)
    assert found
    assert book.serving(found, FREE) == ("GPU-3",)


def test_the_next_grant_sees_the_last() -> None:
    book = calendar(reservation(devices=3))
    assert limit(book, "GPU-1") is None
    assert limit(book.taking(held("GPU-0")), "GPU-1") == START


def test_sessions_under_way_that_may_keep_seats_are_named() -> None:
    made = reservation(devices=3)
    endless, short = held("GPU-0", "GPU-1"), held("GPU-2", id="l2", ends_at=START)
    found = calendar(made, leases=(endless, short)).find_shortfall((made.id, made.start))
    assert found
    assert (found.missing, found.leases) == (1, (endless,))
    assert calendar(made, leases=(short,)).find_shortfall((made.id, made.start)) is None


# -- against the definition ---------------------------------------------------------------------------------

SETS = [frozenset(), frozenset({"A100"}), frozenset({"L40S"}), frozenset({"GPU-0", "GPU-3"})]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Reservation], list[Lease]]:
    reservations = [
        reservation(
            id=f"r{n}",
            holder=Holder("person", draw(st.sampled_from(["ada", "bob"]))),
            devices=draw(st.integers(1, 3)),
            cards=draw(st.sampled_from(SETS)),
            start=NOW + draw(st.integers(-1, 3)) * HOUR,
        )
        for n in range(draw(st.integers(1, 4)))
    ]
    leases = [
        held(f"GPU-{n}", id=f"l{n}", owner=owner, ends_at=end)
        for n, (owner, end) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.sampled_from(["ada", "eve"]), st.sampled_from([None, NOW + HOUR, NOW + 3 * HOUR])
                    ),
                    max_size=2,
                )
            )
        )
    ]
    return reservations, leases


def filled_at(moment: datetime, reservations: list[Reservation], leases: list[Lease]) -> int:
    """Seats that can be had at a moment, by the definition, without a class or a flow of the calendar's."""
    on = [one for one in reservations if one.start <= moment < one.start + one.length]
    holders = {
        u: one
        for one in leases
        for u in one.devices
        if one.ends_at is None or one.ends_at > moment or moment == NOW
    }
    supply: dict[int, int] = {}
    for card in CARDS:
        owner = holders[card.device.uuid].owner if card.device.uuid in holders else None
        mask = sum(
            1 << n
            for n, one in enumerate(on)
            if (not one.cards or {card.device.model, card.device.uuid} & one.cards)
            and owner in (None, one.holder.name)
        )
        supply[mask] = supply.get(mask, 0) + 1
    return count_filled(supply, {1 << n: one.devices for n, one in enumerate(on)})


@settings(max_examples=150, deadline=None)
@given(situations())
def test_a_limit_is_the_first_time_at_which_the_session_costs_a_seat(
    situation: tuple[list[Reservation], list[Lease]],
) -> None:
    reservations, leases = situation
    book = calendar(*reservations, leases=tuple(leases))
    moments = [NOW + n * HOUR / 2 for n in range(14)]
    for person, wanted in product(["bob", "eve"], [["GPU-2"], ["GPU-3"], ["GPU-2", "GPU-3"]]):
        session = [*leases, held(*wanted, id="new", owner=person)]
        costs = (
            moment
            for moment in moments
            if filled_at(moment, reservations, session) < filled_at(moment, reservations, leases)
        )
        assert book.limit(wanted, person, NOBODY)[0] == next(costs, None)
