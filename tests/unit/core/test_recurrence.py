"""Rules of recurrence: read, refused, and followed like a library follows them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.recurrence import HORIZON, list_starts, read_rule, write_rule
from hypothesis import given, settings
from hypothesis import strategies as st

ZURICH = ZoneInfo("Europe/Zurich")
FIRST = datetime(2026, 1, 6, 13, tzinfo=UTC)
"""A Tuesday, 14:00 in Zurich."""


def starts(rule: str, first: datetime = FIRST, zone: ZoneInfo = ZURICH) -> list[str]:
    found = list_starts(read_rule(rule), first, zone, since=first, before=first + HORIZON)
    return [f"{start.astimezone(zone):%Y-%m-%d %H:%M}" for start, _ in found]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "'' is no part of a rule"),
        ("FREQ", "'FREQ' is no part of a rule"),
        ("FREQ=WEEKLY;FREQ=DAILY", "write KEY=VALUE once"),
        ("FREQ=SECONDLY;COUNT=3", "FREQ must be one of DAILY, WEEKLY, MONTHLY, YEARLY"),
        ("COUNT=3", "FREQ must be one of"),
        ("FREQ=DAILY;BYHOUR=3", "BYHOUR is not supported; a rule may have FREQ, INTERVAL, COUNT, UNTIL"),
        ("FREQ=DAILY;COUNT=1000000000", "COUNT=1000000000 is wrong; write whole numbers from 1 to 1000"),
        ("FREQ=DAILY;COUNT=0", "COUNT=0 is wrong"),
        ("FREQ=DAILY;COUNT=٣", "COUNT=٣ is wrong"),
        ("FREQ=DAILY;INTERVAL=99999999999999", "INTERVAL=99999999999999 is wrong"),
        ("FREQ=DAILY;UNTIL=never", "UNTIL=NEVER is wrong; write a day such as 20301231"),
        ("FREQ=DAILY;UNTIL=20300230", "UNTIL=20300230 is wrong"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20301231", "exclude each other"),
        ("FREQ=WEEKLY;BYDAY=1MO", "with FREQ=WEEKLY BYDAY has no numbers"),
        ("FREQ=WEEKLY;BYMONTHDAY=3", "does not go with FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY=XX is wrong; write one of MO, TU"),
        ("FREQ=MONTHLY;BYDAY=60MO", "BYDAY=60MO is wrong"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 is wrong; write whole numbers from -31 to 31 without 0"),
        ("FREQ=DAILY;X=" + "1" * 600, "500 is the most"),
    ],
)
def test_a_rule_that_is_refused_says_why(rule: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_rule(rule)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "written"),
    [
        ("rrule:freq=weekly;count=3;byday=we,mo", "FREQ=WEEKLY;COUNT=3;BYDAY=MO,WE"),
        ("FREQ=DAILY;UNTIL=20260701", "FREQ=DAILY;UNTIL=20260701T215959Z"),
        ("FREQ=DAILY;UNTIL=20260701T120000", "FREQ=DAILY;UNTIL=20260701T100000Z"),
        ("FREQ=DAILY;UNTIL=20260701T120000Z", "FREQ=DAILY;UNTIL=20260701T120000Z"),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=3;BYDAY=-1FR,2MO;BYSETPOS=-1;WKST=SU",
            "FREQ=MONTHLY;INTERVAL=2;COUNT=3;BYSETPOS=-1;BYDAY=-1FR,2MO;WKST=SU",
        ),
    ],
)
def test_a_rule_is_written_as_the_standard_wants_it(rule: str, written: str) -> None:
    assert write_rule(read_rule(rule), ZURICH) == written
    assert write_rule(read_rule(written), ZURICH) == written


def test_two_in_the_afternoon_stays_so_when_the_clocks_go_forward_and_back() -> None:
    march = datetime(2026, 3, 24, 13, tzinfo=UTC)
    assert starts("FREQ=WEEKLY;COUNT=2", march) == ["2026-03-24 14:00", "2026-03-31 14:00"]
    october = datetime(2026, 10, 20, 12, tzinfo=UTC)
    assert starts("FREQ=WEEKLY;COUNT=2", october) == ["2026-10-20 14:00", "2026-10-27 14:00"]


def test_a_time_that_the_clocks_leave_out_is_an_hour_later_by_the_wall() -> None:
    first = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    assert starts("FREQ=DAILY;COUNT=3", first) == ["2026-03-28 02:30", "2026-03-29 03:30", "2026-03-30 02:30"]


def test_of_a_time_that_comes_twice_the_first_counts() -> None:
    first = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)
    found = list_starts(read_rule("FREQ=DAILY;COUNT=2"), first, ZURICH, since=first, before=first + HORIZON)
    assert [start for start, _ in found] == [first, first + timedelta(days=1)]


def test_a_first_start_in_the_second_of_two_equal_hours_stays_there() -> None:
    first = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    found = list_starts(read_rule("FREQ=DAILY;COUNT=2"), first, ZURICH, since=first, before=first + HORIZON)
    assert [start for start, _ in found] == [first, datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=WE;BYMONTH=1;BYMONTHDAY=1",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=366",
        "FREQ=YEARLY;INTERVAL=1000;BYDAY=53MO",
        "FREQ=DAILY;UNTIL=99991231T235959Z",
        "FREQ=MONTHLY;UNTIL=99991231",
        "FREQ=DAILY;COUNT=1000",
    ],
)
def test_no_rule_is_followed_for_ever(rule: str) -> None:
    begin = time.process_time()
    assert len(starts(rule)) <= HORIZON.days
    assert time.process_time() - begin < 1


FREQUENCIES = st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"])
DAYS = st.lists(
    st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]), min_size=1, max_size=3, unique=True
)


@st.composite
def rules(draw: st.DrawFn) -> str:
    freq = draw(FREQUENCIES)
    parts = [f"FREQ={freq}", f"INTERVAL={draw(st.integers(1, 5))}"]
    if draw(st.booleans()):
        nth = draw(st.sampled_from(["", "1", "-1", "2"])) if freq in ("MONTHLY", "YEARLY") else ""
        parts.append("BYDAY=" + ",".join(nth + day for day in draw(DAYS)))
    if freq != "WEEKLY" and draw(st.booleans()):
        parts.append("BYMONTHDAY=" + str(draw(st.sampled_from([1, 13, 29, 31, -1]))))
    if draw(st.booleans()):
        months = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True))
        parts.append("BYMONTH=" + ",".join(map(str, months)))
    # In the first week dateutil counts positions from the day of the first start, not from the week's first.
    if freq != "WEEKLY" and len(parts) > 2 and draw(st.booleans()):
        parts.append("BYSETPOS=" + str(draw(st.sampled_from([1, -1, 2]))))
    if draw(st.booleans()):
        parts.append("WKST=SU")
    parts += [f"COUNT={draw(st.integers(1, 20))}"] if draw(st.booleans()) else []
    return ";".join(parts)


@settings(max_examples=60, deadline=None)
@given(rules(), st.integers(0, 730), st.integers(0, 500))
def test_a_rule_is_followed_as_a_library_follows_it(rule: str, offset: int, later: int) -> None:
    first = FIRST + timedelta(days=offset)
    since = first + timedelta(days=later)
    end = (first + HORIZON).replace(tzinfo=None)
    bound = "" if "COUNT" in rule else f";UNTIL={end - timedelta(seconds=1):%Y%m%dT%H%M%S}"
    wanted = [one for one in rrulestr(rule + bound, dtstart=first.replace(tzinfo=None)) if one < end]
    found = list_starts(read_rule(rule), first, ZoneInfo("UTC"), since=since, before=first + HORIZON)
    assert [one for _, one in found if one >= since.replace(tzinfo=None)] == [
        one for one in wanted if one >= since.replace(tzinfo=None)
    ]
