"""Rules of recurrence: read, refused, and followed as RFC 5545 says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.recurrence import HORIZON, list_starts, read_rule, to_utc, write_rule
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
        ("FREQ=DAILY;COUNT=2,3", "COUNT=2,3 is wrong"),
        ("FREQ=DAILY;INTERVAL=2,3", "INTERVAL=2,3 is wrong"),
        ("FREQ=DAILY;COUNT=٣", "COUNT=٣ is wrong"),
        ("FREQ=DAILY;INTERVAL=99999999999999", "INTERVAL=99999999999999 is wrong"),
        ("FREQ=DAILY;UNTIL=never", "UNTIL=NEVER is wrong; write a day such as 20301231"),
        ("FREQ=DAILY;UNTIL=20300230", "UNTIL=20300230 is wrong"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20301231", "exclude each other"),
        ("FREQ=WEEKLY;BYDAY=1MO", "with FREQ=WEEKLY BYDAY has no numbers"),
        ("FREQ=MONTHLY;BYDAY=MO,1TU", "BYDAY has numbers for all days or for none"),
        ("FREQ=WEEKLY;BYMONTHDAY=3", "does not go with FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY=XX is wrong; write one of MO, TU"),
        ("FREQ=WEEKLY;BYDAY=MO,", "BYDAY=MO, is wrong; write one of MO, TU"),
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
        ("rrule:freq=weekly;byday=we,mo;count=3", "FREQ=WEEKLY;COUNT=3;BYDAY=WE,MO"),
        ("FREQ=DAILY;UNTIL=99991231", "FREQ=DAILY;UNTIL=99981231T225959Z"),
        ("FREQ=DAILY;UNTIL=00010101", "FREQ=DAILY;UNTIL=19700101T225959Z"),
        ("FREQ=DAILY;UNTIL=20260701", "FREQ=DAILY;UNTIL=20260701T215959Z"),
        ("FREQ=DAILY;UNTIL=20260701T120000", "FREQ=DAILY;UNTIL=20260701T100000Z"),
        ("FREQ=DAILY;UNTIL=20260701T120000Z", "FREQ=DAILY;UNTIL=20260701T120000Z"),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=3;BYDAY=-1FR,2MO;BYSETPOS=-1;WKST=SU",
            "FREQ=MONTHLY;INTERVAL=2;COUNT=3;BYDAY=-1FR,2MO;BYSETPOS=-1;WKST=SU",
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


WORKDAYS = "MO,TU,WE,TH,FR"


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("FREQ=DAILY;COUNT=4", "970902 970903 970904 970905"),
        ("FREQ=DAILY;UNTIL=19970905T000000Z", "970902 970903 970904"),
        ("FREQ=DAILY;UNTIL=19970905T130000Z", "970902 970903 970904 970905"),
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", "970902 970912 970922 971002 971012"),
        ("FREQ=DAILY;BYMONTH=9;BYDAY=TU;BYSETPOS=-1;COUNT=6", "970902 970909 970916 970923 970930 980901"),
        ("FREQ=WEEKLY;COUNT=6", "970902 970909 970916 970923 970930 971007"),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;COUNT=5", "970902 970916 970930 971014 971028"),
        (
            "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
            "970902 970904 970909 970911 970916 970918 970923 970925 970930 971002",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971018T000000Z;WKST=SU;BYDAY=MO,WE,FR",
            "970901 970903 970905 970915 970917 970919 970929 971001 971003 971013 971015 971017",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
            "970902 970904 970916 970918 970930 971002 971014 971016",
        ),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "970805 970810 970819 970824"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "970805 970817 970819 970831"),
        ("FREQ=WEEKLY;COUNT=3;BYDAY=MO,WE,FR;BYSETPOS=2", "970903 970910 970917"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=1FR", "970905 971003 971107 971205 980102 980206"),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
            "970907 970928 971102 971130 980104 980125 980301 980329 980503 980531",
        ),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "970922 971020 971117 971222 980119 980216"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3;COUNT=6", "970928 971029 971128 971229 980129 980226"),
        ("FREQ=MONTHLY;COUNT=6;BYMONTHDAY=2,15", "970902 970915 971002 971015 971102 971115"),
        (
            "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
            "970930 971001 971031 971101 971130 971201 971231 980101 980131 980201",
        ),
        (
            "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
            "970910 970911 970912 970913 970914 970915 990310 990311 990312 990313",
        ),
        ("FREQ=MONTHLY;INTERVAL=2;BYDAY=TU;COUNT=7", "970902 970909 970916 970923 970930 971104 971111"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "980213 980313 981113 990813"),
        (
            "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13;COUNT=6",
            "970913 971011 971108 971213 980110 980207",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "970904 971007 971106"),
        (f"FREQ=MONTHLY;BYDAY={WORKDAYS};BYSETPOS=-2;COUNT=5", "970929 971030 971127 971230 980129"),
        ("FREQ=MONTHLY;COUNT=3", "970131 970331 970531"),
        ("FREQ=YEARLY;COUNT=10;BYMONTH=6,7", "970610 970710 980610 980710 990610"),
        ("FREQ=YEARLY;BYDAY=20MO", "970519 980518 990517"),
        (
            "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
            "970313 970320 970327 980305 980312 980319 980326 990304 990311",
        ),
        ("FREQ=YEARLY;BYMONTHDAY=31;COUNT=3", "970131 970331 970531"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "960229"),
    ],
)
def test_a_rule_is_followed_as_in_the_examples_of_the_standard(rule: str, found: str) -> None:
    zone = ZoneInfo("America/New_York")
    first = datetime.strptime(found[:6], "%y%m%d").replace(hour=9, tzinfo=zone)
    assert [f"{one[2:4]}{one[5:7]}{one[8:10]} {one[11:]}" for one in starts(rule, first, zone)] == [
        f"{one} 09:00" for one in found.split()
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=WEEKLY;BYDAY=MO",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=9",
        "FREQ=MONTHLY;BYDAY=5MO;BYSETPOS=9",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;INTERVAL=1000;BYDAY=53MO",
    ],
)
@pytest.mark.alone
def test_a_rule_that_does_not_take_place_at_its_start_is_not_followed(rule: str) -> None:
    begin = process_time()
    assert starts(rule) == []
    assert process_time() - begin < 0.2


@pytest.mark.parametrize("rule", ["FREQ=DAILY;UNTIL=99991231T235959Z", "FREQ=DAILY;COUNT=1000"])
def test_no_rule_is_followed_past_the_horizon(rule: str) -> None:
    assert len(starts(rule)) == HORIZON.days


DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


@st.composite
def rules(draw: st.DrawFn, first: datetime) -> dict[str, str]:
    """Rules that take place at ``first``, rare ones such as each Tuesday that is a 29 February among them."""

    def some(values: list[str], own: str) -> str:
        return ",".join({own, *draw(st.lists(st.sampled_from(values), max_size=2))})

    freq = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.integers(1, 4) | st.integers(1, 1000)))}
    if draw(st.booleans()):
        parts["BYDAY"] = some(DAYS, DAYS[first.weekday()])
    if freq != "WEEKLY" and draw(st.booleans()):
        parts["BYMONTHDAY"] = some(["1", "13", "30", "31"], str(first.day))
    if draw(st.booleans()):
        parts["BYMONTH"] = some([str(month) for month in range(1, 13)], str(first.month))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(DAYS))
    end = draw(st.sampled_from(["", "COUNT", "UNTIL"]))
    if end:
        until = first + timedelta(days=draw(st.integers(0, 800)))
        parts[end] = str(draw(st.integers(1, 20))) if end == "COUNT" else f"{until:%Y%m%d}"
    return parts


def fits(shown: datetime, parts: dict[str, str]) -> bool:
    said = {"BYDAY": DAYS[shown.weekday()], "BYMONTHDAY": str(shown.day), "BYMONTH": str(shown.month)}
    return all(value in parts.get(key, value).split(",") for key, value in said.items())


@st.composite
def plain_rules(draw: st.DrawFn, first: datetime) -> str:
    """Rules by days or weeks, whose days are computed."""
    freq = draw(st.sampled_from(["DAILY", "WEEKLY"]))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.integers(1, 3) | st.integers(1, 60)))}
    if draw(st.booleans()):
        days = draw(st.lists(st.sampled_from(DAYS), max_size=3))
        parts["BYDAY"] = ",".join(dict.fromkeys([*days, DAYS[first.weekday()]]))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(DAYS))
    if draw(st.booleans()):
        parts["COUNT"] = str(draw(st.integers(1, 300)))
    return ";".join(f"{key}={value}" for key, value in parts.items())


FIRSTS = st.just(datetime(2028, 2, 29, 13, tzinfo=UTC)) | st.integers(0, 1460).map(
    lambda days: FIRST + timedelta(days=days)
)


@settings(max_examples=100, deadline=None)
@given(FIRSTS, st.data(), st.integers(0, 500), st.integers(0, 500))
def test_what_holds_for_every_rule(first: datetime, data: st.DataObject, since: int, length: int) -> None:
    parts = data.draw(rules(first))
    rule = read_rule(";".join(f"{key}={value}" for key, value in parts.items()))
    zone, begin = ZoneInfo("UTC"), process_time()
    found = [one for one, _ in list_starts(rule, first, zone, since=first, before=first + HORIZON)]
    assert process_time() - begin < 0.5
    assert found[0] == first
    assert all(earlier < later for earlier, later in pairwise(found))
    assert all(fits(one, parts) for one in found)
    assert len(found) <= int(parts.get("COUNT", HORIZON.days))
    assert f"{found[-1]:%Y%m%d}" <= parts.get("UNTIL", "99991231")
    after, before = first + timedelta(days=since), first + timedelta(days=since + length)
    part = list_starts(rule, first, zone, since=after, before=before)
    assert [one for one, _ in part] == [one for one in found if after <= one < before]


@settings(max_examples=200, deadline=None)
@given(FIRSTS, st.data(), st.integers(-10, 760), st.integers(0, 60))
def test_what_is_computed_is_what_dateutil_finds(
    first: datetime, data: st.DataObject, since: int, length: int
) -> None:
    zone = ZoneInfo(data.draw(st.sampled_from(["UTC", "Europe/Zurich", "Pacific/Apia"])))
    local = first.astimezone(zone).replace(tzinfo=None)
    text = data.draw(plain_rules(local))
    after, before = first + timedelta(days=since), first + timedelta(days=since + length)
    days = takewhile(lambda day: day < local + HORIZON + timedelta(days=2), rrulestr(text, dtstart=local))
    expected = [day.replace(tzinfo=zone).astimezone(UTC) for day in days]
    found = list_starts(read_rule(text), first, zone, since=after, before=before)
    end = min(before, first + HORIZON)
    assert [start for start, _ in found] == [one for one in expected if after <= one < end]


def test_a_week_far_in_a_series_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuspawner.core.recurrence.rrulestr", None)
    looked_at: list[datetime] = []

    def convert(shown: datetime, zone: ZoneInfo) -> datetime:
        looked_at.append(shown)
        return to_utc(shown, zone)

    monkeypatch.setattr("gpuspawner.core.recurrence.to_utc", convert)
    since = FIRST + timedelta(days=700)
    rule = read_rule("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;COUNT=1000")
    found = list(list_starts(rule, FIRST, ZURICH, since=since, before=since + timedelta(days=7)))
    assert (len(found), len(looked_at) < 15) == (5, True)
