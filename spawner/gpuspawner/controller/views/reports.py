"""What was held and used, how long people waited, and what was refused, as a page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from gpuspawner.controller.links import Links
from gpuspawner.core.budget import Balance
from gpuspawner.core.order import Claim
from gpuspawner.core.reports import By, Report, ReportRow
from gpuspawner.core.waits import Refusals, Spread, Waits
from gpuspawner.core.words import mark

from .bars import DayPlot, RowPlot, draw_days, draw_rows
from .periods import Period, list_periods

MOST_LINES = 100
"""So many rows of a table are shown at first."""
MOST_BARS = 20
GIBIBYTE = 1024**3
_LEAST_HOURS = 0.005
"""Less than this of held time is no gap in what is known: samples and accounts end some seconds apart."""

CHOICES: tuple[tuple[By, str], ...] = (
    (By.USER, mark("User")),
    (By.GROUP, mark("Group")),
    (By.COURSE, mark("Course")),
    (By.IMAGE, mark("Image")),
    (By.MODEL, mark("GPU model")),
    (By.DEVICE, mark("Card")),
    (By.DAY, mark("Day (UTC)")),
)
"""What can have a row, and its heading."""
CLAIMS: tuple[tuple[Claim, str], ...] = (
    (Claim.RESERVATION, mark("A reservation")),
    (Claim.SHARE, mark("A guaranteed share")),
    (Claim.USE, mark("What was used lately, and arrival")),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose from."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A row of a table of usage. Hours are GPU-hours; None is not known."""

    key: str
    """Empty for what belongs to no group, or no course."""
    model: str
    """Of a card."""
    sessions: int
    held_hours: float
    active_hours: float | None
    active_share: float | None
    """Of the sampled time, from 0 to 1; :attr:`idle_share` too."""
    idle_hours: float | None
    idle_share: float | None
    unknown_hours: float
    """Held and not sampled."""
    peak_gib: float | None
    energy_kwh: float | None


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A table of usage."""

    by: By
    heading: str
    lines: tuple[UsageLine, ...]
    total: UsageLine
    counts_twice: bool
    """Whether the rows come to more than the total, because somebody is in several groups."""
    hidden: int = 0
    """Rows that are left out."""


@dataclass(frozen=True, slots=True)
class WaitLine:
    """A row of the table of waits."""

    label: str
    spread: Spread


@dataclass(frozen=True, slots=True)
class WaitTables:
    """How turns came, and what was refused; for who manages."""

    turns: tuple[WaitLine, ...]
    """All of them first, then by what the place rested on."""
    unserved: tuple[WaitLine, ...]
    at_once: int
    refusals: tuple[Refusals, ...]


@dataclass(frozen=True, slots=True)
class WeekCard:
    """How a person stands with their GPU-hours per week."""

    used_hours: float
    limit_hours: float | None
    """None: no limit."""
    rule: str
    back_at: datetime | None
    """When the first hours come back; None when none were used."""
    ends_at: datetime | None
    """When the sessions that run will have used it up."""


@dataclass(frozen=True, slots=True)
class ReportsForm:
    """What can be asked for, and what was."""

    period: Period
    kinds: tuple[Choice, ...]
    quick: tuple[Choice, ...]
    """Their values are links."""
    problem: str = ""
    """What is wrong with what was asked for; then nothing is shown."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is shown of a period."""

    everybody: bool
    """Whether it is about all people; else about the reader."""
    usage: UsageTable
    plot: RowPlot | None
    """None where the rows are days, which have a plot of their own."""
    days: DayPlot
    days_table: str
    """Where the figures of that plot are."""
    show_all: str
    """Where the whole table is."""
    files: dict[str, str]
    """Where each table is as CSV, by its name."""
    week: WeekCard | None = None
    """None: not a person, or the policy cannot be read."""
    courses: tuple[UsageLine, ...] = ()
    """What the courses held that the reader teaches; none for who sees everything."""
    waits: WaitTables | None = None


@dataclass(frozen=True, slots=True)
class ReportsPage:
    """The page."""

    form: ReportsForm
    contents: Contents | None = None


