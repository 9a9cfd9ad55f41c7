"""Calendars: written, read again, and hostile ones."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Holder, Reservation
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.policy.ical import from_ical, to_ical
from gpuspawner.policy.reservations import PolicyNames, make_reservation
from support.build import HOST, NOW
from support.reservations import HOUR, at, person, reservation

NAMES = PolicyNames({"teaching": frozenset({"L40S"})})
LAB = reservation(
    id="0123456789abcdef",
    title="Lab; part 1, \\ and 2 in Zürich",
    start=at("2030-05-21T12:00"),
    zone="Europe/Zurich",
    rule="FREQ=WEEKLY;COUNT=30;BYDAY=TU",
    left_out=(at("2030-05-28T12:00"), at("2030-11-05T13:00")),
    cards=frozenset({"L40S", "NVIDIA A100, odd; name", "GPU-1", "MIG-2"}),
    pool="teaching",
    users=("ada", "bob"),
    lead=timedelta(minutes=10),
    made_at=NOW,
)
ONCE = reservation(
    id="fedcba9876543210", holder=Holder("person", "ada"), length=1.5 * HOUR, devices=1, made_at=NOW
)
DEFAULTS: dict[str, object] = {"group": "vision-lab", "devices": 4, "zone": "Europe/Zurich"}


def read(data: bytes, defaults: dict[str, Any] = DEFAULTS) -> list[Reservation]:
    return [
        make_reservation(
            one.body,
            reservation_id=one.reservation_id,
            host=HOST,
            actor=person("grace"),
            now=NOW,
            names=NAMES,
        )
        for one in from_ical(data, defaults)
    ]


def event(*lines: str, calendar: tuple[str, ...] = ()) -> bytes:
    default = {"UID": "UID:1@example.org", "DTSTART": "DTSTART:20300521T140000", "DURATION": "DURATION:PT2H"}
    for line in lines:
        default.pop(line.split(":")[0].split(";")[0], None)
    body = [line for line in (*default.values(), *lines) if not line.endswith(":-")]
    whole = ["BEGIN:VCALENDAR", *calendar, "BEGIN:VEVENT", *body, "END:VEVENT", "END:VCALENDAR", ""]
    return "\r\n".join(whole).encode()


def test_there_and_back() -> None:
    data = to_ical([LAB, ONCE], now=NOW, people=True)
    assert read(data) == [LAB, ONCE]
    assert read(data, {}) == [LAB, ONCE]


def test_what_other_programs_read() -> None:
    text = to_ical([LAB], now=NOW).decode()
    for line in (
        "DTSTART;TZID=Europe/Zurich:20300521T140000",
        "DURATION:PT2H",
        "RRULE:FREQ=WEEKLY;COUNT=30;BYDAY=TU",
        "EXDATE;TZID=Europe/Zurich:20301105T140000",
        "UID:0123456789abcdef@gpuspawner",
        "TZID:Europe/Zurich",
        "BEGIN:DAYLIGHT",
        "DESCRIPTION:2 GPUs of pool teaching for course cs231",
    ):
        assert line in text.replace("\r\n ", "")


def test_no_person_is_named_unless_that_is_wanted() -> None:
    text = to_ical([LAB, ONCE], now=NOW).decode()
    assert "ada" not in text
    assert "bob" not in text
    assert "HOLDER:course:cs231" in text


def test_what_was_cancelled_is_not_written_and_not_read() -> None:
    assert b"VEVENT" not in to_ical([reservation(ended_at=NOW)], now=NOW)
    assert from_ical(event("STATUS:CANCELLED"), DEFAULTS) == ()


def test_an_event_of_another_calendar_gets_the_defaults() -> None:
    (made,) = read(event("SUMMARY:Group\\nmeeting", "ATTENDEE:mailto:x@example.org"))
    assert (made.title, made.holder, made.devices) == ("Group meeting", Holder("group", "vision-lab"), 4)
    assert (made.start, made.zone) == (at("2030-05-21T12:00"), "Europe/Zurich")
    (again,) = read(event("SUMMARY:Moved", "DTSTART:20300522T140000"))
    assert again.id == made.id


def test_exceptions_that_name_no_start_mean_nothing() -> None:
    (made,) = read(
        event("RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20300522T140000,20310101T140000", "EXDATE:20300523T120000Z")
    )
    assert made.left_out == (at("2030-05-22T12:00"), at("2030-05-23T12:00"))


def test_windows_has_names_of_its_own_for_time_zones() -> None:
    (made,) = read(event("DTSTART;TZID=W. Europe Standard Time:20300521T140000"))
    assert (made.zone, made.start) == ("Europe/Berlin", at("2030-05-21T12:00"))


SECONDLY = (
    *("BEGIN:VTIMEZONE", "TZID:Evil", "BEGIN:STANDARD", "DTSTART:19700101T000000", "RRULE:FREQ=SECONDLY"),
    *("TZOFFSETFROM:+0100", "TZOFFSETTO:+0200", "TZNAME:X", "END:STANDARD", "END:VTIMEZONE"),
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "This is not a calendar"),
        (b"\xff\xfe\0", "This is not a calendar"),
        (b"hello", "This is not a calendar"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\n" * 50_000, "This is not a calendar"),
        (b"x" * (1024 * 1024 + 1), "1048576 is the most"),
        (
            event("RECURRENCE-ID:20300521T140000"),
            "RECURRENCE-ID is not supported; make it an event of its own",
        ),
        (event("RDATE:20300521T140000"), "RDATE is not supported"),
        (event("RRULE:FREQ=DAILY;COUNT=2", "RRULE:FREQ=WEEKLY;COUNT=2"), "several RRULEs"),
        (event("RRULE:FREQ=SECONDLY;COUNT=2"), "rule: FREQ must be one of"),
        (event("RRULE:FREQ=FOO"), "RRULE cannot be read"),
        (event("RRULE:FREQ=WEEKLY"), "it must end within two years"),
        (event("DTSTART;VALUE=DATE:20300521"), "DTSTART is a whole day; give it a time"),
        (event("DTSTART:99"), "DTSTART cannot be read"),
        (event("DTSTART:-"), "it must have DTSTART once"),
        (event("DTSTART:00010101T000000"), "it must be within two years of now"),
        (event("DTSTART:99991231T235900"), "it must be within two years of now"),
        (
            event("DTSTART;TZID=Evil:20300521T140000"),
            "DTSTART is in the time zone 'Evil', which is not known",
        ),
        (
            event("DTSTART;TZID=Evil:20300521T140000", calendar=SECONDLY),
            "time zone 'Evil', which is not known",
        ),
        (event("DURATION:-"), "it has neither DTEND nor DURATION"),
        (event("DURATION:-PT2H"), "length: it can be from 5 min"),
        (event("DURATION:20300521T140000"), "DURATION must be a length of time"),
        (event("DTEND:20300521T130000", "DURATION:-"), "length: it can be from 5 min"),
        (event("UID:-"), "it has no UID"),
        (event("EXDATE;VALUE=DATE:20300521", "RRULE:FREQ=DAILY;COUNT=2"), "EXDATE is a whole day"),
        (event("X-GPUSPAWNER-DEVICES:many"), "devices: input should be a valid integer; you sent 'many'"),
        (event("X-GPUSPAWNER-HOLDER:everybody"), "must be person:, group: or course:"),
        (event("X-GPUSPAWNER-POOL:other"), "pool: the policy has no pool 'other'"),
    ],
    ids=range(27),
)
def test_what_cannot_be_reserved_is_refused_by_name(data: bytes, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(InvalidRequest) as caught:
        read(data)
    assert message in str(caught.value)
    assert time.process_time() - begin < 2


def test_too_many_events() -> None:
    one = "BEGIN:VEVENT\r\nUID:{}\r\nDTSTART:20300521T140000\r\nDURATION:PT2H\r\nEND:VEVENT\r\n"
    many = "".join(one.format(n) for n in range(201))
    with pytest.raises(InvalidRequest, match="has 201 events; 200 is the most"):
        from_ical(f"BEGIN:VCALENDAR\r\n{many}END:VCALENDAR\r\n".encode(), DEFAULTS)


def test_a_changed_single_event_is_not_taken_for_another_event() -> None:
    twice = event().replace(b"END:VCALENDAR", event().split(b"\r\n", 1)[1])
    with pytest.raises(InvalidRequest, match=r"Event 2 .*: its UID is there twice"):
        from_ical(twice, DEFAULTS)
