"""When reservations take place, and which cards they are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise, zip_longest
from zoneinfo import ZoneInfo

from .claims import Reservation, SeatReturn
from .errors import InvalidRequest
from .model import Device
from .recurrence import HORIZON, MOST_OCCURRENCES, list_starts, read_rule, recall_rule, to_utc, write_rule
from .words import describe_duration, mark

SHORTEST = timedelta(minutes=5)
LONGEST = timedelta(days=31)
"""Of one occurrence."""
LONGEST_LEAD = timedelta(days=1)
MOST_DEVICES = 10_000
Key = tuple[str, datetime]
"""The name of an occurrence: id of its reservation, and its start."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a reservation takes place."""

    reservation: Reservation
    start: datetime
    end: datetime
    seats: int
    """Devices that are reserved, without those that were given back."""

    @property
    def key(self) -> Key:
        """Its name, as :attr:`Lease.reservation` has it."""
        return self.reservation.id, self.start

    @property
    def held_from(self) -> datetime:
        """When the devices are first kept free."""
        return self.start - self.reservation.lead

    @property
    def reservation_id(self) -> str:
        """Which reservation it is of."""
        return self.reservation.id

    @property
    def title(self) -> str:
        """What it is called."""
        return self.reservation.title

    def on(self, now: datetime) -> bool:
        """Whether its seats can be taken now, its lead time included."""
        return self.held_from <= now < self.end

    def overlaps(self, since: datetime, until: datetime) -> bool:
        """Whether it keeps devices at some time of ``[since, until)``."""
        return self.held_from < until and self.end > since


