"""The use cases around reservations, over the real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import reservations, room
from gpuspawner.allocator.reservations import Made, Reservations
from gpuspawner.core.claims import SeatReturn
from gpuspawner.core.errors import InvalidRequest, ReservationConflict
from gpuspawner.core.model import Event, Lease, LeaseState
from gpuspawner.policy.ical import to_ical
from gpuspawner.policy.reservations import ReservationBody, parse_body
from support.build import HOST, NOW, lease, record
from support.reservations import COURSE, DAY, HOUR, person

START = NOW + 2 * HOUR
MINUTE = timedelta(minutes=1)


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        for n in range(4):
            unit.put_device(record(f"GPU-{n}", index=n))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(ledger: Ledger, clock: Clock) -> Reservations:
    return Reservations(ledger, HOST, clock)


def body(**changes: Any) -> ReservationBody:
    values = {"title": "Lab", "course": "cs231", "devices": 2, "start": START.isoformat(), "length": "2 h"}
    return parse_body(values | changes)


def make(book: Reservations, **changes: Any) -> Made:
    return book.make(body(**changes), actor=person("grace"))


def events(ledger: Ledger) -> list[Event]:
    with ledger.read() as unit:
        return list(reversed(unit.recent_events(100)))


def hold(ledger: Ledger, *devices: str, **changes: Any) -> Lease:
    held = lease(LeaseState.ACTIVE, *devices, **changes)
    with ledger.write() as unit:
        unit.add_lease(held)
    return held


def test_making_one(book: Reservations, ledger: Ledger) -> None:
    made = make(book, rule="FREQ=WEEKLY;COUNT=3", zone="Europe/Zurich")
    assert (made.warnings, made.replaced) == ((), False)
    assert book.standing() == (made.reservation,)
    assert book.find(made.reservation.id) == made.reservation
    (event,) = events(ledger)
    assert (event.kind, event.actor) == ("reservation.made", "grace")
    assert event.reason == "2 GPUs for course `cs231`, first Fri 17 May 2030, 16:00 to 18:00 CEST"
    assert event.data["reservation"] == made.reservation.id
    assert event.data["rule"] == "FREQ=WEEKLY;COUNT=3"


def test_a_conflict_changes_nothing_and_says_with_what(book: Reservations, ledger: Ledger) -> None:
    first = make(book, devices=3, rule="FREQ=DAILY;COUNT=9")
    with pytest.raises(ReservationConflict) as caught:
        make(book, title="Thesis", rule="FREQ=DAILY;COUNT=5")
    assert str(caught.value) == (
        "'Thesis' cannot have 2 GPUs. "
        "Fri 17 May 2030, 14:00 to 16:00 UTC: 1 GPU is left ('Lab' for course `cs231` has 3, "
        "Fri 17 May 2030, 14:00 to 16:00 UTC); "
        "Sat 18 May 2030, 14:00 to 16:00 UTC: 1 GPU is left ('Lab' for course `cs231` has 3, "
        "Sat 18 May 2030, 14:00 to 16:00 UTC); "
        "Sun 19 May 2030, 14:00 to 16:00 UTC: 1 GPU is left ('Lab' for course `cs231` has 3, "
        "Sun 19 May 2030, 14:00 to 16:00 UTC), and 2 more."
    )
    assert len(caught.value.conflicts) == 5
    assert book.standing() == (first.reservation,)
    assert [event.kind for event in events(ledger)] == ["reservation.made"]


def test_who_may_not_know_is_told_of_no_person(book: Reservations, ledger: Ledger) -> None:
    hold(ledger, "GPU-0", "GPU-1", "GPU-2", id="l1", owner="bob")
    own = body(course=None, person="eve", title="Thesis", devices=3)
    made = book.make(own, actor=person("eve"), people=False)
    assert made.warnings == (
        "2 of its 3 GPUs may still be in use Fri 17 May 2030, 14:00 to 16:00 UTC: sessions under way are not "
        "cut for it, one (without an end).",
    )
    with pytest.raises(ReservationConflict) as caught:
        book.make(body(), actor=person("ada"), people=False)
    assert "('Thesis' for a person has 3, Fri" in str(caught.value)


def test_a_change_by_somebody_else_leaves_it_with_who_made_it(book: Reservations, ledger: Ledger) -> None:
    made = make(book).reservation
    changed = book.change(made.id, body(devices=3), actor=person("admin")).reservation
    assert (changed.actor, changed.devices) == (person("grace"), 3)
    assert [event.actor for event in events(ledger)] == ["grace", "admin"]


def test_one_that_is_made_while_another_is_compared_is_seen(
    book: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compare(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            make(book, devices=3, title="The other")
        return room.require_room(*args, **more)

    monkeypatch.setattr(reservations, "require_room", compare)
    with pytest.raises(ReservationConflict, match="'The other' for course `cs231` has 3"):
        make(book)
    assert [one.title for one in book.standing()] == ["The other"]


def test_more_than_there_are(book: Reservations) -> None:
    with pytest.raises(
        ReservationConflict, match=r"5 GPUs\. 4 GPUs are all that this server has of this kind\."
    ):
        make(book, devices=5)


def test_sessions_under_way_are_warned_of_and_not_cut(book: Reservations, ledger: Ledger) -> None:
    endless = hold(ledger, "GPU-0", "GPU-1", id="l1", owner="bob")
    hold(ledger, "GPU-2", id="l2", owner="eve", ends_at=START + HOUR)
    hold(ledger, "GPU-3", id="l3", owner="eve", ends_at=START)
    made = make(book)
    assert made.warnings == (
        "1 of its 2 GPUs may still be in use Fri 17 May 2030, 14:00 to 16:00 UTC: sessions under way are not "
        "cut for it, those of bob (without an end), eve (until 2030-05-17 15:00 UTC).",
    )
    with ledger.read() as unit:
        assert unit.lease(endless.id) == endless


def test_cards_that_are_not_here_are_warned_of(book: Reservations) -> None:
    assert make(book, models=["A100", "A1000"]).warnings == ("There is no GPU 'A1000' here now.",)


def test_a_preview_says_what_making_it_would_and_changes_nothing(book: Reservations, ledger: Ledger) -> None:
    hold(ledger, "GPU-0", "GPU-1", "GPU-2", owner="bob")
    before = ledger.path.read_bytes(), events(ledger)
    wanted = body(rule="FREQ=DAILY;COUNT=3", models=["A100", "H100"])
    seen = book.preview(wanted, actor=person("grace"))
    assert [one.start for one in seen.ahead] == [START, START + DAY, START + 2 * DAY]
    assert (ledger.path.read_bytes(), events(ledger)) == before
    assert book.standing() == ()
    assert seen.warnings == book.make(wanted, actor=person("grace")).warnings
    assert len(seen.warnings) == 2


def test_a_preview_finds_what_making_it_would_collide_with(book: Reservations) -> None:
    made = make(book, devices=3).reservation
    with pytest.raises(ReservationConflict) as found:
        book.preview(body(), actor=person("grace"))
    assert [other.reservation_id for other in found.value.conflicts[0].others] == [made.id]
    with pytest.raises(InvalidRequest):
        book.preview(body(devices=2, length="1 min"), actor=person("grace"))
    (first,) = book.preview(body(devices=4), actor=person("grace"), replaces=made.id).ahead
    assert (first.reservation_id, first.seats) == (made.id, 4), "it does not collide with what it replaces"
    assert book.standing() == (made,)


def test_changing_one(book: Reservations, ledger: Ledger, clock: Clock) -> None:
    made = make(book, devices=4)
    clock.now += MINUTE
    changed = book.change(made.reservation.id, body(devices=3, title="Lab 2"), actor=person("ada"))
    assert changed.replaced
    assert book.standing() == (replace(made.reservation, devices=3, title="Lab 2"),), "who made it"
    assert [event.kind for event in events(ledger)] == ["reservation.made", "reservation.changed"]
    make(book, devices=1)
    with pytest.raises(ReservationConflict):
        book.change(made.reservation.id, body(devices=4), actor=person("ada"))


def test_cancelling_one(book: Reservations, ledger: Ledger, clock: Clock) -> None:
    made = make(book).reservation
    clock.now = START + HOUR
    book.cancel(made.id, actor=person("ada"), reason="the course is over")
    assert book.standing() == ()
    assert [one.end for one in book.list(NOW, NOW + DAY)] == [START + HOUR]
    assert (events(ledger)[-1].kind, events(ledger)[-1].reason) == (
        "reservation.cancelled",
        "the course is over",
    )
    for again in (made.id, "r" * 100):
        with pytest.raises(InvalidRequest, match=r"was cancelled already|There is no reservation 'r{40}'"):
            book.cancel(again, actor=person("ada"), reason="again")
    with pytest.raises(InvalidRequest, match="was cancelled already"):
        book.change(made.id, body(), actor=person("ada"))


def test_leaving_one_out(book: Reservations, ledger: Ledger) -> None:
    made = make(book, rule="FREQ=WEEKLY;COUNT=3").reservation
    book.leave_out(made.id, START + 7 * DAY, actor=person("ada"), reason="a holiday")
    assert [one.start for one in book.list(NOW, NOW + 30 * DAY)] == [START, START + 14 * DAY]
    assert events(ledger)[-1].data == {
        "reservation": made.id,
        "left_out": "2030-05-24T14:00:00+00:00",
        "acted_as": "person",
    }
    with pytest.raises(InvalidRequest, match="the next is Fri 17 May 2030, 14:00 to 16:00 UTC"):
        book.leave_out(made.id, START + 7 * DAY, actor=person("ada"), reason="a holiday")


def test_the_reservation_of_another_host_is_none(book: Reservations, ledger: Ledger, clock: Clock) -> None:
    made = make(book).reservation
    elsewhere = Reservations(ledger, "gpu2", clock)
    assert elsewhere.find(made.id) is None
    with pytest.raises(InvalidRequest, match="There is no reservation"):
        elsewhere.cancel(made.id, actor=person("ada"), reason="mine now")


def test_unused_seats_are_given_back_seat_by_seat(book: Reservations, ledger: Ledger, clock: Clock) -> None:
    made = make(book, devices=3).reservation
    clock.now = START
    seated = hold(ledger, "GPU-0", reservation=(made.id, START), party=COURSE)
    assert book.return_unused() == ()
    clock.now = START + 15 * MINUTE
    assert book.return_unused() == (SeatReturn(made.id, START, 2, clock.now),)
    assert book.return_unused() == ()
    assert events(ledger)[-1] == Event(
        clock.now,
        "reservation.returned",
        "2 GPUs of 3 that are reserved for course `cs231` (Lab) were not used, and are everybody's again",
        "controller",
        data={"reservation": made.id, "start": START.isoformat(), "seats": 2, "acted_as": "service"},
    )
    with ledger.write() as unit:
        unit.update_lease(replace(seated, state=LeaseState.RELEASED, ended_at=clock.now))
    assert [one.seats for one in book.list(START, START + HOUR)] == [1]
    clock.now += 14 * MINUTE
    assert book.return_unused() == ()
    clock.now += 2 * MINUTE
    assert book.return_unused() == (SeatReturn(made.id, START, 3, clock.now),)
    assert events(ledger)[-1].reason.startswith("1 GPU of 3 ")
    assert book.list(START, START + HOUR) == ()
    assert [one.seats for one in book.list(START, START + HOUR, empty=True)] == [0]


def test_what_is_over_is_closed_and_stays_in_the_list(
    book: Reservations, ledger: Ledger, clock: Clock
) -> None:
    make(book)
    weekly = make(book, rule="FREQ=WEEKLY;COUNT=2").reservation
    clock.now = START + HOUR
    assert book.close_past() == ()
    clock.now = START + 2 * HOUR
    assert len(book.close_past()) == 1
    assert book.standing() == (weekly,)
    assert len(book.list(NOW, NOW + DAY)) == 2
    assert events(ledger)[-1].kind == "reservation.closed"


def test_an_import_is_all_or_nothing_and_can_be_repeated(book: Reservations, ledger: Ledger) -> None:
    one, two = make(book, devices=2).reservation, make(book, devices=1, start="2030-05-18T14:00").reservation
    data = to_ical([one, two], now=NOW, people=True)
    again = book.import_ical(data, {}, actor=person("grace"))
    assert [made.replaced for made in again] == [True, True]
    assert set(book.standing()) == {one, two}
    too_many = to_ical([replace(one, devices=1), replace(two, devices=5)], now=NOW, people=True)
    with pytest.raises(ReservationConflict):
        book.import_ical(too_many, {}, actor=person("grace"))
    assert set(book.standing()) == {one, two}
    fresh = [replace(one, id=f"{n:016x}", devices=2) for n in range(2)]
    with pytest.raises(ReservationConflict):
        book.import_ical(to_ical(fresh, now=NOW), {}, actor=person("grace"))
    assert set(book.standing()) == {one, two}


def test_events_of_another_calendar_are_found_again(book: Reservations) -> None:
    event = (
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\nSUMMARY:Seminar\r\n"
        "DTSTART:20300521T140000\r\nDTEND:20300521T160000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    defaults = {"group": "vision-lab", "devices": 4, "zone": "Europe/Zurich"}
    (first,) = book.import_ical(event.encode(), defaults, actor=person("grace"))
    (moved,) = book.import_ical(event.replace("T160000", "T170000").encode(), defaults, actor=person("grace"))
    assert (first.replaced, moved.replaced) == (False, True)
    assert [one.length for one in book.standing()] == [3 * HOUR]
