"""Timetables of campus systems: what becomes a lesson, what is passed over, what is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import expand
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.policy.reservations import make_reservation
from gpuspawner.policy.timetable import MOST_EVENTS, Seats, Timetable, read_timetable
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import HOST
from support.office import NOW

SEATS_ZONE = ZoneInfo("Europe/Zurich")
SEATS = Seats(2, zone="Europe/Zurich")
WEEKLY = """\
BEGIN:VEVENT
UID:lab
SUMMARY:Vision lab
DTSTART;TZID=Europe/Zurich:20301015T140000
DTEND;TZID=Europe/Zurich:20301015T160000
RRULE:FREQ=WEEKLY;COUNT=5
{more}END:VEVENT
"""
MOVED = """\
BEGIN:VEVENT
UID:lab
SUMMARY:Vision lab (moved)
RECURRENCE-ID;TZID=Europe/Zurich:20301022T140000
DTSTART;TZID=Europe/Zurich:20301023T090000
DTEND;TZID=Europe/Zurich:20301023T110000
{more}END:VEVENT
"""


def calendar(*events: str) -> bytes:
    text = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n" + "".join(events) + "END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def weekly(more: str = "") -> str:
    return WEEKLY.format(more=more)


def moved(more: str = "") -> str:
    return MOVED.format(more=more)


def read(*events: str, course: str = "vision") -> Timetable:
    return read_timetable(calendar(*events), course, SEATS, NOW)


def starts(found: Timetable) -> list[str]:
    """When all lessons are, in Zurich."""
    times = []
    for one in found.lessons:
        made = make_reservation(
            one.body, reservation_id=one.reservation_id, host=HOST, actor=Actor("x", ActorKind.SHELL), now=NOW
        )
        times += [o.start.astimezone(SEATS_ZONE) for o in expand(made, NOW, NOW + HORIZON)]
    return [f"{one:%m-%d %H:%M}" for one in sorted(times)]


ALL = ["10-15 14:00", "10-22 14:00", "10-29 14:00", "11-05 14:00", "11-12 14:00"]


def test_a_series_stays_at_its_hour_when_the_clocks_change() -> None:
    found = read(weekly())
    assert starts(found) == ALL
    body = found.lessons[0].body
    assert (body.title, body.course, body.devices, body.zone) == ("Vision lab", "vision", 2, "Europe/Zurich")


def test_cancelled_and_moved_lessons() -> None:
    found = read(
        weekly("EXDATE;TZID=Europe/Zurich:20301029T140000\n"),
        moved(),
        moved("STATUS:CANCELLED\n").replace("20301022T140000", "20301105T140000"),
    )
    assert starts(found) == ["10-15 14:00", "10-23 09:00", "11-12 14:00"]
    assert found.notes == ("Passed over as cancelled: 1 event.",)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("EXDATE;VALUE=DATE:20301022\n", [ALL[0], *ALL[2:]]),
        ("EXDATE:20301022T120000Z\n", [ALL[0], *ALL[2:]]),
        ("EXDATE;TZID=Europe/Zurich:20301022T140000,20301029T140000\n", [ALL[0], *ALL[3:]]),
        ("EXDATE:20300101T120000Z\n", ALL),
        ("RDATE;TZID=Europe/Zurich:20301017T080000\n", [ALL[0], "10-17 08:00", *ALL[1:]]),
        ("RDATE;TZID=Europe/Zurich:20301022T140000\n", ALL),
    ],
)
def test_dates_that_are_left_out_or_added(more: str, expected: list[str]) -> None:
    assert starts(read(weekly(more))) == expected


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("DTSTART:20301015T120000Z\nDTEND:20301015T140000Z", "10-15 14:00"),
        ("DTSTART:20301015T140000\nDTEND:20301015T160000", "10-15 14:00"),
        ("DTSTART;TZID=W. Europe Standard Time:20301015T140000\nDURATION:PT2H", "10-15 14:00"),
        ("DTSTART;TZID=Asia/Shanghai:20301015T200000\nDURATION:PT2H", "10-15 14:00"),
    ],
)
def test_time_zones(zone: str, first: str) -> None:
    event = f"BEGIN:VEVENT\nUID:a\nSUMMARY:A\n{zone}\nEND:VEVENT\n"
    assert starts(read(event)) == [first]


def test_what_is_no_lesson_is_passed_over_and_said() -> None:
    holiday = "BEGIN:VEVENT\nUID:h\nSUMMARY:Holiday\nDTSTART;VALUE=DATE:20301224\nEND:VEVENT\n"
    past = weekly().replace("2030", "2029").replace("UID:lab", "UID:past")
    found = read(holiday, past, weekly("STATUS:CANCELLED\n"), moved().replace("UID:lab", "UID:one"))
    assert starts(found) == ["10-23 09:00"]
    assert found.notes == (
        "Passed over as cancelled: 1 event.",
        "Passed over as past: 1 event.",
        "Passed over as whole days: 1 event.",
    )
    assert read().lessons == ()


def test_the_same_lesson_has_the_same_id_in_its_course_and_no_other() -> None:
    ids = [one.reservation_id for one in read(weekly(), moved()).lessons]
    assert ids == [one.reservation_id for one in read(moved(), weekly()).lessons][::-1]
    assert not set(ids) & {one.reservation_id for one in read(weekly(), moved(), course="sound").lessons}


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([weekly().replace("COUNT=5", "INTERVAL=1")], "rule: it must end"),
        ([weekly(), weekly()], "its UID is there twice"),
        ([moved(), moved()], "the same lesson is there twice"),
        ([weekly("EXRULE:FREQ=DAILY;COUNT=1\n")], "EXRULE is not supported"),
        ([weekly().replace("Europe/Zurich", "Moon/Base")], "time zone 'Moon/Base'"),
        ([weekly().replace("UID:lab\n", "")], "it has no UID"),
        ([weekly().replace("FREQ=WEEKLY", "FREQ=SECONDLY")], "FREQ must be one of"),
        ([moved().replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")], "with RANGE"),
        ([weekly("RDATE;VALUE=PERIOD:20301101T100000Z/PT1H\n")], "period"),
        ([weekly().replace("20301015T160000", "20301015T140000")], "length"),
        (["nonsense\n"], "This is not a calendar"),
        ([weekly()] * (MOST_EVENTS + 1), "1000 is the most"),
    ],
)
def test_what_cannot_be_reserved_is_named(events: list[str], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why.replace("(", r"\(")) as caught:
        starts(read(*events))
    assert "Vision lab" in str(caught.value) or why.startswith(("This is", "1000", "rule", "length"))


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=120).map(lambda text: calendar(weekly(text + "\n"))),
        st.lists(
            st.sampled_from(
                ["EXDATE:20301022T120000Z", "RDATE:20301023T120000Z", "STATUS:CANCELLED", "RRULE:FREQ=DAILY",
                 "RECURRENCE-ID:20301022T120000Z", "DTSTART:20301015T120000Z", "DURATION:-PT1H", "EXDATE:x",
                 "RDATE;VALUE=DATE:20301023", "UID:lab", "DTEND;VALUE=DATE:20301016"]
            ), max_size=6,
        ).map(lambda lines: calendar(weekly("".join(f"{one}\n" for one in lines)), moved())),
    )
)  # fmt: skip
def test_any_file_is_read_or_refused(data: bytes) -> None:
    told: Any = None
    try:
        found = read_timetable(data, "vision", SEATS, datetime(2030, 1, 1, tzinfo=UTC))
    except InvalidRequest as error:
        told = str(error)
    assert told or len({one.reservation_id for one in found.lessons}) == len(found.lessons)
