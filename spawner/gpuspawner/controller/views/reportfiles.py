"""The tables of the reports as CSV: units in the header, empty for what is not known, nothing that runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from gpuspawner.core.reports import By
from gpuspawner.core.waits import Refusals
from gpuspawner.core.words import guard_cell

from .reports import UsageLine, WaitTables

Cell = str | int | float | None

USAGE = (
    "sessions",
    "held_gpu_hours",
    "active_gpu_hours",
    "active_share_of_sampled",
    "idle_gpu_hours",
    "idle_share_of_sampled",
    "not_known_gpu_hours",
    "peak_memory_gib",
    "energy_kwh",
)
WAITS = (
    "how_it_ended",
    "place_rested_on",
    "places",
    "people",
    "wait_p50_seconds",
    "wait_p95_seconds",
    "wait_longest_seconds",
)
REFUSALS = ("reason", "times", "people")


def write_usage(by: By, lines: Iterable[UsageLine]) -> str:
    """What was held and used, without a total.

    Args:
        by: What has a row.
        lines: All rows.
    """
    rows = [
        (
            line.key,
            line.model,
            line.sessions,
            line.held_hours,
            line.active_hours,
            line.active_share,
            line.idle_hours,
            line.idle_share,
            line.unknown_hours,
            line.peak_gib,
            line.energy_kwh,
        )
        for line in lines
    ]
    return write_table((by.value, "gpu_model", *USAGE), rows)


def write_waits(waits: WaitTables) -> str:
    """How turns came, and who left without one."""
    rows: list[Sequence[Cell]] = []
    for how, lines in (("turn", waits.turns), ("left", waits.unserved)):
        for line in lines:
            spread = line.spread
            waited = (spread.p50_seconds, spread.p95_seconds, spread.longest_seconds)
            rows.append((how, line.label, spread.count, spread.people, *waited))
    rows.append(("at once", "", waits.at_once, None, None, None, None))
    return write_table(WAITS, rows)


def write_refusals(refusals: Iterable[Refusals]) -> str:
    """How often each reason was given."""
    rows = [(one.kind.value if one.kind else "other", one.times, one.people) for one in refusals]
    return write_table(REFUSALS, rows)


def write_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table as CSV (RFC 4180). Texts that a spreadsheet would take for a formula get a quote first."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([_write_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _write_cell(cell: Cell) -> str | int | float:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return round(cell, 4)
    return guard_cell(cell) if isinstance(cell, str) else cell