def view_form(
    links: Links, period: Period, by: By, today: date, *, everybody: bool, problem: str = ""
) -> ReportsForm:
    """What can be asked for.

    Args:
        links: Where things are.
        period: What is asked for.
        by: What has a row.
        today: The UTC day that it is.
        everybody: Whether the reader sees more than one person's use.
        problem: What is wrong with what was asked for.
    """
    kinds = [(kind, label) for kind, label in CHOICES if everybody or kind is not By.USER or kind is by]
    return ReportsForm(
        period,
        tuple(Choice(kind, label, kind is by) for kind, label in kinds),
        tuple(
            Choice(links.page("reports", **query_of(quick, by)), label, quick == period and not problem)
            for label, quick in list_periods(today)
        ),
        problem,
    )


def query_of(period: Period, by: By) -> dict[str, str]:
    """What asks for a report, as the part of an address."""
    return {"since": period.since.isoformat(), "until": period.until.isoformat(), "by": by.value}


def view_contents(
    report: Report, by_day: Report, links: Links, *, everybody: bool, show_all: bool
) -> Contents:
    """What is shown of a period.

    Args:
        report: What was used.
        by_day: The same by days.
        links: Where things are.
        everybody: Whether it is about all people.
        show_all: Whether to show all rows, however many.
    """
    period = Period(report.since, report.until)
    query = query_of(period, report.by)
    files = {
        table: links.page("reports.csv", **query, table=table)
        for table in ("usage", "courses", "waits", "refusals")
    }
    return Contents(
        everybody,
        view_usage(report, None if show_all else MOST_LINES),
        None if report.by is By.DAY else draw_rows(report.rows, MOST_BARS),
        draw_days(by_day.rows, report.since, report.until),
        links.page("reports", **query_of(period, By.DAY)),
        links.page("reports", **query, all="yes"),
        files,
    )


def view_usage(report: Report, most: int | None = None) -> UsageTable:
    """A table of usage.

    Args:
        report: What was used.
        most: The most rows; None for all. Days are all shown.
    """
    most = len(report.rows) if most is None or report.by is By.DAY else most
    return UsageTable(
        report.by,
        name_kind(report.by),
        tuple(_line(row) for row in report.rows[:most]),
        _line(report.total),
        counts_twice(report.rows, report.total),
        max(len(report.rows) - most, 0),
    )


def name_kind(by: By) -> str:
    """The heading of what has a row."""
    return next(label for kind, label in CHOICES if kind is by)


def counts_twice(rows: Iterable[ReportRow], total: ReportRow) -> bool:
    """Whether rows come to more than everything."""
    return sum(row.held_hours for row in rows) > total.held_hours * 1.0001


def view_courses(rows: Iterable[ReportRow]) -> tuple[UsageLine, ...]:
    """What some courses held."""
    return tuple(_line(row) for row in rows)


def view_week(balance: Balance) -> WeekCard:
    """How a person stands with their GPU-hours per week."""
    back = balance.back_on
    return WeekCard(
        balance.used_hours,
        balance.limit.value,
        balance.limit.rule,
        datetime.combine(back, time.min, UTC) if back else None,
        balance.ends_at,
    )


def view_waits(waits: Waits, refusals: tuple[Refusals, ...]) -> WaitTables:
    """How turns came, and what was refused."""
    turns = [WaitLine(mark("All turns"), waits.turns)]
    turns += [WaitLine(label, waits.by_claim[claim]) for claim, label in CLAIMS if claim in waits.by_claim]
    if waits.self_started.count:
        turns.append(WaitLine(mark("Not kept: they started the server themselves"), waits.self_started))
    unserved = (
        WaitLine(mark("Left before their turn"), waits.left),
        WaitLine(mark("Had a turn, and did not take it"), waits.untaken),
    )
    return WaitTables(tuple(turns), unserved, waits.at_once, refusals)


def _line(row: ReportRow) -> UsageLine:
    unknown = row.held_hours - row.sampled_hours
    return UsageLine(
        key=row.key,
        model=row.about,
        sessions=row.sessions,
        held_hours=row.held_hours,
        active_hours=row.active_hours,
        active_share=_share(row.active_hours, row.sampled_hours),
        idle_hours=row.wasted_hours,
        idle_share=_share(row.wasted_hours, row.sampled_hours),
        unknown_hours=unknown if unknown >= _LEAST_HOURS else 0.0,
        peak_gib=None if row.peak_memory_bytes is None else row.peak_memory_bytes / GIBIBYTE,
        energy_kwh=row.energy_kwh,
    )


def _share(hours: float | None, of: float) -> float | None:
    return hours / of if hours is not None and of > 0 else None
