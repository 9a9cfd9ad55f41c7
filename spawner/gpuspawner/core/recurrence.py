"""When something recurs: the part of RFC 5545's rules that a reservation may use.

Only whole days are repeated (``DAILY``, ``WEEKLY``, ``MONTHLY``, ``YEARLY``): the time of day is that of the
first start. The days of plain rules by days or weeks, which most are, are computed: any week of a long series
costs the same. ``dateutil.rrule`` finds the days of all others. It looks for one that never comes (30
February, say) until the year 9999, which takes seconds. So it is first asked about the first period alone (30
ms at most), and a rule that does not take place at its first start is not followed. One that does comes
again: the calendar repeats itself every 400 years, so that the search for the first day past the horizon ends
(60 ms at most, for a Tuesday that is a 29 February each 109th day).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from itertools import dropwhile, islice
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from dateutil.rrule import rrulestr, weekday

from .errors import InvalidRequest
from .words import mark

HORIZON = timedelta(days=731)
"""No rule is followed for longer than two years from its first start."""
MOST_OCCURRENCES = 1000
_MOST_DAYS = HORIZON.days + 1
"""Days of any rule, one more than within the horizon."""
_LONGEST_RULE = 500
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_NEVER_AGAIN = str(366 * 9999)
"""An interval after which the calendar has ended, be it in days: only the first period is looked at."""
_PARTS_OF_BEATS = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "WKST"})
_EXAMPLE = "such as FREQ=WEEKLY;COUNT=10"


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule that was read."""

    parts: Mapping[str, str]
    """What it says for each key, in capitals; all of it was checked."""

    @property
    def count(self) -> int | None:
        """How often, those included that are left out."""
        return int(self.parts["COUNT"]) if "COUNT" in self.parts else None

    @property
    def until(self) -> datetime | None:
        """The last start that is possible: aware, or without a zone in the time zone of the reservation."""
        return _read_until(self.parts["UNTIL"]) if "UNTIL" in self.parts else None


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
    if parts.get("FREQ") not in _FREQUENCIES:
        raise InvalidRequest(f"rule: FREQ must be one of {', '.join(_FREQUENCIES)}, {_EXAMPLE}.")
    for key, value in parts.items():
        if key not in _PARTS:
            raise InvalidRequest(f"rule: {key[:40]} is not supported; a rule may have {', '.join(_PARTS)}.")
        try:
            _PARTS[key](value)
        except ValueError as error:
            raise InvalidRequest(f"rule: {key}={value[:40]} is wrong; {error}.") from None
    _require_sense(parts)
    return Rule({key: parts[key] for key in _PARTS if key in parts})


def recall_rule(text: str) -> Rule:
    """A rule that was read and checked before, as :func:`write_rule` wrote it; many are, each time."""
    return Rule(dict(part.split("=", 1) for part in text.split(";")))


def _require_sense(parts: Mapping[str, str]) -> None:
    freq = parts["FREQ"]
    if "COUNT" in parts and "UNTIL" in parts:
        raise InvalidRequest("rule: COUNT and UNTIL exclude each other; leave one out.")
    numbered = {len(day) > 2 for day in parts.get("BYDAY", "MO").split(",")}
    if freq in ("DAILY", "WEEKLY") and True in numbered:
        raise InvalidRequest(f"rule: with FREQ={freq} BYDAY has no numbers; write BYDAY=MO,WE.")
    if len(numbered) > 1:  # dateutil takes MO,1TU for what is both, the standard for what is either
        raise InvalidRequest("rule: BYDAY has numbers for all days or for none; write BYDAY=1MO,1WE.")
    if freq == "WEEKLY" and "BYMONTHDAY" in parts:
        raise InvalidRequest("rule: BYMONTHDAY does not go with FREQ=WEEKLY; use FREQ=MONTHLY.")


def _check_number(value: str, low: int, high: int) -> None:
    sign = "[+-]?" if low < 0 else ""
    if not re.fullmatch(sign + "[0-9]{1,5}", value) or not low <= int(value) <= high or not int(value):
        raise ValueError(mark(f"write whole numbers from {low} to {high}{' without 0' if sign else ''}"))


def _check_numbers(value: str, low: int, high: int) -> None:
    for one in value.split(","):
        _check_number(one, low, high)


def _check_weekday(value: str) -> None:
    if value not in _DAYS:
        raise ValueError(mark(f"write one of {', '.join(_DAYS)}"))


def _check_days(value: str) -> None:
    for one in value.split(","):
        _check_weekday(one[-2:])
        if len(one) > 2:
            _check_number(one[:-2], -53, 53)


def _read_until(value: str) -> datetime:
    moment = value if "T" in value else f"{value}T235959"
    with suppress(ValueError):
        if re.fullmatch(r"[0-9]{8}T[0-9]{6}Z?", moment):
            found = datetime.fromisoformat(moment)
            # In another time zone, the ends of the calendar do not exist.
            return found.replace(year=min(max(found.year, 1970), 9998))
    raise ValueError(mark("write a day such as 20301231, or a time such as 20301231T120000Z"))


