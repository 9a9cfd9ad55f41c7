"""When something recurs: the part of RFC 5545's rules that a reservation may use.

Only whole days are repeated (``DAILY``, ``WEEKLY``, ``MONTHLY``, ``YEARLY``): the time of day is that of the
first start. A general library looks for a date that never comes (30 February, say) until the year 9999, which
takes it seconds; here every search ends at the horizon.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from .errors import InvalidRequest

HORIZON = timedelta(days=731)
"""No rule is followed for longer than two years from its first start."""
MOST_OCCURRENCES = 1000
_LONGEST_RULE = 500
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_DAY = timedelta(days=1)
_EXAMPLE = "such as FREQ=WEEKLY;COUNT=10"


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule that was read."""

    freq: str
    """One of DAILY, WEEKLY, MONTHLY, YEARLY."""
    interval: int = 1
    count: int | None = None
    """How often, those included that are left out."""
    until: datetime | None = None
    """The last start that is possible: aware, or without a zone in the time zone of the reservation."""
    by_month: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    """1 to 31, or from the end of the month -1 to -31."""
    by_day: tuple[tuple[int, int], ...] = ()
    """(which of the month or year, or 0 for each; weekday from 0 for Monday)."""
    by_set_pos: tuple[int, ...] = ()
    """Which of the days of a period, from 1, or from its end -1."""
    week_start: int = 0


