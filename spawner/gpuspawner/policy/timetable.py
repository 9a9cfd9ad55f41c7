"""A course's timetable, as calendar programs and campus systems write it, made into reservations.

Each series of lessons becomes a reservation; each lesson of it that was moved, one of its own. What says when
and cannot be reserved is refused by name; whole days (holidays, say) and what is cancelled or over is passed
over, and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import all_starts, find_zone
from gpuspawner.core.recurrence import to_utc
from gpuspawner.core.words import mark

from .ical import is_cancelled, read_events, read_property, read_span, read_time, require_zone
from .options import shorten
from .reservations import ReservationBody, parse_body
from .units import describe_time, read_duration

MOST_LESSONS = 200
"""Reservations of one timetable."""
MOST_EVENTS = 1000
"""Events in its file, moved and cancelled lessons included."""
LEAD = timedelta(minutes=5)
"""So long before each lesson the GPUs are kept free, where nothing else is said."""
_REFUSED = ("EXRULE",)


@dataclass(frozen=True, slots=True)
class Seats:
    """What each lesson reserves."""

    devices: int
    pool: str = ""
    lead: timedelta = LEAD
    zone: str = "UTC"
    """The time zone of times without one."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A series of lessons, or a single one, that can be reserved."""

    reservation_id: str
    """Always the same one for the same series of the same course."""
    body: ReservationBody


@dataclass(frozen=True, slots=True)
class Timetable:
    """A timetable that was read."""

    lessons: tuple[Lesson, ...]
    notes: tuple[str, ...] = ()
    """What was passed over, as sentences."""


def read_timetable(data: bytes, course: str, seats: Seats, now: datetime) -> Timetable:
    """Read a timetable.

    Args:
        data: A calendar (RFC 5545).
        course: Whose it is.
        seats: What each lesson reserves.
        now: The present; what is over is passed over.

    Raises:
        InvalidRequest: It is no calendar, or too large, or an event, which is named, cannot be reserved.
    """
    find_zone(seats.zone)
    events = read_events(data.removeprefix(b"\xef\xbb\xbf"))
    if len(events) > MOST_EVENTS:
        raise InvalidRequest(f"The calendar has {len(events)} events; {MOST_EVENTS} is the most.")
    reader = _Reader(course, seats, now)
    for uid, series in _group(events).items():
        reader.take(uid, series)
    if len(reader.lessons) > MOST_LESSONS:
        count = len(reader.lessons)
        raise InvalidRequest(f"The calendar has {count} series of lessons; {MOST_LESSONS} is the most.")
    return Timetable(tuple(reader.lessons), tuple(reader.notes()))


def read_lead(text: str) -> timedelta:
    """So long before each lesson the GPUs are kept free, as somebody writes it. Raises: InvalidRequest."""
    try:
        return timedelta(0) if text.strip() in ("0", "0 min") else read_duration(text.strip())
    except ValueError as error:
        raise InvalidRequest(f"lead: {error}, not {shorten(text)}.") from None


def _group(events: Iterable[Any]) -> dict[str, list[Any]]:
    """Events by UID: a series and what was changed of it have the same one."""
    found: dict[str, list[Any]] = {}
    for number, event in enumerate(events, 1):
        uid = read_property(event, "UID")
        if not uid:
            raise InvalidRequest(f"Event {number} ({_name(event)}): it has no UID.")
        found.setdefault(uid, []).append(event)
    return found


def _name(event: Any) -> str:
    return shorten(str(event.get("SUMMARY", "")))


