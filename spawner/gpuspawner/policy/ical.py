"""Reservations as an iCalendar file (RFC 5545), and back.

What iCalendar has no word for (how many devices, for whom, which cards) is in properties that begin with
``X-GPUSPAWNER-``; events of other calendars have none and get defaults. Attendees, alarms, and everything
else that does not say when something is, is not read. What says when, and cannot be reserved, is refused by
name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, vRecur, vText

from gpuspawner.core.claims import Reservation
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.occurrences import all_starts, find_zone
from gpuspawner.core.recurrence import HORIZON, to_utc

from .options import shorten
from .reservations import ReservationBody, parse_body
from .units import describe_time

MOST_BYTES = 1024 * 1024
MOST_EVENTS = 200
_UID = re.compile(r"([0-9a-f]{16})@gpuspawner", re.ASCII)
_X = "X-GPUSPAWNER-"
_REFUSED = ("RECURRENCE-ID", "RDATE", "EXRULE")
_HOLDERS = ("person", "group", "course")


def to_ical(reservations: Iterable[Reservation], *, now: datetime, people: bool = False) -> bytes:
    """Write a calendar of what is reserved.

    Args:
        reservations: What goes into it; a cancelled one does not.
        now: The present.
        people: Whether names of people go into it: persons for whom something is, and users. Titles, groups
            and courses are always there. A calendar without people does not come back whole.
    """
    found = [one for one in reservations if one.ended_at is None]
    calendar = Calendar()
    calendar.add("prodid", "-//gpuspawner//reservations//EN")
    calendar.add("version", "2.0")
    for one in found:
        calendar.add_component(_to_event(one, now, people))
    if found:
        first, last = min(one.start for one in found), max(one.start for one in found)
        calendar.add_missing_timezones(first.date() - timedelta(days=1), (last + HORIZON).date())
    return bytes(calendar.to_ical())


def _to_event(one: Reservation, now: datetime, people: bool) -> Event:
    zone = ZoneInfo(one.zone) if one.zone != "UTC" else UTC
    named = people or one.holder.kind != "person"
    event = Event()
    event.add("uid", f"{one.id}@gpuspawner")
    event.add("dtstamp", now)
    event.add("created", one.made_at)
    event.add("summary", one.title)
    gpus = f"{one.devices} GPU{'' if one.devices == 1 else 's'}"
    of_pool = f" of pool {one.pool}" if one.pool else ""
    event.add(
        "description", f"{gpus}{of_pool}" + (f" for {one.holder.kind} {one.holder.name}" if named else "")
    )
    event.add("dtstart", one.start.astimezone(zone))
    event.add("duration", one.length)
    if one.rule:
        event.add("rrule", vRecur.from_ical(one.rule))
    for start in one.left_out:
        event.add("exdate", start.astimezone(zone))
    extra = [("DEVICES", str(one.devices)), ("POOL", one.pool), ("LEAD", describe_time(one.lead))]
    extra += [("HOLDER", f"{one.holder.kind}:{one.holder.name}")] if named else []
    extra += [("CARD", card) for card in sorted(one.cards)]
    extra += [("USER", user) for user in one.users if people]
    for name, text in extra:
        if text:
            event.add(_X + name, vText(text))
    return event


@dataclass(frozen=True, slots=True)
class ImportedEvent:
    """An event that can be reserved."""

    reservation_id: str
    """That of the reservation it was written from, or else always the same one for the same event."""
    body: ReservationBody


def from_ical(data: bytes, defaults: Mapping[str, object]) -> tuple[ImportedEvent, ...]:
    """Read a calendar. Cancelled events, and all that are no events, are passed over.

    Args:
        data: The file.
        defaults: Fields of a reservation (see :class:`ReservationBody`) for events that do not say them;
            ``zone`` is that of times without one.

    Raises:
        InvalidRequest: It is no calendar, or too large, or an event, which is named, cannot be reserved.
    """
    events = [one for one in read_events(data) if not is_cancelled(one)]
    if len(events) > MOST_EVENTS:
        raise InvalidRequest(f"The calendar has {len(events)} events; {MOST_EVENTS} is the most.")
    found: dict[str, ImportedEvent] = {}
    for number, event in enumerate(events, 1):
        name = f"Event {number} ({shorten(str(event.get('SUMMARY', '')))})"
        try:
            imported = _from_event(event, defaults)
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}: {error}") from None
        except OverflowError:
            raise InvalidRequest(f"{name}: it must be within two years of now.") from None
        if imported.reservation_id in found:
            raise InvalidRequest(f"{name}: its UID is there twice; a changed single event is not supported.")
        found[imported.reservation_id] = imported
    return tuple(found.values())


def read_events(data: bytes) -> list[Any]:
    """All events of a calendar, as the library has them. Raises: InvalidRequest: It is none, or too large."""
    if len(data) > MOST_BYTES:
        raise InvalidRequest(f"The calendar has {len(data)} bytes; {MOST_BYTES} is the most.")
    try:
        return list(Calendar.from_ical(_without_zones(data)).walk("VEVENT"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise InvalidRequest(f"This is not a calendar in iCalendar form: {shorten(what)}.") from None


def is_cancelled(event: Any) -> bool:
    """Whether an event says that it does not take place."""
    return str(event.get("STATUS", "")).strip().upper() == "CANCELLED"


def _without_zones(data: bytes) -> bytes:
    """Leave out the descriptions of time zones: ours are used, and theirs may recur every second."""
    kept, inside = [], False
    for line in re.sub(rb"\r?\n[ \t]", b"", data).splitlines(keepends=True):
        word = line.strip().upper()
        inside = inside or word == b"BEGIN:VTIMEZONE"
        if not inside:
            kept.append(line)
        inside = inside and word != b"END:VTIMEZONE"
    return b"".join(kept)


def _from_event(event: Any, defaults: Mapping[str, object]) -> ImportedEvent:
    for name in _REFUSED:
        if name in event:
            raise InvalidRequest(f"{name} is not supported; make it an event of its own.")
    if event.errors:
        name, what = event.errors[0]
        raise InvalidRequest(f"{name} cannot be read: {shorten(what)}.")
    uid = read_property(event, "UID")
    if not uid:
        raise InvalidRequest("it has no UID.")
    own = _UID.fullmatch(uid)
    holder = _read_holder(event)
    said = {key: value for key, value in defaults.items() if not (holder and key in _HOLDERS)}
    body: dict[str, object] = {"title": "no title", **said, **holder, **_read_extra(event)}
    title = " ".join(read_property(event, "SUMMARY").split())[:100].strip()
    body |= {"title": title} if title else {}
    body |= _read_times(event, str(defaults.get("zone") or "UTC"))
    return ImportedEvent(own[1] if own else sha256(uid.encode()).hexdigest()[:16], parse_body(body))


def _read_extra(event: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    devices = read_property(event, _X + "DEVICES")
    if devices:
        found["devices"] = int(devices) if re.fullmatch("[0-9]{1,6}", devices, re.ASCII) else devices
    for key in ("pool", "lead"):
        value = read_property(event, _X + key.upper())
        found |= {key: value} if value else {}
    users, cards = _texts(event, _X + "USER"), _texts(event, _X + "CARD")
    found |= {"users": users} if users else {}
    if cards:
        found["cards"] = [card for card in cards if card.startswith(("GPU-", "MIG-"))]
        found["models"] = [card for card in cards if card not in found["cards"]]  # type: ignore[operator]
    return found


def _read_holder(event: Any) -> dict[str, str]:
    kind, _, name = read_property(event, _X + "HOLDER").partition(":")
    if kind and kind not in _HOLDERS:
        raise InvalidRequest(f"{_X}HOLDER must be person:, group: or course: with a name.")
    return {kind: name} if kind else {}


def _texts(event: Any, name: str) -> list[str]:
    value = event.get(name, [])
    values = value if isinstance(value, list) else [value]
    return [_unescape(one.to_ical().decode()) for one in values]


def _unescape(text: str) -> str:
    """The text that is meant; the library leaves that of properties it does not know as it is."""
    return re.sub(r"\\([nN,;\\])", lambda found: "\n" if found[1] in "nN" else found[1], text)


def read_property(event: Any, name: str) -> str:
    """The text of a property, empty where there is none."""
    return next(iter(_texts(event, name)), "").strip()


def _read_times(event: Any, zone_name: str) -> dict[str, object]:
    begin, length, zone = read_span(event, zone_name)
    found: dict[str, object] = {
        "start": begin.astimezone(zone).isoformat(),
        "length": describe_time(length) if length > timedelta(0) else "0",
        "zone": zone.key,
    }
    if "RRULE" in event:
        if isinstance(event["RRULE"], list):
            raise InvalidRequest("it has several RRULEs; make it several events.")
        rule = event["RRULE"].to_ical().decode()
        # Calendars keep exceptions that name no start any more; they mean nothing.
        starts = frozenset(all_starts(begin, zone, rule))
        found["rule"] = rule
        found["except"] = [one.isoformat() for one in sorted(set(_read_exceptions(event, zone)) & starts)]
    return found


def read_span(event: Any, zone_name: str) -> tuple[datetime, timedelta, ZoneInfo]:
    """When an event first starts, how long it is, and in which time zone it recurs. Raises: InvalidRequest.

    Args:
        event: The event.
        zone_name: The time zone of times without one.
    """
    start = read_time(event, "DTSTART")
    zone = find_zone(name_zone(start) if start.tzinfo else zone_name)
    begin = to_utc(start, zone)
    length: object
    if "DTEND" in event:
        length = to_utc(read_time(event, "DTEND"), zone) - begin
    elif "DURATION" in event:
        length = getattr(event["DURATION"], "dt", None)
    else:
        raise InvalidRequest("it has neither DTEND nor DURATION; say how long it is.")
    if not isinstance(length, timedelta):
        raise InvalidRequest("DURATION must be a length of time, once.")
    return begin, length, zone


def read_time(event: Any, name: str) -> datetime:
    """A time that must be there once. Raises: InvalidRequest."""
    value = event.get(name)
    if value is None or isinstance(value, list):
        raise InvalidRequest(f"it must have {name} once.")
    found = value.dt
    if not isinstance(found, datetime):
        raise InvalidRequest(f"{name} is a whole day; give it a time.")
    return require_zone(found, name, value.params)


def require_zone(moment: datetime, name: str, params: Mapping[str, object]) -> datetime:
    """A time whose time zone, if it has one, is known. Raises: InvalidRequest."""
    if "TZID" in params and (moment.tzinfo is None or not name_zone(moment)):
        raise InvalidRequest(
            f"{name} is in the time zone {shorten(str(params['TZID']))}, which is not known; "
            "use one such as Europe/Zurich."
        )
    return moment


def name_zone(moment: datetime) -> str:
    """The IANA name of a time's zone; empty where it has none."""
    return "UTC" if moment.tzinfo is UTC else getattr(moment.tzinfo, "key", "")


def _read_exceptions(event: Any, zone: ZoneInfo) -> Iterator[datetime]:
    value = event.get("EXDATE", [])
    for dates in value if isinstance(value, list) else [value]:
        for one in dates.dts:
            if not isinstance(one.dt, datetime):
                raise InvalidRequest("EXDATE is a whole day; give it the time of the start.")
            yield to_utc(require_zone(one.dt, "EXDATE", dates.params), zone)
