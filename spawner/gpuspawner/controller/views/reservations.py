"""Reservations as a calendar: a week, or a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gpuspawner.controller.api.reservations import Seen
from gpuspawner.controller.links import Links
from gpuspawner.core.claims import Reservation
from gpuspawner.core.feeds import Feed
from gpuspawner.core.occurrences import Occurrence
from gpuspawner.core.recurrence import to_utc
from gpuspawner.policy.reservations import sort_cards

WEEK, LIST = "week", "list"
DAYS_SHOWN = {WEEK: 7, LIST: 28}
FARTHEST = timedelta(days=3 * 366)
"""Nothing can be reserved so far from now; further weeks are not shown."""
See = Callable[[Reservation], Seen]
"""Tells what a reader may know of a reservation."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the calendar somebody wants to see."""

    first: date
    """A Monday."""
    view: str
    """:data:`WEEK` or :data:`LIST`."""
    zone: ZoneInfo
    unknown_zone: str = ""
    """A time zone that was asked for and does not exist: UTC is shown."""

    @property
    def until(self) -> date:
        """The first day that is not shown."""
        return self.first + timedelta(days=DAYS_SHOWN[self.view])

    @property
    def days(self) -> tuple[date, ...]:
        """The days of a week; none in a list."""
        count = DAYS_SHOWN[WEEK] if self.view == WEEK else 0
        return tuple(self.first + timedelta(days=n) for n in range(count))

    @property
    def begin(self) -> datetime:
        """Midnight, in UTC."""
        return to_utc(datetime.combine(self.first, time()), self.zone)

    @property
    def end(self) -> datetime:
        """Midnight, in UTC."""
        return to_utc(datetime.combine(self.until, time()), self.zone)


def choose_first(week: str, today: date) -> date:
    """The Monday of the week that was asked for; that of today where this is no day, or too far away.

    Args:
        week: Any day of it, such as ``2030-05-13``; hostile.
        today: The present day in the reader's time zone.
    """
    try:
        day = date.fromisoformat(week)
    except ValueError:
        day = today
    if abs(day - today) > FARTHEST:
        day = today
    return day - timedelta(days=day.weekday())


@dataclass(frozen=True, slots=True)
class What:
    """A reservation, in short."""

    id: str
    title: str
    kind: str
    """``person``, ``group`` or ``course``."""
    whose: str
    """Their name; empty for a person who is not named to the reader."""
    gpus: int
    pool: str
    """Name of the pool that they are of; empty for none."""
    cards: tuple[str, ...]
    """Models and UUIDs that they are of; none for any whole GPU. Not told beside a pool."""
    mine: bool
    """Whether the reader can change it."""
    href: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What takes place at one time. Times are in the reader's time zone."""

    key: str
    """Names it, and the day it is shown on, in the page."""
    what: What
    start: datetime
    end: datetime
    held_from: datetime
    """From when the GPUs are kept free."""
    given_back: int
    """GPUs that nobody used in time, and that are everybody's again."""
    on: bool
    """Whether it takes place now, and is shown on the present day."""
    began_before: bool
    """Whether it began on an earlier day than the one it is shown on."""


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a week."""

    date: date
    today: bool
    entries: tuple[Entry, ...]
    reserve: str
    """Where something is reserved on it; empty where the reader may not, or it is past."""


@dataclass(frozen=True, slots=True)
class Own:
    """A reservation that the reader made, or that is for them or a course of theirs."""

    what: What
    following: datetime
    """When it takes place next, or the start of what is on."""
    times: int
    """How often it is still to come."""


@dataclass(frozen=True, slots=True)
class Turning:
    """Links to other parts of the calendar."""

    before: str
    today: str
    after: str
    week: str
    list: str


@dataclass(frozen=True, slots=True)
class CalendarPage:
    """The page."""

    asked: Asked
    zone: str
    offset: str
    """Of the time zone from UTC, such as ``UTC+2``."""
    days: tuple[Day, ...]
    entries: tuple[Entry, ...]
    turning: Turning
    own: tuple[Own, ...]
    may_reserve: bool
    feed: Feed | None
    """The reader's own calendar, if it has an address."""
    may_have_feed: bool
    changes_at: datetime
    """When it is another one, though nobody does anything."""
    addresses: str
    """Where administrators see whose calendars have an address; empty for others."""

    @property
    def last(self) -> date:
        """The last day that is shown."""
        return self.asked.until - timedelta(days=1)