_PARTS: dict[str, Callable[[str], object]] = {
    "FREQ": str,
    "INTERVAL": partial(_check_number, low=1, high=1000),
    "COUNT": partial(_check_number, low=1, high=MOST_OCCURRENCES),
    "UNTIL": _read_until,
    "BYMONTH": partial(_check_numbers, low=1, high=12),
    "BYMONTHDAY": partial(_check_numbers, low=-31, high=31),
    "BYDAY": _check_days,
    "BYSETPOS": partial(_check_numbers, low=-366, high=366),
    "WKST": _check_weekday,
}


def write_rule(rule: Rule, zone: ZoneInfo) -> str:
    """A rule as RFC 5545 wants it: where the start has a time zone, UNTIL is in UTC."""
    until = {"UNTIL": f"{to_utc(rule.until, zone):%Y%m%dT%H%M%SZ}"} if rule.until else {}
    return _join({**rule.parts, **until})


def _join(parts: Mapping[str, str]) -> str:
    return ";".join(f"{key}={value}" for key, value in parts.items())


def to_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    """A time in UTC; one without a time zone is what the clock on the wall of ``zone`` shows."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def list_starts(
    rule: Rule, first: datetime, zone: ZoneInfo, *, since: datetime, before: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The starts of what recurs, in order, as (the time in UTC, what a clock on the wall shows).

    There are none where the rule does not take place at its first start.

    A local time that a change of the clocks leaves out is taken as RFC 5545 says: by the offset that held
    before the change, so that 02:30 becomes 03:30. Of a local time that comes twice, the first is taken; for
    ``first`` itself what it says.

    Args:
        rule: How it recurs.
        first: The first start.
        zone: Where the clock on the wall is.
        since: Earlier starts are left out.
        before: Starts from this one on are left out.
    """
    local = first.astimezone(zone).replace(tzinfo=None, fold=0)
    end = min(before, first + HORIZON)
    last = to_utc(rule.until, zone) if rule.until else end
    if since >= end or since > last:
        return
    clock = local.time()
    # A day earlier: the clocks may have been changed between.
    after = since.astimezone(zone).replace(tzinfo=None) - timedelta(days=1) if since > first else local
    for day in _list_days(rule, datetime.combine(local, time()), after):
        shown = datetime.combine(day, clock)
        if shown < after:
            continue
        start = first if shown == local else to_utc(shown, zone)
        if start >= end or start > last:
            return
        if start >= since:
            yield start, shown


def _list_days(rule: Rule, first: datetime, after: datetime) -> Iterator[datetime]:
    """The days of a rule, as midnights; some of those before ``after`` may be left out."""
    beat = _find_beat(rule, first)
    if beat is None:
        return islice(_search_days(rule, first), rule.count)
    return beat.list_days(after, rule.count) if first in beat else iter(())


@dataclass(frozen=True, slots=True)
class _Beat:
    """The days of a rule that is the same in each of its periods, so that each day of it can be computed."""

    origin: datetime
    """Midnight at the beginning of the first period."""
    period: int
    """Days."""
    days: tuple[int, ...]
    """Of each period, in order; the first is 0."""
    ahead: int
    """Days of the first period before the first start."""

    def __contains__(self, first: datetime) -> bool:
        return (first - self.origin).days in self.days

    def list_days(self, after: datetime, count: int | None) -> Iterator[datetime]:
        """All from the period of ``after`` on; ``count`` is how many there are from the very first one on."""
        skipped = sum(1 for day in self.days if day < self.ahead)
        whole = max(0, (after - self.origin).days // self.period) * len(self.days)
        for number in range(max(skipped, whole), skipped + (count or _MOST_DAYS)):
            periods, day = divmod(number, len(self.days))
            yield self.origin + timedelta(days=periods * self.period + self.days[day])


def _find_beat(rule: Rule, first: datetime) -> _Beat | None:
    """The beat of a rule by days or weeks; None for other rules, and for those with more conditions."""
    parts, every = rule.parts, int(rule.parts.get("INTERVAL", "1"))
    if not parts.keys() <= _PARTS_OF_BEATS:
        return None
    if parts["FREQ"] == "DAILY" and "BYDAY" not in parts:
        return _Beat(first, every, (0,), 0)
    if parts["FREQ"] != "WEEKLY" and (parts["FREQ"] != "DAILY" or every > 1):
        return None
    begin = _DAYS.index(parts.get("WKST", "MO"))
    ahead = (first.weekday() - begin) % 7
    named = {(_DAYS.index(day) - begin) % 7 for day in parts.get("BYDAY", "").split(",") if day}
    days = tuple(sorted(named)) or (ahead,)
    return _Beat(first - timedelta(days=ahead), 7 * every, days, ahead)


def _search_days(rule: Rule, first: datetime) -> Iterator[datetime]:
    """The days from ``first`` on, as midnights; none where ``first`` is not one of them."""
    parts = {key: value for key, value in rule.parts.items() if key not in ("COUNT", "UNTIL")}
    begin = first
    if parts["FREQ"] == "WEEKLY" and "BYDAY" in parts:
        # dateutil would count the positions of BYSETPOS in the first week from the first start on.
        begin += relativedelta(weekday=weekday(_DAYS.index(parts.get("WKST", "MO")), -1))
    once, all_days = (
        dropwhile(first.__gt__, rrulestr(_join(one), dtstart=begin))
        for one in ({**parts, "INTERVAL": _NEVER_AGAIN}, parts)
    )
    return all_days if next(once, None) == first else iter(())