class _Reader:
    """Makes lessons of events, and counts what is passed over."""

    def __init__(self, course: str, seats: Seats, now: datetime) -> None:
        self._course, self._seats, self._now = course, seats, now
        self._passed: Counter[str] = Counter()
        self.lessons: list[Lesson] = []

    def notes(self) -> Iterator[str]:
        """What was passed over."""
        cancelled, over, days = (self._passed[why] for why in ("cancelled", "over", "whole days"))
        if cancelled:
            yield mark(f"Passed over as cancelled: {cancelled} {'event' if cancelled == 1 else 'events'}.")
        if over:
            yield mark(f"Passed over as past: {over} {'event' if over == 1 else 'events'}.")
        if days:
            yield mark(f"Passed over as whole days: {days} {'event' if days == 1 else 'events'}.")

    def take(self, uid: str, series: list[Any]) -> None:
        """Events of one UID. Raises: InvalidRequest: with the name of the one that cannot be reserved."""
        whole = [one for one in series if _is_whole_day(one)]
        self._passed["whole days"] += len(whole)
        timed = [one for one in series if not _is_whole_day(one)]
        masters = [one for one in timed if "RECURRENCE-ID" not in one]
        changed = [one for one in timed if "RECURRENCE-ID" in one]
        if len(masters) > 1:
            raise InvalidRequest(f"{_name(masters[1])}: its UID is there twice; export the calendar again.")
        for event in timed:
            try:
                if event in masters:
                    self._take_series(uid, event, changed)
                else:
                    self._take_changed(uid, event)
            except InvalidRequest as error:
                raise InvalidRequest(f"{_name(event)}: {error}") from None
            except OverflowError:
                raise InvalidRequest(f"{_name(event)}: it must be within two years of now.") from None

    def _take_series(self, uid: str, event: Any, changed: list[Any]) -> None:
        if is_cancelled(event):
            self._passed["cancelled"] += 1
            return
        _require_plain(event)
        begin, length, zone = read_span(event, self._seats.zone)
        rule = _read_rule(event)
        starts = set(all_starts(begin, zone, rule))
        left_out = {_read_start(one, zone) for one in changed} | set(_read_exceptions(event, zone, starts))
        left_out &= starts
        self._add(uid, event, begin, length, zone, rule=rule, left_out=left_out)
        for extra in _read_extra(event, zone):
            if extra not in starts:
                self._add(f"{uid}\n{extra.isoformat()}", event, extra, length, zone)

    def _take_changed(self, uid: str, event: Any) -> None:
        """One lesson of a series that is otherwise than the series says."""
        if is_cancelled(event):
            self._passed["cancelled"] += 1
            return
        _require_plain(event)
        if "RRULE" in event or "RDATE" in event:
            raise InvalidRequest("a lesson that was moved cannot recur by itself.")
        begin, length, zone = read_span(event, self._seats.zone)
        self._add(f"{uid}\n{_read_start(event, zone).isoformat()}", event, begin, length, zone)

    def _add(
        self,
        key: str,
        event: Any,
        begin: datetime,
        length: timedelta,
        zone: ZoneInfo,
        *,
        rule: str = "",
        left_out: Iterable[datetime] = (),
    ) -> None:
        gone = set(left_out)
        ahead = [one for one in all_starts(begin, zone, rule) if one not in gone and one + length > self._now]
        if length > timedelta(0) and not ahead:
            self._passed["over"] += 1
            return
        title = " ".join(read_property(event, "SUMMARY").split())[:100].strip()
        plain = "".join(char for char in title if char.isprintable())
        body: dict[str, object] = {
            "title": plain or self._course,
            "course": self._course,
            "devices": self._seats.devices,
            "lead": describe_time(self._seats.lead) if self._seats.lead else "0",
            "start": begin.astimezone(zone).isoformat(),
            "length": describe_time(length) if length > timedelta(0) else "0",
            "zone": zone.key,
            "except": [one.astimezone(zone).isoformat() for one in sorted(gone)],
        }
        body |= {"rule": rule} if rule else {}
        body |= {"pool": self._seats.pool} if self._seats.pool else {}
        name = sha256(f"timetable\n{self._course}\n{key}".encode()).hexdigest()[:16]
        if any(one.reservation_id == name for one in self.lessons):
            raise InvalidRequest("the same lesson is there twice; export the calendar again.")
        self.lessons.append(Lesson(name, parse_body(body)))


def _is_whole_day(event: Any) -> bool:
    value = event.get("DTSTART")
    moment = getattr(value, "dt", None)
    return isinstance(moment, date) and not isinstance(moment, datetime)


def _require_plain(event: Any) -> None:
    for name in _REFUSED:
        if name in event:
            raise InvalidRequest(f"{name} is not supported; make it an event of its own.")
    if event.errors:
        name, what = event.errors[0]
        raise InvalidRequest(f"{name} cannot be read: {shorten(what)}.")


def _read_rule(event: Any) -> str:
    if "RRULE" not in event:
        return ""
    if isinstance(event["RRULE"], list):
        raise InvalidRequest("it has several RRULEs; make it several events.")
    return str(event["RRULE"].to_ical().decode())


def _read_start(event: Any, zone: ZoneInfo) -> datetime:
    """Which lesson of a series a changed one stands for."""
    value = event["RECURRENCE-ID"]
    params: Mapping[str, object] = getattr(value, "params", {})
    if "RANGE" in params:
        raise InvalidRequest("RECURRENCE-ID with RANGE is not supported; export the calendar again.")
    return to_utc(read_time(event, "RECURRENCE-ID"), zone)


def _read_exceptions(event: Any, zone: ZoneInfo, starts: Iterable[datetime]) -> Iterator[datetime]:
    """Starts that are left out; a whole day leaves out what starts on it."""
    for moment in _list_dates(event, "EXDATE"):
        if isinstance(moment, datetime):
            yield to_utc(moment, zone)
        else:
            yield from (one for one in starts if one.astimezone(zone).date() == moment)


def _read_extra(event: Any, zone: ZoneInfo) -> Iterator[datetime]:
    for moment in _list_dates(event, "RDATE"):
        if not isinstance(moment, datetime):
            raise InvalidRequest("RDATE is a whole day or a period; give it the time of the start.")
        yield to_utc(moment, zone)


def _list_dates(event: Any, name: str) -> Iterator[date]:
    value = event.get(name, [])
    for dates in value if isinstance(value, list) else [value]:
        for one in dates.dts:
            if isinstance(one.dt, datetime):
                yield require_zone(one.dt, name, dates.params)
            elif isinstance(one.dt, date):
                yield one.dt
            else:
                raise InvalidRequest(f"{name} has a period; give it the time of the start.")
