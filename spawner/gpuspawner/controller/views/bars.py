"""The geometry of the plots of held against used: numbers for the SVG, no words.

A bar has up to three parts, in this order: *active*, *idle*, and *unknown*, which was held and not sampled.
Horizontal positions and widths are in percent of the plot's width, so that a plot fits a phone without its
letters becoming small; vertical ones are in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from gpuspawner.core.reports import ReportRow

ROW = 46
"""Pixels from one horizontal bar to the next: a line of text, the bar, a gap."""
COLUMNS_HEIGHT = 160
"""Pixels of the highest vertical bar."""
MOST_DAYS, MOST_WEEKS = 62, 62
"""So many vertical bars are told apart; for more days a bar is a week, for more weeks a month."""
GAP = 0.2
"""Part of a vertical bar's place that is left empty."""
_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    kind: str
    """``active``, ``idle`` or ``unknown``."""
    start: float
    """Where it begins: of a horizontal bar its left edge in percent, of a vertical one its top in pixels."""
    size: float
    """Its width in percent, or its height in pixels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What one row, or some days, held; and how much of it was used."""

    key: str
    """Of the row; for days the first of them."""
    place: float
    """Of a horizontal bar its top in pixels; of a vertical one its left edge in percent."""
    parts: tuple[Part, ...]
    held_hours: float
    active_hours: float | None
    """None: not known."""
    active_share: float | None
    """Of the time that was sampled; None: not known."""
    until: str = ""
    """The last of the days."""


@dataclass(frozen=True, slots=True)
class RowPlot:
    """Horizontal bars, one below the other."""

    bars: tuple[Bar, ...]
    height: int
    """Pixels."""
    left_out: int
    """Rows that have no bar."""


@dataclass(frozen=True, slots=True)
class DayPlot:
    """Vertical bars from the first day to the last."""

    bars: tuple[Bar, ...]
    step: str
    """What a bar is: ``day``, ``week`` or ``month``."""
    height: int
    """Pixels from the baseline to the highest line."""
    width: float
    """Of a bar, in percent."""
    scale_width: int
    """Pixels beside the plot, for the amounts at its lines."""
    lines: tuple[tuple[float, float], ...]
    """Where a line shows an amount: pixels from the top, and GPU-hours."""


def draw_rows(rows: Sequence[ReportRow], most: int) -> RowPlot:
    """Horizontal bars of the rows that held most.

    Args:
        rows: The most held first.
        most: How many get a bar.
    """
    shown = [row for row in rows[:most] if row.held_hours > 0]
    longest = max((row.held_hours for row in shown), default=1.0)
    bars = tuple(_bar(row, n * ROW, _across(row, 100 / longest)) for n, row in enumerate(shown))
    return RowPlot(bars, len(bars) * ROW, len(rows) - len(shown))


def draw_days(rows: Iterable[ReportRow], since: date, until: date) -> DayPlot:
    """Vertical bars of all days of a period; of weeks or months where there are too many.

    Args:
        rows: One for each day on which something was held; its key is the day as 2030-05-17.
        since: The first day.
        until: The last one.
    """
    by_day = {date.fromisoformat(row.key): row for row in rows}
    step, starts = _cut(since, until)
    spans = [
        (start, end - timedelta(days=1))
        for start, end in zip(starts, [*starts[1:], until + timedelta(days=1)], strict=True)
    ]
    sums = [_add_up(by_day, first, last) for first, last in spans]
    top = round_up(max((row.held_hours for row in sums), default=0.0))
    place = 100 / len(sums)
    bars = tuple(
        _bar(row, place * (n + GAP / 2), _upright(row, COLUMNS_HEIGHT / top), last.isoformat())
        for n, (row, (_, last)) in enumerate(zip(sums, spans, strict=True))
    )
    lines = tuple((COLUMNS_HEIGHT * (1 - part), top * part) for part in (1.0, 0.5, 0.0))
    longest = max(len(f"{hours:,g}") for _, hours in lines)
    return DayPlot(bars, step, COLUMNS_HEIGHT, _trim(place * (1 - GAP)), 10 + 8 * longest, lines)


def round_up(hours: float) -> float:
    """The end of an axis: 1, 2 or 5 times a power of ten, no less than the amount; 1 for nothing."""
    if hours <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(hours))
    return next((step * power for step in _STEPS if step * power >= hours * (1 - 1e-9)), 10 * power)


def _cut(since: date, until: date) -> tuple[str, list[date]]:
    """What a bar stands for, and the first day of each."""
    days = (until - since).days + 1
    if days <= MOST_DAYS:
        return "day", [since + timedelta(days=n) for n in range(days)]
    if days <= 7 * MOST_WEEKS:
        return "week", [since + timedelta(days=n) for n in range(0, days, 7)]
    starts = [since]
    while (begin := _next_month(starts[-1])) <= until:
        starts.append(begin)
    return "month", starts


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _add_up(by_day: Mapping[date, ReportRow], first: date, last: date) -> ReportRow:
    """What was held and used on some days; how many sessions that were is not known of a sum, nor shown."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    found = [by_day[day] for day in days if day in by_day]
    sampled = sum(row.sampled_hours for row in found)
    active = sum(row.active_hours or 0.0 for row in found)
    return ReportRow(
        key=first.isoformat(),
        about="",
        held_hours=sum(row.held_hours for row in found),
        sampled_hours=sampled,
        active_hours=active if sampled else None,
        wasted_hours=max(sampled - active, 0.0) if sampled else None,
        peak_memory_bytes=None,
        energy_kwh=None,
        sessions=0,
    )


def _bar(row: ReportRow, place: float, parts: tuple[Part, ...], until: str = "") -> Bar:
    known = row.active_hours is not None and row.sampled_hours > 0
    share = (row.active_hours or 0.0) / row.sampled_hours if known else None
    return Bar(row.key, _trim(place), parts, row.held_hours, row.active_hours, share, until)


def _amounts(row: ReportRow) -> list[tuple[str, float]]:
    """The parts of a bar, in GPU-hours; together never more than was held."""
    active = min(row.active_hours or 0.0, row.held_hours)
    idle = min(row.wasted_hours or 0.0, row.held_hours - active)
    return [("active", active), ("idle", idle), ("unknown", row.held_hours - active - idle)]


def _across(row: ReportRow, percent_per_hour: float) -> tuple[Part, ...]:
    parts, at = [], 0.0
    for kind, hours in _amounts(row):
        parts.append(Part(kind, _trim(at), _trim(hours * percent_per_hour)))
        at += hours * percent_per_hour
    return tuple(part for part in parts if part.size > 0)


def _upright(row: ReportRow, pixels_per_hour: float) -> tuple[Part, ...]:
    parts, at = [], float(COLUMNS_HEIGHT)
    for kind, hours in _amounts(row):
        at -= hours * pixels_per_hour
        parts.append(Part(kind, _trim(at), _trim(hours * pixels_per_hour)))
    return tuple(part for part in parts if part.size > 0)


def _trim(number: float) -> float:
    return round(number, 2)
