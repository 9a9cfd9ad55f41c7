"""Reports as page models: periods, tables, bars and files, without a server."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.bars import (
    COLUMNS_HEIGHT,
    ROW,
    Part,
    draw_days,
    draw_rows,
    round_up,
)
from gpuspawner.controller.views.periods import LONGEST, Period, list_periods, read_period
from gpuspawner.controller.views.reportfiles import write_refusals, write_table, write_usage, write_waits
from gpuspawner.controller.views.reports import view_contents, view_form, view_usage, view_waits, view_week
from gpuspawner.core.budget import Balance
from gpuspawner.core.errors import InvalidRequest, RefusalKind
from gpuspawner.core.order import Claim
from gpuspawner.core.policy import Limit
from gpuspawner.core.reports import By, Report, ReportRow
from gpuspawner.core.waits import Refusals, Spread, Waits

DAY = date(2030, 5, 17)
LINKS = Links("/hub/", "/services/gpu/")
NOBODY = Spread(0, 0, None, None, None)


def days(n: int) -> timedelta:
    return timedelta(days=n)


def row(
    key: str = "ada", held: float = 8, sampled: float = 4, active: float | None = 3, **more: Any
) -> ReportRow:
    idle = None if active is None else sampled - active
    values: dict[str, Any] = {
        "about": "", "peak_memory_bytes": None, "energy_kwh": None, "sessions": 1, "sampled_hours": sampled,
        "held_hours": held, "active_hours": active, "wasted_hours": idle,
    }  # fmt: skip
    return ReportRow(key=key, **values | more)


def report(*rows: ReportRow, by: By = By.USER, total: ReportRow | None = None) -> Report:
    return Report(by, DAY - days(6), DAY, rows, total or row("total"))


# -- periods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ({}, DAY - days(6), DAY),
        ({"since": "", "until": ""}, DAY - days(6), DAY),
        ({"since": "2030-05-17"}, DAY, DAY),
        ({"until": "2030-05-01"}, date(2030, 4, 25), date(2030, 5, 1)),
        ({"until": "2000-01-01"}, date(2000, 1, 1), date(2000, 1, 1)),
        ({"since": "2024-02-29", "until": "2199-12-31"}, None, None),
        ({"since": "2024-02-29", "until": "2024-03-01"}, date(2024, 2, 29), date(2024, 3, 1)),
        ({"since": "2020-05-09", "until": "2030-05-17"}, DAY - LONGEST, DAY),
    ],
)
def test_period(query: dict[str, str], since: date | None, until: date | None) -> None:
    if since is None or until is None:
        with pytest.raises(InvalidRequest):
            read_period(query, DAY)
    else:
        assert read_period(query, DAY) == Period(since, until)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"since": "<script>"}, "The first day is not a day. Write it like 2030-05-17."),
        ({"until": "2030-02-30"}, "The last day is not a day."),
        ({"until": "20300517"}, "The last day is not a day."),
        ({"until": "2030-W20-5"}, "The last day is not a day."),
        ({"until": "\u0662\u0660\u0663\u0660-05-17"}, "The last day is not a day."),
        ({"until": "2030-05-17" * 9999}, "The last day is not a day."),
        ({"since": "0001-01-01"}, "The first day must lie between 2000-01-01 and 2199-12-31"),
        ({"until": "9999-12-31"}, "The last day must lie between"),
        (
            {"since": "2030-05-18"},
            "The last day, 2030-05-17, is before the first, 2030-05-18. Exchange them.",
        ),
        ({"since": "2020-05-08"}, "ten years at most"),
    ],
)
def test_hostile_periods_give_a_sentence(query: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_period(query, DAY)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("today", "last_month"),
    [
        (DAY, Period(date(2030, 4, 1), date(2030, 4, 30))),
        (date(2028, 3, 31), Period(date(2028, 2, 1), date(2028, 2, 29))),
        (date(2030, 1, 1), Period(date(2029, 12, 1), date(2029, 12, 31))),
    ],
)
def test_quick_periods(today: date, last_month: Period) -> None:
    found = dict(list_periods(today))
    assert found["Today"] == Period(today, today)
    assert (found["Last 7 days"].until - found["Last 7 days"].since).days == 6
    assert (found["Last 30 days"].until - found["Last 30 days"].since).days == 29
    assert found["This month"].since.day == 1
    assert found["Last month"] == last_month


def test_the_form() -> None:
    period = Period(DAY - days(6), DAY)
    form = view_form(LINKS, period, By.DAY, DAY, everybody=False)
    assert [kind.label for kind in form.kinds if kind.chosen] == ["Day (UTC)"]
    assert "User" not in [kind.label for kind in form.kinds], "there is only one: the reader"
    assert [quick.label for quick in form.quick if quick.chosen] == ["Last 7 days"]
    assert form.quick[0].value == "/services/gpu/reports?since=2030-05-17&until=2030-05-17&by=day"
    wrong = view_form(LINKS, period, By.DAY, DAY, everybody=True, problem="No.")
    assert not [quick for quick in wrong.quick if quick.chosen]


# -- tables ------------------------------------------------------------------------------------------------


def test_a_line_and_what_is_not_known() -> None:
    known = row(peak_memory_bytes=3 * 1024**3, energy_kwh=2.5)
    table = view_usage(report(known, row("mig", 2, 0, None)))
    first, second = table.lines
    assert (first.active_hours, first.active_share, first.idle_hours, first.idle_share) == (3, 0.75, 1, 0.25)
    assert (first.unknown_hours, first.peak_gib, first.energy_kwh) == (4, 3, 2.5)
    assert (second.active_hours, second.active_share, second.idle_hours, second.idle_share) == (None,) * 4
    assert (second.unknown_hours, second.peak_gib, second.energy_kwh) == (2, None, None)
    assert view_usage(report(row(held=4.004))).lines[0].unknown_hours == 0, "some seconds are no gap"


def test_many_rows() -> None:
    many = report(*(row(f"p{n}") for n in range(500)))
    contents = view_contents(many, report(by=By.DAY), LINKS, everybody=True, show_all=False)
    assert (len(contents.usage.lines), contents.usage.hidden) == (100, 400)
    assert contents.plot is not None
    assert (len(contents.plot.bars), contents.plot.left_out) == (20, 480)
    assert contents.show_all.endswith("since=2030-05-11&until=2030-05-17&by=user&all=yes")
    whole = view_contents(many, report(by=By.DAY), LINKS, everybody=True, show_all=True)
    assert (len(whole.usage.lines), whole.usage.hidden) == (500, 0)
    assert len(list(csv.reader(io.StringIO(write_usage(By.USER, view_usage(many).lines))))) == 501


def test_days_are_all_shown_and_have_one_plot() -> None:
    many = report(*(row(f"{DAY - days(n)}") for n in range(200)), by=By.DAY)
    contents = view_contents(many, report(by=By.DAY), LINKS, everybody=True, show_all=False)
    assert (len(contents.usage.lines), contents.usage.hidden, contents.plot) == (200, 0, None)


@pytest.mark.parametrize(("held", "twice"), [(8, False), (8.1, True)])
def test_counting_twice_is_told(held: float, twice: bool) -> None:
    assert view_usage(report(row(held=held), by=By.GROUP)).counts_twice == twice


def test_week() -> None:
    balance = Balance(Limit(20.0, ("group `a`",)), 5.5, 14.5, DAY, None)
    week = view_week(balance)
    assert (week.used_hours, week.limit_hours, week.rule) == (5.5, 20, "group `a`")
    assert week.back_at == datetime(2030, 5, 17, tzinfo=UTC)
    assert view_week(Balance(Limit(None, ("x",)), 0, None, None, None)).back_at is None


WAITS = Waits(
    turns=Spread(3, 2, 60, 90.5, 90.5), by_claim={Claim.SHARE: Spread(2, 2, 60, 60, 60)},
    self_started=Spread(1, 1, 9, 9, 9), left=NOBODY, untaken=NOBODY, at_once=7,
)  # fmt: skip


def test_waits() -> None:
    found = view_waits(WAITS, ())
    assert [line.label for line in found.turns] == [
        "All turns", "A guaranteed share", "Not kept: they started the server themselves",
    ]  # fmt: skip
    nothing = view_waits(Waits(NOBODY, {}, NOBODY, NOBODY, NOBODY, 0), ())
    assert [line.label for line in nothing.turns] == ["All turns"]


# -- bars --------------------------------------------------------------------------------------------------


def test_horizontal_bars() -> None:
    plot = draw_rows([row(held=8), row("bob", 2, 2, 2), row("cyd", 1, 0, None), row("none", 0, 0, None)], 10)
    assert (plot.height, plot.left_out) == (3 * ROW, 1)
    ada, bob, cyd = plot.bars
    assert ada.parts == (Part("active", 0, 37.5), Part("idle", 37.5, 12.5), Part("unknown", 50, 50))
    assert (ada.place, bob.place) == (0, ROW)
    assert bob.parts == (Part("active", 0, 25),)
    assert cyd.parts == (Part("unknown", 0, 12.5),)
    assert (ada.active_share, cyd.active_share, cyd.active_hours) == (0.75, None, None)


def test_a_bar_is_never_longer_than_what_was_held() -> None:
    (bar,) = draw_rows([row(held=1, sampled=3, active=2)], 10).bars
    assert bar.parts == (Part("active", 0, 100),)


def test_no_bars() -> None:
    assert draw_rows([], 10).bars == ()
    plot = draw_days([], DAY, DAY)
    assert [bar.parts for bar in plot.bars] == [()]
    assert plot.lines[0] == (0, 1)


def test_days() -> None:
    plot = draw_days([row("2030-05-16", 8, 4, 2)], DAY - days(3), DAY)
    assert (plot.step, len(plot.bars), plot.width) == ("day", 4, 20)
    assert [bar.place for bar in plot.bars] == [2.5, 27.5, 52.5, 77.5]
    assert [bool(bar.parts) for bar in plot.bars] == [False, False, True, False]
    # The axis ends at 10 GPU-hours: 16 px for each.
    assert plot.bars[2].parts == (Part("active", 128, 32), Part("idle", 96, 32), Part("unknown", 32, 64))
    assert plot.lines == ((0, 10), (COLUMNS_HEIGHT / 2, 5), (COLUMNS_HEIGHT, 0))


@pytest.mark.parametrize(
    ("length", "step", "bars"),
    [
        (1, "day", 1),
        (62, "day", 62),
        (63, "week", 9),
        (434, "week", 62),
        (435, "month", 15),
        (3661, "month", 121),
    ],
)
def test_long_periods_have_fewer_bars(length: int, step: str, bars: int) -> None:
    since = DAY - days(length - 1)
    held = [row((since + days(n)).isoformat(), 1, 1, 1) for n in range(length)]
    plot = draw_days(held, since, DAY)
    assert (plot.step, len(plot.bars)) == (step, bars)
    assert sum(bar.held_hours for bar in plot.bars) == length, "each day is in one bar"
    assert (plot.bars[0].key, plot.bars[-1].until) == (since.isoformat(), DAY.isoformat())


@pytest.mark.parametrize(
    ("hours", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.1, 2), (2.1, 5), (5.1, 10), (10, 10), (700, 1000)]
)
def test_axis(hours: float, top: float) -> None:
    assert round_up(hours) == pytest.approx(top)


# -- files -------------------------------------------------------------------------------------------------


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        ('say "x", y', 'say "x", y'),
        ("a\nb", "a\nb"),
        ("", ""),
        ("عمر 🦊", "عمر 🦊"),
        (None, ""),
        (-1, "-1"),
        (1 / 3, "0.3333"),
    ],
)
def test_cells(cell: str | float | None, written: str) -> None:
    assert list(csv.reader(io.StringIO(write_table(["a"], [[cell, 1]]), newline="")))[1] == [written, "1"]


def test_usage_file() -> None:
    table = view_usage(report(row("=cmd()", peak_memory_bytes=1024**3), row("", 1, 0, None), by=By.GROUP))
    header, first, second = read(write_usage(By.GROUP, table.lines))
    assert header[:5] == ["group", "gpu_model", "sessions", "held_gpu_hours", "active_gpu_hours"]
    assert first == ["'=cmd()", "", "1", "8", "3", "0.75", "1", "0.25", "4", "1.0", ""]
    assert second == ["", "", "1", "1", "", "", "", "", "1", "", ""]


def test_waits_and_refusals_files() -> None:
    assert read(write_waits(view_waits(WAITS, ())))[1:] == [
        ["turn", "All turns", "3", "2", "60", "90.5", "90.5"],
        ["turn", "A guaranteed share", "2", "2", "60", "60", "60"],
        ["turn", "Not kept: they started the server themselves", "1", "1", "9", "9", "9"],
        ["left", "Left before their turn", "0", "0", "", "", ""],
        ["left", "Had a turn, and did not take it", "0", "0", "", "", ""],
        ["at once", "", "7", "", "", "", ""],
    ]
    assert read(write_refusals([Refusals(RefusalKind.NEVER, 3, 2), Refusals(None, 1, 1)]))[1:] == [
        ["never_possible", "3", "2"],
        ["other", "1", "1"],
    ]