def read_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        InvalidRequest: With the part of it that is wrong, and what is right.
    """
    if len(text) > _LONGEST_RULE:
        raise InvalidRequest(f"rule: it has {len(text)} characters; {_LONGEST_RULE} is the most.")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        key, equals, value = part.partition("=")
        if not equals or not value or key in parts:
            raise InvalidRequest(
                f"rule: {part[:40]!r} is no part of a rule; write KEY=VALUE once, {_EXAMPLE}."
            )
        parts[key] = value
    freq = parts.pop("FREQ", "")
    if freq not in _FREQUENCIES:
        raise InvalidRequest(f"rule: FREQ must be one of {', '.join(_FREQUENCIES)}, {_EXAMPLE}.")
    read: dict[str, object] = {}
    for key, value in parts.items():
        if key not in _PARTS:
            known = ", ".join(["FREQ", *_PARTS])
            raise InvalidRequest(f"rule: {key[:40]} is not supported; a rule may have {known}.")
        name, reader = _PARTS[key]
        try:
            read[name] = reader(value)
        except ValueError as error:
            raise InvalidRequest(f"rule: {key}={value[:40]} is wrong; {error}.") from None
    rule = Rule(freq, **read)  # type: ignore[arg-type]
    _require_sense(rule)
    return rule


def _require_sense(rule: Rule) -> None:
    if rule.count is not None and rule.until is not None:
        raise InvalidRequest("rule: COUNT and UNTIL exclude each other; leave one out.")
    if rule.freq in ("DAILY", "WEEKLY") and any(nth for nth, _ in rule.by_day):
        raise InvalidRequest(f"rule: with FREQ={rule.freq} BYDAY has no numbers; write BYDAY=MO,WE.")
    if rule.freq == "WEEKLY" and rule.by_month_day:
        raise InvalidRequest("rule: BYMONTHDAY does not go with FREQ=WEEKLY; use FREQ=MONTHLY.")


def _read_int(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,5}", value) and low <= (number := int(value)) <= high and number:
            return number
        raise ValueError(f"write whole numbers from {low} to {high}{' without 0' if low < 0 else ''}")

    return read


def _read_ints(low: int, high: int) -> Callable[[str], tuple[int, ...]]:
    read = _read_int(low, high)
    return lambda value: tuple(sorted({read(one) for one in value.split(",")}))


def _read_weekday(value: str) -> int:
    if value in _DAYS:
        return _DAYS.index(value)
    raise ValueError(f"write one of {', '.join(_DAYS)}")


def _read_days(value: str) -> tuple[tuple[int, int], ...]:
    found = []
    for one in value.split(","):
        match = re.fullmatch(r"([+-]?[0-9]{1,2})?([A-Z]{2})", one)
        if match is None:
            raise ValueError(
                "write days such as MO,WE, or 1MO for the first Monday, -1FR for the last Friday"
            )
        found.append((_read_int(-53, 53)(match[1]) if match[1] else 0, _read_weekday(match[2])))
    return tuple(sorted(set(found)))


def _read_until(value: str) -> datetime:
    for form in ("%Y%m%dT%H%M%SZ", "%Y%m%dT%H%M%S", "%Y%m%d"):
        try:
            found = datetime.strptime(value, form)
        except ValueError:
            continue
        if form.endswith("Z"):
            return found.replace(tzinfo=UTC)
        return found if "T" in value else datetime.combine(found, time(23, 59, 59))
    raise ValueError("write a day such as 20301231, or a time such as 20301231T120000Z")


_PARTS: dict[str, tuple[str, Callable[[str], object]]] = {
    "INTERVAL": ("interval", _read_int(1, 1000)),
    "COUNT": ("count", _read_int(1, MOST_OCCURRENCES)),
    "UNTIL": ("until", _read_until),
    "BYMONTH": ("by_month", _read_ints(1, 12)),
    "BYMONTHDAY": ("by_month_day", _read_ints(-31, 31)),
    "BYDAY": ("by_day", _read_days),
    "BYSETPOS": ("by_set_pos", _read_ints(-366, 366)),
    "WKST": ("week_start", _read_weekday),
}


def write_rule(rule: Rule, zone: ZoneInfo) -> str:
    """A rule as RFC 5545 wants it: where the start has a time zone, UNTIL is in UTC."""
    parts = [f"FREQ={rule.freq}"]
    parts += [f"INTERVAL={rule.interval}"] if rule.interval != 1 else []
    parts += [f"COUNT={rule.count}"] if rule.count else []
    parts += [f"UNTIL={to_utc(rule.until, zone):%Y%m%dT%H%M%SZ}"] if rule.until else []
    lists = (("BYMONTH", rule.by_month), ("BYMONTHDAY", rule.by_month_day), ("BYSETPOS", rule.by_set_pos))
    parts += [f"{key}={','.join(map(str, numbers))}" for key, numbers in lists if numbers]
    days = ",".join(f"{nth or ''}{_DAYS[day]}" for nth, day in rule.by_day)
    parts += [f"BYDAY={days}"] if days else []
    parts += [f"WKST={_DAYS[rule.week_start]}"] if rule.week_start else []
    return ";".join(parts)


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """A time in UTC; one without a time zone is what the clock on the wall of ``zone`` shows."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def list_starts(
    rule: Rule, first: datetime, zone: ZoneInfo, *, since: datetime, before: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The starts of what recurs, in order, as (the time in UTC, what a clock on the wall shows).

    A local time that a change of the clocks leaves out is taken as RFC 5545 says: by the offset that held
    before the change, so that 02:30 becomes 03:30. Of a local time that comes twice, the first is taken; for
    ``first`` itself what it says.

    Args:
        rule: How it recurs.
        first: The first start.
        zone: Where the clock on the wall is.
        since: Earlier starts are of no interest. Some are returned nevertheless.
        before: Starts from this one on are of no interest.
    """
    local = first.astimezone(zone).replace(tzinfo=None, fold=0)
    end = min(before, first + HORIZON)
    last = to_utc(rule.until, zone) if rule.until else end
    # What the clock on the wall shows differs from UTC by at most a day.
    days = _list_days(
        _complete(rule, local.date()),
        local.date(),
        local.date() if rule.count else max(since, first).date() - 2 * _DAY,
        min(end, last).date() + 2 * _DAY,
    )
    for count, day in enumerate(days):
        if rule.count is not None and count >= rule.count:
            return
        shown = datetime.combine(day, local.time())
        start = first if shown == local else to_utc(shown, zone)
        if start >= end or start > last:
            return
        yield start, shown


def _complete(rule: Rule, first: date) -> Rule:
    """Take from the first start what the rule does not say."""
    if rule.by_day or rule.by_month_day or rule.freq == "DAILY":
        return rule
    if rule.freq == "WEEKLY":
        return replace(rule, by_day=((0, first.weekday()),))
    month = rule.by_month or ((first.month,) if rule.freq == "YEARLY" else ())
    return replace(rule, by_month=month, by_month_day=(first.day,))


def _list_days(rule: Rule, first: date, since: date, until: date) -> Iterator[date]:
    for begin, end in _list_periods(rule, first, since, until):
        days = [begin] if end - begin == _DAY else _days_between(begin, end)
        days = [day for day in days if _matches(rule, day)]
        if rule.by_set_pos:
            picked = {n - 1 if n > 0 else len(days) + n for n in rule.by_set_pos}
            days = [day for n, day in enumerate(days) if n in picked]
        yield from (day for day in days if first <= day <= until)


def _days_between(begin: date, end: date) -> list[date]:
    return [begin + n * _DAY for n in range((end - begin).days)]


def _list_periods(rule: Rule, first: date, since: date, until: date) -> Iterator[tuple[date, date]]:
    """The days, weeks, months or years of which some days count, as (first day, day after the last)."""
    if rule.freq in ("DAILY", "WEEKLY"):
        length = _DAY if rule.freq == "DAILY" else 7 * _DAY
        begin = first if rule.freq == "DAILY" else first - (first.weekday() - rule.week_start) % 7 * _DAY
        step = rule.interval * length
        begin += max(0, (since - begin) // step) * step
        while begin <= until:
            yield begin, begin + length
            begin += step
        return
    months = 1 if rule.freq == "MONTHLY" else 12
    number = first.year * 12 + (first.month - 1 if months == 1 else 0)
    step_months = rule.interval * months
    number += max(0, (since.year * 12 + since.month - 1 - number) // step_months) * step_months
    while (begin := _month(number)) <= until:
        yield begin, _month(number + months)
        number += step_months


def _month(number: int) -> date:
    return date(min(number // 12, date.max.year), number % 12 + 1, 1)


def _matches(rule: Rule, day: date) -> bool:
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_month_day:
        length = monthrange(day.year, day.month)[1]
        if day.day not in rule.by_month_day and day.day - length - 1 not in rule.by_month_day:
            return False
    return not rule.by_day or any(
        day.weekday() == weekday and (not nth or nth in _ordinals(rule, day)) for nth, weekday in rule.by_day
    )


def _ordinals(rule: Rule, day: date) -> tuple[int, int]:
    """Which of its weekday it is in its month or year, from the beginning and from the end."""
    if rule.freq == "MONTHLY" or rule.by_month:
        place, length = day.day, monthrange(day.year, day.month)[1]
    else:
        place, length = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
    return (place - 1) // 7 + 1, -((length - place) // 7 + 1)