def find_zone(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        InvalidRequest: There is none.
    """
    parts = name.split("/")
    plain = all(part and part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts)
    if (
        plain
        and name.isascii()
        and (name == "UTC" or (len(parts) > 1 and parts[0] not in ("posix", "right")))
    ):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):
            pass
    raise InvalidRequest(
        f"zone: there is no time zone {name[:40]!r}; write one such as Europe/Zurich, or UTC."
    )


def expand(reservation: Reservation, since: datetime, until: datetime) -> tuple[Occurrence, ...]:
    """What takes place of a reservation in ``[since, until)``, lead times included, in order.

    An occurrence is as long as the reservation says, in hours that pass; it ends early where the next one
    begins (a day of 24 hours on which the clocks go forward), and where the reservation was cancelled.
    """
    return tuple(one for one in _occurrences(reservation, since, until) if one.overlaps(since, until))


def _occurrences(reservation: Reservation, since: datetime, until: datetime) -> Iterator[Occurrence]:
    ended, lead = reservation.ended_at, reservation.lead
    before = until + lead if ended is None else min(until + lead, ended)
    if reservation.start >= before:
        return
    left_out = frozenset(reservation.left_out)
    # One more than is asked for: it may cut the last one short.
    after = before + reservation.length + lead if reservation.rule else before
    starts = [s for s in _list_all(reservation, since - reservation.length, after) if s not in left_out]
    for start, following in zip_longest(starts, starts[1:]):
        if start >= before:
            return
        ends = [start + reservation.length]
        ends += [following - lead] if following else []
        ends += [ended] if ended else []
        yield Occurrence(reservation, start, min(ends), reservation.devices)


def _list_all(reservation: Reservation, since: datetime, before: datetime) -> list[datetime]:
    if not reservation.rule:
        return [reservation.start]
    zone, rule = ZoneInfo(reservation.zone), recall_rule(reservation.rule)
    return [one for one, _ in list_starts(rule, reservation.start, zone, since=since, before=before)]


def open_occurrences(
    reservations: Iterable[Reservation],
    returns: Iterable[SeatReturn],
    since: datetime,
    until: datetime,
    *,
    empty: bool = False,
) -> tuple[Occurrence, ...]:
    """What takes place in ``[since, until)``, by start, with the seats that each has left, if any.

    Args:
        reservations: All that stand.
        returns: What was given back; of occurrences that are not asked for too.
        since: From when.
        until: Until when.
        empty: Whether those count too of which every seat was given back.
    """
    returned = {(one.reservation_id, one.start): one.seats for one in returns}
    found = [
        replace(one, seats=one.seats - returned[one.key]) if one.key in returned else one
        for reservation in reservations
        for one in expand(reservation, since, until)
    ]
    return tuple(
        sorted((one for one in found if empty or one.seats > 0), key=lambda one: (one.start, one.key))
    )


def may_serve(device: Device, cards: frozenset[str]) -> bool:
    """Whether a device is one of those that a reservation is for.

    Where no cards are named, each whole GPU is, and no slice of one. A MIG instance counts only where it is
    meant: its own name or UUID is there, or the UUID of its card. (The model of its card does not make it
    count: who reserves four A100 does not want four sevenths of one.)
    """
    if not cards:
        return device.parent is None
    return not {device.model, device.uuid, device.parent}.isdisjoint(cards)


def check_reservation(wanted: Reservation, now: datetime) -> Reservation:
    """Check what can be checked of a reservation by itself; the result has its rule in a plain form.

    Raises:
        InvalidRequest: With the field that is wrong, and what is right.
    """
    zone = find_zone(wanted.zone)
    if not 1 <= wanted.devices <= MOST_DEVICES:
        raise InvalidRequest(f"devices: write a whole number from 1 to {MOST_DEVICES}.")
    if not SHORTEST <= wanted.length <= LONGEST:
        raise InvalidRequest(
            f"length: it can be from {describe_duration(SHORTEST)} to {describe_duration(LONGEST)}."
        )
    if not timedelta(0) <= wanted.lead <= LONGEST_LEAD:
        raise InvalidRequest(f"lead: {describe_duration(LONGEST_LEAD)} is the most.")
    if abs(wanted.start - now) > HORIZON:
        raise InvalidRequest("start: it must be within two years of now.")
    if len(wanted.left_out) > MOST_OCCURRENCES:
        raise InvalidRequest(f"except: {MOST_OCCURRENCES} dates are the most.")
    wanted = replace(wanted, left_out=tuple(sorted(set(wanted.left_out))))
    starts = [wanted.start]
    if wanted.rule:
        rule = read_rule(wanted.rule)
        wanted = replace(wanted, rule=write_rule(rule, zone))
        starts = _check_series(wanted, zone)
    unknown = set(wanted.left_out) - set(starts)
    if unknown:
        raise InvalidRequest(
            f"except: nothing starts on {_describe_time(min(unknown), zone)}; give the start of one."
        )
    if not _is_ahead(wanted, now):
        raise InvalidRequest("start: nothing of this reservation is in the future; give a later one.")
    return wanted


def _is_ahead(reservation: Reservation, now: datetime) -> bool:
    return bool(expand(reservation, now, now + 3 * HORIZON))


def all_starts(start: datetime, zone: ZoneInfo, rule: str) -> tuple[datetime, ...]:
    """Every start of a rule, those left out included; the first alone where there is no rule.

    Raises:
        InvalidRequest: The rule is wrong.
    """
    if not rule:
        return (start,)
    found = list_starts(read_rule(rule), start, zone, since=start, before=start + HORIZON)
    return tuple(one for one, _ in found)


def _check_series(wanted: Reservation, zone: ZoneInfo) -> list[datetime]:
    """All starts of what recurs, if they make sense together."""
    rule = read_rule(wanted.rule)
    if rule.count is None and (rule.until is None or rule.until > wanted.start + HORIZON):
        raise InvalidRequest(
            "rule: it must end within two years of its start; add COUNT= (how often) or UNTIL= (last day)."
        )
    found = list(list_starts(rule, wanted.start, zone, since=wanted.start, before=wanted.start + HORIZON))
    if not found or found[0][0] != wanted.start:
        raise InvalidRequest(
            f"rule: it does not take place on {_describe_time(wanted.start, zone)}, where it starts; "
            "move the start, or change the rule."
        )
    if rule.count is not None and len(found) < rule.count:
        raise InvalidRequest(
            f"rule: only {len(found)} of {rule.count} take place within two years of the start; lower COUNT."
        )
    for (_, shown), (_, following) in pairwise(found):
        if following - shown < wanted.length + wanted.lead:
            raise InvalidRequest(
                "length: each occurrence would run into the next one or its lead time; shorten it, "
                "or change the rule."
            )
    return [start for start, _ in found]


def describe_when(occurrence: Occurrence, zone: ZoneInfo) -> str:
    """When it takes place: ``Tue 3 Mar 2026, 14:00 to 16:00 CET``."""
    start, end = occurrence.start.astimezone(zone), occurrence.end.astimezone(zone)
    shown = _describe_time(occurrence.start, zone)
    if (start.date(), start.tzname()) == (end.date(), end.tzname()):
        return f"{shown.removesuffix(' ' + str(start.tzname()))} to {end:%H:%M} {end.tzname()}"
    return f"{shown} to {_describe_time(occurrence.end, zone)}"


def _describe_time(moment: datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M} {local.tzname()}"


def describe_holding(occurrence: Occurrence, now: datetime) -> str:
    """Why devices are kept: ``reserved for course `cs231` (Tuesday lab) from 14:00 CET``.

    Everybody may read it, so that no person is named.
    """
    zone, holder = ZoneInfo(occurrence.reservation.zone), occurrence.reservation.holder
    ahead = now < occurrence.start
    moment = occurrence.start if ahead else occurrence.end
    local = moment.astimezone(zone)
    same_day = local.date() == now.astimezone(zone).date()
    shown = f"{local:%H:%M} {local.tzname()}" if same_day else _describe_time(moment, zone)
    return mark(
        f"reserved for {'somebody' if holder.kind == 'person' else holder} ({occurrence.title}) "
        f"{'from' if ahead else 'until'} {shown}"
    )


def to_local(moment: datetime, zone: ZoneInfo) -> datetime:
    """What a clock on the wall means, as UTC.

    Raises:
        InvalidRequest: The clocks leave that time out; the first of two equal times is taken.
    """
    found = to_utc(moment.replace(fold=0), zone)
    if found.astimezone(zone).replace(tzinfo=None) != moment.replace(fold=0):
        day = f"{moment.day} {moment:%b %Y}"
        raise InvalidRequest(
            f"{moment:%H:%M} does not exist on {day} in {zone.key}, where the clocks "
            "go forward; choose another time."
        )
    return found
