"""The reservations calendar's page models: weeks, time zones, and the form there and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from gpuspawner.controller.api.linemodels import ReservationInfo
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.reservations import (
    LIST,
    WEEK,
    Asked,
    CalendarPage,
    choose_first,
    describe_offset,
    view_calendar,
)
from gpuspawner.controller.views.reserve import (
    Choices,
    begin_form,
    keep_fields,
    read_form,
    tell_problem,
    view_reserve,
)
from gpuspawner.core.claims import Holder, Reservation
from gpuspawner.core.occurrences import Occurrence, expand
from support.build import HOST, NOW
from support.reservations import person

HOUR = timedelta(hours=1)
ZURICH = ZoneInfo("Europe/Zurich")
LINKS = Links("/hub/", "/services/gpu/")
MONDAY = date(2030, 5, 13)
LAB = Reservation(
    id="a" * 16,
    host=HOST,
    title="Lab",
    holder=Holder("course", "vision"),
    devices=2,
    start=datetime(2030, 5, 14, 12, tzinfo=UTC),
    length=2 * HOUR,
    zone="Europe/Zurich",
    actor=person("grace"),
    made_at=NOW,
)


def show(one: Reservation) -> ReservationInfo:
    return ReservationInfo(
        id=one.id,
        title=one.title,
        person=None,
        group=None,
        course="vision",
        users=[],
        devices=one.devices,
        models=[],
        pool=None,
        cards=[],
        start=one.start,
        length="2 h",
        zone=one.zone,
        rule=one.rule,
        left_out=[],
        lead="0",
        actor="",
        actor_kind=None,
        made_at=one.made_at,
        mine=False,
        warnings=[],
    )


def view(
    *takes_place: Occurrence,
    now: datetime = NOW,
    first: date = MONDAY,
    how: str = WEEK,
    zone: ZoneInfo = ZURICH,
    may_reserve: bool = False,
) -> CalendarPage:
    return view_calendar(
        Asked(first, how, zone),
        takes_place,
        [],
        show=show,
        links=LINKS,
        now=now,
        may_reserve=may_reserve,
        feed=None,
        may_have_feed=False,
        manages=False,
    )


def occurrence(**changes: object) -> Occurrence:
    changed = replace(LAB, **changes)  # type: ignore[arg-type]
    return expand(changed, changed.start, changed.start + HOUR)[0]


def days_with(page: CalendarPage) -> list[int]:
    return [day.date.day for day in page.days if day.entries]


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("2030-05-13", MONDAY),
        ("2030-05-19", MONDAY),
        ("2030-05-20", date(2030, 5, 20)),
        ("2031-01-01", date(2030, 12, 30)),
        ("", MONDAY),
        ("2030-5-1", MONDAY),
        ("0001-01-01", MONDAY),
        ("9999-12-31", MONDAY),
    ],
)
def test_the_monday_of_a_week(asked: str, first: date) -> None:
    assert choose_first(asked, NOW.date()) == first


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC", "UTC"),
        ("Europe/Zurich", "UTC+2"),
        ("America/St_Johns", "UTC-2:30"),
        ("Asia/Kolkata", "UTC+5:30"),
        ("Pacific/Kiritimati", "UTC+14"),
    ],
)
def test_how_far_a_zone_is_from_utc(zone: str, said: str) -> None:
    assert describe_offset(NOW.astimezone(ZoneInfo(zone))) == said


@pytest.mark.parametrize(
    ("start", "length", "zone", "days"),
    [
        (datetime(2030, 5, 14, 12, tzinfo=UTC), 2 * HOUR, "Europe/Zurich", [14]),
        (datetime(2030, 5, 14, 22, tzinfo=UTC), HOUR, "Europe/Zurich", [15]),
        (datetime(2030, 5, 14, 21, tzinfo=UTC), HOUR, "Europe/Zurich", [14]),
        (datetime(2030, 5, 14, 21, tzinfo=UTC), 2 * HOUR, "Europe/Zurich", [14, 15]),
        (datetime(2030, 5, 14, 21, tzinfo=UTC), 2 * HOUR, "UTC", [14]),
        (datetime(2030, 5, 10, 0, tzinfo=UTC), 31 * 24 * HOUR, "UTC", [13, 14, 15, 16, 17, 18, 19]),
        (datetime(2030, 5, 20, 0, tzinfo=UTC), HOUR, "UTC", []),
        (datetime(2030, 5, 12, 23, tzinfo=UTC), HOUR, "UTC", []),
    ],
)
def test_on_which_days_something_is(start: datetime, length: timedelta, zone: str, days: list[int]) -> None:
    assert days_with(view(occurrence(start=start, length=length), zone=ZoneInfo(zone))) == days


def test_a_day_on_which_the_clocks_go_forward_has_23_hours() -> None:
    asked = Asked(date(2030, 3, 25), WEEK, ZURICH)
    assert asked.end - asked.begin == 7 * 24 * HOUR - HOUR
    late = occurrence(start=datetime(2030, 3, 31, 21, tzinfo=UTC), length=HOUR)
    assert days_with(view(late, first=asked.first)) == [31]


def test_only_the_present_day_says_now() -> None:
    page = view(occurrence(start=NOW - 30 * HOUR, length=60 * HOUR))
    assert [day.date.day for day in page.days if any(entry.on for entry in day.entries)] == [17]
    assert [entry.began_before for day in page.days for entry in day.entries] == [False, True, True]


def test_the_page_is_the_same_until_something_changes() -> None:
    lab = occurrence()
    assert view(lab) == view(lab, now=NOW + timedelta(minutes=5))


def test_days_to_reserve_on_are_not_past() -> None:
    page = view(may_reserve=True)
    assert [bool(day.reserve) for day in page.days] == [False] * 4 + [True] * 3
    assert [day.reserve for day in view().days] == [""] * 7


def test_the_lead_time_alone_is_not_in_the_list() -> None:
    before = occurrence(start=datetime(2030, 6, 10, 0, tzinfo=UTC), lead=HOUR)
    assert view(before, how=LIST, zone=ZoneInfo("UTC")).entries == ()


def test_seats_that_were_given_back() -> None:
    (entry,) = view(replace(occurrence(), seats=0), how=LIST).entries
    assert (entry.given_back, entry.what.gpus) == (2, 2)


# -- the form -----------------------------------------------------------------------------------------------


def test_an_empty_form_begins_at_the_next_hour_of_the_reader() -> None:
    form = begin_form(ZURICH, NOW + timedelta(minutes=20), "", [("course", "vision")])
    assert (form["date"], form["time"], form["zone"]) == ("2030-05-17", "15:00", "Europe/Zurich")
    assert form["whom"] == "course:vision"
    assert begin_form(ZURICH, NOW, "2030-06-01", [])["date"] == "2030-06-01"
    assert begin_form(ZURICH, NOW, "<b>", [])["date"] == "2030-05-17"


def test_a_form_keeps_what_it_knows_and_no_more() -> None:
    sent = {"title": "x", "_xsrf": "t", "check": "1", "model-1": "A100", "model-x": "B", "evil": "y"}
    assert keep_fields(sent) == {"title": "x", "model-1": "A100"}


def test_what_was_chosen_and_is_not_there_any_more_stays_on_offer() -> None:
    choices = Choices((("course", "vision"),), False, (), ("teaching",), (("A100", 2),), (("GPU-0", "A100"),))
    values = {"model-1": "H100", "card-1": "GPU-9", "pool": "old", "whom": "person:ada"}
    page = view_reserve(values, choices, None, action="", check="", calendar="", zone="UTC")
    assert page.choices.models == (("A100", 2), ("H100", 0))
    assert page.choices.cards == (("GPU-0", "A100"), ("GPU-9", ""))
    assert page.choices.pools == ("teaching", "old")
    assert page.choices.whom == (("course", "vision"), ("person", "ada"))


def test_what_is_left_empty_is_not_sent() -> None:
    form = {"title": "Lab", "whom": "group:a:b", "date": "2030-05-20", "time": "09:00", "length": "1 h"}
    assert read_form(form) == {
        "title": "Lab",
        "group": "a:b",
        "start": "2030-05-20T09:00",
        "length": "1 h",
    }


@pytest.mark.parametrize(
    ("message", "field", "label", "rest"),
    [
        ("title is missing; add it.", "title", "Title", "is missing; add it."),
        ("lead: 24 h is the most.", "lead", "Kept free before", "24 h is the most."),
        ("1000 reservations are the most.", "", "", "1000 reservations are the most."),
        ("planet: there is none", "", "", "planet: there is none"),
    ],
)
def test_a_problem_names_its_field(message: str, field: str, label: str, rest: str) -> None:
    told = tell_problem(message)
    assert (told.field, told.label, told.problem) == (field, label, rest)
