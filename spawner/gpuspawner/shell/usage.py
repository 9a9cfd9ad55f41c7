"""``gpuspawner usage``: who held how many GPU-hours, and what was done in them."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path

import click

from gpuspawner.allocator.usage import UsageReports
from gpuspawner.core.budget import WINDOW_DAYS
from gpuspawner.core.reports import NOBODY, By, Report, ReportRow
from gpuspawner.core.words import guard_cell

from .common import clean, host_option, json_option, ledger_option, open_ledger, print_json, render_table

GIBIBYTE = 1024**3
_DAY = click.DateTime(["%Y-%m-%d"])
_ABOUT = {By.DEVICE: "MODEL", By.LEASE: "SERVER"}
_HEADINGS = ("HELD h", "SAMPLED h", "ACTIVE h", "WASTED h", "PEAK GiB", "ENERGY kWh", "SESSIONS")
_A_WEEK = timedelta(days=WINDOW_DAYS - 1)


def render(report: Report, owner: str | None = None) -> str:
    """The report as an aligned table, with what must be known to read it."""
    whose = f" of {clean(owner)}" if owner is not None else ""
    title = f"GPU-hours{whose} from {report.since} to {report.until}, both included (UTC days)"
    if not report.rows:
        return f"{title}: none."
    about = _ABOUT.get(report.by)
    rows = [_cells(row, report.by) for row in (*report.rows, report.total)]
    lines = [title, *render_table((report.by.upper(), *([about] if about else []), *_HEADINGS), rows)]
    if report.by is By.GROUP and _counts_twice(report):
        lines.append("Who is in several groups counts for each of them; the total counts everything once.")
    if report.total.sampled_hours < report.total.held_hours * 0.99:
        lines.append("What was held and not sampled is not known: neither active nor wasted.")
    return "\n".join(lines)


def _counts_twice(report: Report) -> bool:
    return sum(row.held_hours for row in report.rows) > report.total.held_hours * 1.0001


def _cells(row: ReportRow, by: By) -> tuple[str, ...]:
    return (
        row.key if row.key != NOBODY else f"(no {by.value})",
        *([row.about] if by in _ABOUT else []),
        _hours(row.held_hours),
        _hours(row.sampled_hours),
        _hours(row.active_hours),
        _hours(row.wasted_hours),
        "unknown" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / GIBIBYTE:.1f}",
        _hours(row.energy_kwh),
        str(row.sessions),
    )


def _hours(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.2f}"


def to_json(report: Report, host: str, owner: str | None = None) -> dict[str, object]:
    """The report for programs; null is unknown. ``schema`` rises when a key changes its meaning."""
    return {
        "schema": 1,
        "host": host,
        "by": report.by.value,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "user": owner,
        "rows": [_plain(row) for row in report.rows],
        "total": _plain(report.total),
    }


def to_csv(report: Report) -> str:
    """The rows for a spreadsheet, without the total; empty is unknown."""
    text = io.StringIO()
    fields = [name for name in _plain(report.total) if name != "about" or report.by in _ABOUT]
    writer = csv.DictWriter(text, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        plain = _plain(row)
        writer.writerow(plain | {name: _harmless(str(plain[name])) for name in ("key", "about")})
    return text.getvalue()


def _plain(row: ReportRow) -> dict[str, object]:
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()
    }


def _harmless(text: str) -> str:
    """What others named is no formula in a spreadsheet."""
    return clean(guard_cell(text))


@click.command(short_help="Show who held how many GPU-hours, and what for.")
@click.option(
    "--by",
    default=By.USER.value,
    show_default=True,
    type=click.Choice([by.value for by in By]),
    help="A row for each.",
)
@click.option("--since", type=_DAY, metavar="DATE", help="First UTC day [default: six days before the last].")
@click.option("--until", type=_DAY, metavar="DATE", help="Last UTC day [default: today].")
@click.option("--user", metavar="X", help="Of this person only.")
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet.")
@json_option
@ledger_option
@host_option
def usage(
    *,
    by: str,
    since: datetime | None,
    until: datetime | None,
    user: str | None,
    as_csv: bool,
    as_json: bool,
    ledger: Path | None,
    host: str,
) -> None:
    """Show who held how many GPU-hours, and what was done in them.

    Dates are written 2026-11-25. Held: a session had the GPU. Sampled: of that, the card said how busy it
    was. Active, wasted: of that, some kernel ran, or none. Sessions that run are included.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    with open_ledger(ledger, host) as book:
        reports = UsageReports(book, host)
        last: date = until.date() if until else reports.today()
        first = since.date() if since else last - min(_A_WEEK, last - date.min)
        report = reports.report(by, first, last, user)
    if as_json:
        print_json(to_json(report, host, user))
    elif as_csv:
        click.echo(to_csv(report), nl=False)
    else:
        click.echo(render(report, user))