def view_calendar(
    asked: Asked,
    takes_place: Sequence[Occurrence],
    own: Iterable[tuple[Reservation, Sequence[Occurrence]]],
    *,
    see: See,
    links: Links,
    now: datetime,
    may_reserve: bool,
    feed: Feed | None,
    may_have_feed: bool,
    manages: bool,
) -> CalendarPage:
    """Make the page.

    Args:
        asked: What is to be seen.
        takes_place: All of that time, by start.
        own: Reservations of the reader, each with what is to come of it.
        see: Tells what the reader may know of a reservation.
        links: Where things are.
        now: The present.
        may_reserve: Whether the reader may reserve anything.
        feed: Their own calendar.
        may_have_feed: Whether they can have one: a program cannot.
        manages: Whether they are an administrator.
    """
    seen = {one.reservation_id: one.reservation for one in takes_place}
    shown = {id_: describe_what(one, see(one), links, asked.zone.key) for id_, one in seen.items()}
    local = now.astimezone(asked.zone)

    def view_day(day: date) -> Day:
        new = links.page("reservations/new", day=day.isoformat(), zone=asked.zone.key)
        return Day(
            date=day,
            today=day == local.date(),
            entries=_view_entries(day, local, takes_place, shown, asked.zone),
            reserve=new if may_reserve and day >= local.date() else "",
        )

    own = [(one, ahead) for one, ahead in own if ahead]
    listed = [one for one in takes_place if _lasts(one, asked)] if asked.view == LIST else []
    return CalendarPage(
        asked=asked,
        zone=asked.zone.key,
        offset=describe_offset(max(now, asked.begin).astimezone(asked.zone)),
        days=tuple(view_day(day) for day in asked.days),
        entries=tuple(_view_entry(one, shown[one.reservation_id], None, local) for one in listed),
        turning=_turn(asked, links, local.date()),
        own=tuple(_view_own(one, ahead, see, links, asked.zone) for one, ahead in own),
        may_reserve=may_reserve,
        feed=feed,
        may_have_feed=may_have_feed,
        changes_at=_find_change([*takes_place, *(ahead[0] for _, ahead in own)], now, asked.zone),
        addresses=links.page("reservations/addresses", zone=asked.zone.key) if manages else "",
    )


def _view_own(one: Reservation, ahead: Sequence[Occurrence], see: See, links: Links, zone: ZoneInfo) -> Own:
    what = describe_what(one, see(one), links, zone.key)
    return Own(what, ahead[0].start.astimezone(zone), len(ahead))


def _find_change(shown: Iterable[Occurrence], now: datetime, zone: ZoneInfo) -> datetime:
    """When something that is shown begins or ends next, or the next day begins."""
    tomorrow = datetime.combine(now.astimezone(zone).date() + timedelta(days=1), time())
    return min([to_utc(tomorrow, zone), *(at for one in shown for at in (one.start, one.end) if at > now)])


def describe_offset(local: datetime) -> str:
    """How far a time zone is from UTC: ``UTC+2``, ``UTC-3:30``."""
    offset = local.utcoffset() or timedelta(0)
    minutes = round(abs(offset) / timedelta(minutes=1))
    hours, rest = divmod(minutes, 60)
    sign = "-" if offset < timedelta(0) else "+"
    return "UTC" + (f"{sign}{hours}" + (f":{rest:02}" if rest else "") if minutes else "")


def describe_what(one: Reservation, seen: Seen, links: Links, zone: str) -> What:
    """A reservation, in short.

    Args:
        one: The reservation.
        seen: What the reader may know of it.
        links: Where things are.
        zone: The reader's time zone, for the link.
    """
    named = seen.known or one.holder.kind != "person"
    return What(
        id=one.id,
        title=one.title,
        kind=one.holder.kind,
        whose=one.holder.name if named else "",
        gpus=one.devices,
        pool=one.pool,
        cards=() if one.pool else sort_cards(one.cards),
        mine=seen.mine,
        href=links.page(f"reservations/{one.id}", zone=zone),
    )


def _lasts(one: Occurrence, asked: Asked) -> bool:
    """Whether it takes place itself in the time that is shown, not only its lead time."""
    return one.start < asked.end and one.end > asked.begin


def _view_entries(
    day: date, local: datetime, takes_place: Sequence[Occurrence], shown: dict[str, What], zone: ZoneInfo
) -> tuple[Entry, ...]:
    begin, end = (to_utc(datetime.combine(day + timedelta(days=more), time()), zone) for more in (0, 1))
    return tuple(
        _view_entry(one, shown[one.reservation_id], day, local)
        for one in takes_place
        if one.start < end and one.end > begin
    )


def _view_entry(one: Occurrence, what: What, day: date | None, local: datetime) -> Entry:
    zone = local.tzinfo
    start, end = one.start.astimezone(zone), one.end.astimezone(zone)
    return Entry(
        key=f"{what.id}-{one.start.astimezone(UTC):%Y%m%dT%H%M}" + (f"-{day}" if day else ""),
        what=what,
        start=start,
        end=end,
        held_from=one.held_from.astimezone(zone),
        given_back=what.gpus - one.seats,
        on=one.start <= local < one.end and day in (None, local.date()),
        began_before=day is not None and start.date() < day,
    )


def _turn(asked: Asked, links: Links, today: date) -> Turning:
    step = timedelta(days=DAYS_SHOWN[asked.view])

    def link(first: date, view: str = asked.view) -> str:
        return links.page("reservations", week=first.isoformat(), view=view, zone=asked.zone.key)

    return Turning(
        before=link(asked.first - step),
        today=link(today - timedelta(days=today.weekday())),
        after=link(asked.first + step),
        week=link(asked.first, WEEK),
        list=link(asked.first, LIST),
    )
