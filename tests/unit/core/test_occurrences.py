"""When reservations take place, and which are refused by themselves."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from gpuspawner.core.claims import SeatReturn
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import describe_holding, to_local
from gpuspawner.core.reservations import (
    check_reservation,
    describe_when,
    expand,
    find_zone,
    may_serve,
    open_occurrences,
)
from support.build import NOW, device
from support.reservations import DAY, HOUR, at, first, reservation

ZURICH = ZoneInfo("Europe/Zurich")
WEEKLY = reservation(rule="FREQ=WEEKLY;COUNT=3")
EVER = NOW + 1000 * DAY


def starts(made, since=NOW - DAY, until=EVER) -> list[timedelta]:
    return [one.start - NOW for one in expand(made, since, until)]


def test_once() -> None:
    (one,) = expand(reservation(), NOW, NOW + DAY)
    assert (one.start, one.end, one.seats, one.key) == (
        NOW + 2 * HOUR,
        NOW + 4 * HOUR,
        2,
        ("r1", NOW + 2 * HOUR),
    )


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(0, 2, 0), (0, 3, 1), (3, 9, 1), (4, 9, 0)],
    ids=["ends before", "runs into", "has begun", "is over"],
)
def test_only_what_overlaps(since: int, until: int, found: int) -> None:
    assert len(expand(reservation(), NOW + since * HOUR, NOW + until * HOUR)) == found


def test_the_lead_time_overlaps_too() -> None:
    made = reservation(lead=timedelta(minutes=30))
    assert len(expand(made, NOW, NOW + 1.6 * HOUR)) == 1
    assert first(made).held_from == NOW + 1.5 * HOUR


def test_weekly_without_what_is_left_out() -> None:
    assert starts(WEEKLY) == [2 * HOUR, 7 * DAY + 2 * HOUR, 14 * DAY + 2 * HOUR]
    left_out = reservation(rule=WEEKLY.rule, left_out=(WEEKLY.start + 7 * DAY,))
    assert starts(left_out) == [2 * HOUR, 14 * DAY + 2 * HOUR]
    assert starts(left_out, NOW + 10 * DAY, NOW + 15 * DAY) == [14 * DAY + 2 * HOUR]
    assert starts(reservation(left_out=(NOW + 2 * HOUR,))) == []


def test_what_was_cancelled_ends_then_and_does_not_begin_later() -> None:
    made = reservation(rule="FREQ=WEEKLY;COUNT=3", ended_at=WEEKLY.start + 7 * DAY + HOUR)
    assert starts(made) == [2 * HOUR, 7 * DAY + 2 * HOUR]
    assert expand(made, NOW, EVER)[-1].end == made.ended_at
    assert starts(reservation(ended_at=NOW + 2 * HOUR)) == []


def test_a_whole_day_is_shorter_when_the_clocks_go_forward() -> None:
    made = reservation(
        start=at("2026-03-27T23:00"), length=DAY, zone="Europe/Zurich", rule="FREQ=DAILY;COUNT=3"
    )
    assert check_reservation(made, at("2026-03-01T00:00"))
    found = expand(made, made.start, made.start + 9 * DAY)
    assert [(one.end - one.start) / HOUR for one in found] == [24, 23, 24]
    (alone,) = expand(made, made.start + 1.5 * DAY, made.start + 1.6 * DAY)
    assert alone.end - alone.start == 23 * HOUR


def test_seats_that_were_given_back_are_gone() -> None:
    other = reservation(id="r2", start=NOW + HOUR)
    back = [SeatReturn("r1", WEEKLY.start, 1, NOW), SeatReturn("r2", other.start, 2, NOW)]
    found = open_occurrences([WEEKLY, other], back, NOW, NOW + 8 * DAY)
    assert [(one.start, one.seats) for one in found] == [(WEEKLY.start, 1), (WEEKLY.start + 7 * DAY, 2)]
    found = open_occurrences([other], back, NOW, NOW + 8 * DAY, empty=True)
    assert [(one.start, one.seats) for one in found] == [(other.start, 0)]


@pytest.mark.parametrize(
    ("cards", "served"),
    [
        (set(), ["GPU-0"]),
        ({"A100"}, ["GPU-0"]),
        ({"GPU-0"}, ["GPU-0"]),
        ({"GPU-1"}, ["MIG-1"]),
        ({"A100 MIG 1g.5gb"}, ["MIG-1"]),
        ({"MIG-1", "GPU-0"}, ["GPU-0", "MIG-1"]),
        ({"H100"}, []),
    ],
)
def test_a_slice_counts_only_where_it_is_meant(cards: set[str], served: list[str]) -> None:
    whole, part = device("GPU-0"), device("MIG-1", model="A100 MIG 1g.5gb", parent="GPU-1")
    assert [one.uuid for one in (whole, part) if may_serve(one, frozenset(cards))] == served


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "devices: write a whole number from 1"),
        ({"devices": 10**9}, "devices: write a whole number from 1 to 10000"),
        ({"length": timedelta(0)}, "length: it can be from 5 min to 31 d"),
        ({"length": 32 * DAY}, "length: it can be from"),
        ({"lead": 2 * DAY}, "lead: 24 h is the most"),
        ({"lead": -HOUR}, "lead: "),
        ({"start": NOW + 800 * DAY}, "start: it must be within two years"),
        ({"start": NOW - 800 * DAY}, "start: it must be within two years"),
        ({"start": NOW - DAY}, "nothing of this reservation is in the future"),
        ({"left_out": (NOW + 2 * HOUR,)}, "nothing of this reservation is in the future"),
        ({"left_out": (NOW + 3 * HOUR,)}, "except: nothing starts on Fri 17 May 2030, 15:00 UTC"),
        ({"zone": "Europe/Atlantis"}, "there is no time zone 'Europe/Atlantis'"),
        ({"rule": "FREQ=HOURLY"}, "rule: FREQ must be one of"),
        ({"rule": "FREQ=WEEKLY"}, "it must end within two years of its start; add COUNT="),
        ({"rule": "FREQ=WEEKLY;UNTIL=99991231"}, "it must end within two years"),
        ({"rule": "FREQ=YEARLY;COUNT=5"}, "only 2 of 5 take place within two years"),
        ({"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=2"}, "it does not take place on Fri 17 May 2030, 14:00 UTC"),
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=2"}, "it does not take place on"),
        ({"rule": "FREQ=DAILY;COUNT=2", "length": 25 * HOUR}, "each occurrence would run into the next"),
        ({"rule": "FREQ=DAILY;COUNT=2", "length": DAY, "lead": HOUR}, "would run into the next"),
    ],
)
def test_a_reservation_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_reservation(reservation(**changes), NOW)
    assert message in str(caught.value)


def test_one_that_makes_sense_has_its_rule_in_a_plain_form() -> None:
    made = reservation(rule="rrule:byday=fr;freq=weekly;count=3", left_out=(NOW + 2 * HOUR,) * 2)
    checked = check_reservation(made, NOW)
    assert (checked.rule, checked.left_out) == ("FREQ=WEEKLY;COUNT=3;BYDAY=FR", (NOW + 2 * HOUR,))


@pytest.mark.parametrize(
    "name",
    ["", "CET6", "../../etc/passwd", "/etc/localtime", "Europe", "Europe/", "posix/UTC", "a" * 999, "\0/x"],
)
def test_no_time_zone(name: str) -> None:
    with pytest.raises(InvalidRequest, match="zone: there is no time zone"):
        find_zone(name)


def test_a_local_time_that_does_not_exist() -> None:
    with pytest.raises(InvalidRequest, match="02:30 does not exist on 29 Mar 2026 in Europe/Zurich"):
        to_local(at("2026-03-29T02:30").replace(tzinfo=None), ZURICH)
    assert to_local(at("2026-10-25T02:30").replace(tzinfo=None), ZURICH) == at("2026-10-25T00:30")


def test_words() -> None:
    one = first(reservation(zone="Europe/Zurich"))
    assert describe_when(one, ZURICH) == "Fri 17 May 2030, 16:00 to 18:00 CEST"
    assert describe_when(first(reservation(length=DAY)), ZoneInfo("UTC")) == (
        "Fri 17 May 2030, 14:00 UTC to Sat 18 May 2030, 14:00 UTC"
    )
    assert describe_holding(one, NOW) == "reserved for course `cs231` (Tuesday lab) from 16:00 CEST"
    assert describe_holding(one, one.start) == "reserved for course `cs231` (Tuesday lab) until 18:00 CEST"
    assert describe_holding(one, NOW - DAY) == (
        "reserved for course `cs231` (Tuesday lab) from Fri 17 May 2030, 16:00 CEST"
    )
