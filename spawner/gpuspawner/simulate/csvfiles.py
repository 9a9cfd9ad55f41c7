"""Traces as two CSV files, read with suspicion and written so that they read back the same.

``sessions``: ``session,user,start_min,stop_min,max_gpus``, one row for each session; the user may be empty.
``events``: ``session,start_min,duration_min,gpus,gpu_util_pct``, one row for each piece of work; the
utilisation may be empty, and one that is not from 0 to 100 is counted as not known. Minutes count from the
same moment in both files, whichever it is. Columns may come in any order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from .traces import MINUTE, EventRow, SessionRow, Trace, TraceError, build_trace

SESSION_COLUMNS = ("session", "user", "start_min", "stop_min", "max_gpus")
EVENT_COLUMNS = ("session", "start_min", "duration_min", "gpus", "gpu_util_pct")
MOST_MINUTES = 1_000_000_000
"""About 1,900 years: minutes since 1970 fit, and no sum of them leaves the calendar."""
MOST_GPUS = 100_000
# So long because many tools write every digit that a number has: 0.016666666666666666 is one second.
_NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,60})?|\.\d{1,60})([eE][+-]?\d{1,3})?", re.ASCII)
_UNKNOWN = frozenset({"", "nan", "na", "null", "none"})
"""How tools write a figure that they do not have."""
_WHOLE = re.compile(r"\d{1,9}(\.0*)?", re.ASCII)
_LONGEST_NAME = 200
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a file, which knows where it stands."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def error(self, column: str, problem: str) -> TraceError:
        """What is wrong in one cell."""
        return TraceError(f"{self.path}, line {self.line}, column `{column}`: {problem}")

    def name(self, column: str, *, may_be_empty: bool = False) -> str:
        """A cell that names something."""
        text = self.cells[column]
        if not text and not may_be_empty:
            raise self.error(column, "is empty. Give every row the name of its session.")
        if len(text) > _LONGEST_NAME or not text.isprintable():
            raise self.error(
                column,
                f"{_show(text)} is not a name: at most {_LONGEST_NAME} printable characters. Shorten it.",
            )
        return text

    def minutes(self, column: str, *, least: float = -MOST_MINUTES) -> int:
        """A cell of minutes, as milliseconds."""
        value = self._number(column, "minutes, such as 90 or 12.5")
        if not least <= value <= MOST_MINUTES:
            raise self.error(
                column,
                f"{_show(self.cells[column])} is out of range. "
                f"Write minutes from {least:g} to {MOST_MINUTES:g}.",
            )
        return round(value * MINUTE)

    def count(self, column: str) -> int:
        """A cell that counts GPUs."""
        text = self.cells[column]
        # 2.0 is how some tools write the whole number 2.
        if not _WHOLE.fullmatch(text) or float(text) > MOST_GPUS:
            raise self.error(
                column,
                f"{_show(text)} is not a number of GPUs. Write a whole number from 0 to {MOST_GPUS}.",
            )
        return int(float(text))

    def percent(self, column: str) -> float | None:
        """A cell of per cent; None where it is not known, or cannot be what it says to be."""
        if self.cells[column].lower() in _UNKNOWN:
            return None
        value = self._number(column, "per cent from 0 to 100, or nothing where it is not known")
        # A mean may come out a hair above 100.
        return min(value, 100.0) if 0 <= value <= 100 + 1e-6 else None

    def _number(self, column: str, wanted: str) -> float:
        text = self.cells[column]
        # The pattern keeps out what float() would take: nan, inf, 1_000, digits of other scripts.
        if not _NUMBER.fullmatch(text):
            raise self.error(column, f"{_show(text)} is not a number. Write {wanted}.")
        return float(text)


def read_trace(sessions: Path, events: Path) -> Trace:
    """Read a trace.

    Raises:
        TraceError: A file cannot be read or is wrong somewhere; names file, line, column and fix.
    """
    known: dict[str, tuple[SessionRow, int]] = {}
    for row in _read_rows(sessions, SESSION_COLUMNS):
        session = _parse_session(row)
        if session.session in known:
            first = known[session.session][1]
            raise row.error(
                "session",
                f"{_show(session.session)} is in line {first} already. Name every session differently.",
            )
        known[session.session] = (session, row.line)
    if not known:
        raise TraceError(f"{sessions}: there is no session. Write one row for each below the headings.")
    if sum(row.stop - row.start for row, _ in known.values()) > MOST_MINUTES * MINUTE:
        raise TraceError(
            f"{sessions}, column `stop_min`: the sessions together last longer than {MOST_MINUTES:g} "
            "minutes. Check that the columns are in minutes."
        )
    found, notes = _read_events(events, known, sessions)
    return build_trace([row for row, _ in known.values()], found, notes)


def _read_events(
    path: Path, known: Mapping[str, tuple[SessionRow, int]], sessions: Path
) -> tuple[list[EventRow], list[str]]:
    """The events, and what was put right in them."""
    found: list[EventRow] = []
    outside: list[_Row] = []
    cut = strange = 0
    for row in _read_rows(path, EVENT_COLUMNS):
        event = _parse_event(row, known, sessions)
        session = known[event.session][0]
        if event.start + event.duration < session.start or event.start > session.stop:
            outside.append(row)
            continue
        whole = (event.start, event.duration)
        event = _cut(event, session)
        cut += whole != (event.start, event.duration)
        strange += event.gpu_util_percent is None and row.cells["gpu_util_pct"].lower() not in _UNKNOWN
        found.append(event)
    if len(outside) > len(found):
        raise _lies_outside(outside[0], known, sessions)
    notes = [f"{_count(cut)} beyond the session, cut to it."] if cut else []
    if outside:
        notes.append(
            f"{_count(len(outside))} outside the session, left out; the first in line {outside[0].line}."
        )
    if strange:
        notes.append(f"{_count(strange)} with a utilisation that is not from 0 to 100, taken as not known.")
    return found, notes


def _count(events: int) -> str:
    return "1 event" if events == 1 else f"{events} events"


def _lies_outside(row: _Row, known: Mapping[str, tuple[SessionRow, int]], sessions: Path) -> TraceError:
    session, line = known[row.cells["session"]]
    return row.error(
        "start_min",
        f"this and most events lie outside their sessions; this one lasts from minute "
        f"{session.start / MINUTE:g} to {session.stop / MINUTE:g} ({sessions}, line {line}). "
        "Minutes count from the same moment in both files.",
    )


def _parse_session(row: _Row) -> SessionRow:
    start, stop = row.minutes("start_min"), row.minutes("stop_min")
    if stop < start:
        raise row.error(
            "stop_min",
            f"{_show(row.cells['stop_min'])} is before the start, {_show(row.cells['start_min'])}. "
            "Swap or mend them.",
        )
    return SessionRow(
        row.name("session"), row.name("user", may_be_empty=True), start, stop, row.count("max_gpus")
    )


def _parse_event(row: _Row, known: Mapping[str, tuple[SessionRow, int]], sessions: Path) -> EventRow:
    name = row.name("session")
    if name not in known:
        raise row.error("session", f"{_show(name)} is not in {sessions}. Add it there, or remove this row.")
    session, line = known[name]
    gpus = row.count("gpus")
    if gpus > session.max_gpus:
        raise row.error(
            "gpus",
            f"{gpus} is more than the session's max_gpus, {session.max_gpus} ({sessions}, line {line}). "
            "Raise that, or lower this.",
        )
    start, duration = row.minutes("start_min"), row.minutes("duration_min", least=0)
    return EventRow(name, start, duration, gpus, row.percent("gpu_util_pct"))


def _cut(event: EventRow, session: SessionRow) -> EventRow:
    """The part of an event within its session: who samples every minute sees the end of a session late."""
    start = max(event.start, session.start)
    end = min(event.start + event.duration, session.stop)
    return EventRow(event.session, start, end - start, event.gpus, event.gpu_util_percent)


def _read_rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    """The rows of a file below its headings, blank lines left out."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            headings = [cell.strip() for cell in next(reader, [])]
            _require_columns(path, headings, columns)
            for cells in reader:
                line = reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(headings):
                    raise TraceError(
                        f"{path}, line {line}: {len(cells)} cells, and {len(headings)} headings. "
                        f"Write {','.join(headings)}."
                    )
                values = (cell.strip() for cell in cells)
                yield _Row(path, line, dict(zip(headings, values, strict=True)))
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}, after line {line}: is not UTF-8. Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise TraceError(
            f"{path}, line {line + 1}: is not CSV: {error}. Mend the quotes of that line."
        ) from error


def _require_columns(path: Path, headings: Sequence[str], columns: Sequence[str]) -> None:
    wanted = ",".join(columns)
    if len(headings) == 1 and set(headings[0]) & set(";\t|"):
        raise TraceError(
            f"{path}, line 1: cells are parted by commas. Save it so; the headings are {wanted}."
        )
    for column in columns:
        if headings.count(column) == 1:
            continue
        if column in headings:
            raise TraceError(f"{path}, line 1, column `{column}`: is there twice. Remove one of them.")
        near = get_close_matches(column, [h for h in headings if h not in columns], 1)
        hint = f" Is {_show(near[0])} meant?" if near else ""
        raise TraceError(f"{path}, line 1: column `{column}` is missing.{hint} The headings are {wanted}.")
    extra = [heading for heading in headings if heading not in columns]
    if extra:
        raise TraceError(
            f"{path}, line 1, column {_show(extra[0])}: is not known. Remove it; the headings are {wanted}."
        )


def _show(text: str) -> str:
    """What stands in a cell, short and unable to move the cursor."""
    return ascii(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "~")


def write_sessions(path: Path, rows: Iterable[SessionRow]) -> None:
    """Write the sessions of a trace. Raises: TraceError: The file cannot be written."""
    _write(
        path,
        SESSION_COLUMNS,
        ((r.session, r.user, _minutes(r.start), _minutes(r.stop), r.max_gpus) for r in rows),
    )


def write_events(path: Path, rows: Iterable[EventRow]) -> None:
    """Write the events of a trace. Raises: TraceError: The file cannot be written."""
    _write(
        path,
        EVENT_COLUMNS,
        (
            (r.session, _minutes(r.start), _minutes(r.duration), r.gpus, _percent(r.gpu_util_percent))
            for r in rows
        ),
    )


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror}.") from error


def _minutes(milliseconds: int) -> str:
    return f"{milliseconds / MINUTE:.10g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
