"""Reports of what was used, and how people stand with their GPU-hours; sessions that run are included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.budget import Balance, begin_of_window, take_balance
from gpuspawner.core.claims import Usage
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Lease
from gpuspawner.core.policy import Allowance
from gpuspawner.core.reports import By, Report, build_report
from gpuspawner.core.usage import held_by_day, take_accounts
from gpuspawner.core.waits import GRANTED, OFFERED, REFUSED, Refusals, Waits, count_refusals, take_waits

from .clock import utc_now

LONGEST_OFFER = timedelta(days=2)
"""So long before a period offers are looked for whose tickets end in it; a claim window is minutes."""


class UsageReports:
    """Answers questions about usage.

    Args:
        ledger: Where the accounts are.
        host: The host whose devices they are of.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._host = host
        self._clock = clock

    def report(self, by: str, since: date, until: date, owner: str | None = None) -> Report:
        """Add up what was used.

        Args:
            by: What to have a row for, a value of :class:`~gpuspawner.core.reports.By`.
            since: First UTC day.
            until: Last UTC day; it counts too.
            owner: Of this person only.

        Raises:
            InvalidRequest: There is no such kind of report, or the days are the wrong way round.
            LedgerError: The ledger cannot be used.
        """
        return self.reports((by,), since, until, owner)[0]

    def reports(
        self, kinds: Sequence[str], since: date, until: date, owner: str | None = None
    ) -> tuple[Report, ...]:
        """Several reports of the same use, which is read once; as :meth:`report`."""
        for by in kinds:
            if by not in list(By):
                raise InvalidRequest(f"There is no report by {by!r}; there are: {', '.join(By)}.")
        if until < since:
            raise InvalidRequest(f"The last day, {until}, is before the first, {since}; exchange them.")
        now = self._clock()
        with self._ledger.read() as unit:
            accounts = unit.usage(self._host, since, until, owner=owner)
            leases = _of(owner, unit.live_leases(self._host))
            devices = {record.device.uuid: record.device for record in unit.inventory(self._host)}
        fresh: tuple[Usage, ...] = take_accounts(leases, devices, {}, {}, until=now, now=now).usage
        return tuple(build_report((*accounts, *fresh), By(by), since, until) for by in kinds)

    def waits(self, since: date, until: date) -> tuple[Waits, tuple[Refusals, ...]]:
        """How long people waited in these UTC days, both included, and what was refused.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        start, end = _begin(since), _begin(until + timedelta(days=1))
        with self._ledger.read() as unit:
            waits = take_waits(
                unit.ended_tickets(self._host, start),
                unit.events_between(OFFERED, start - LONGEST_OFFER, end),
                unit.events_between(GRANTED, start, end),
                start,
                end,
            )
            return waits, count_refusals(unit.events_between(REFUSED, start, end))

    def today(self) -> date:
        """The UTC day that it is."""
        return self._clock().astimezone(UTC).date()

    def budget_of(self, owner: str, allowance: Allowance) -> Balance:
        """How a person stands with their GPU-hours: used, left, the rule, and when hours come back.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            live = unit.live_leases(self._host)
            held = held_in_window(unit, self._host, live, now, owner=owner).get(owner, {})
        return take_balance(allowance.gpu_hours_per_week, held, count_running(live, owner), now)


def held_in_window(
    unit: LedgerUnit, host: str, live: Iterable[Lease], now: datetime, *, owner: str | None = None
) -> dict[str, dict[date, float]]:
    """What people have held in the days that count for their budgets, sessions that run included.

    Args:
        unit: The transaction in which ``live`` was read.
        host: The host.
        live: Its live leases.
        now: The present.
        owner: Only this person; None for everybody.

    Returns:
        GPU-seconds by UTC day, by person, as :mod:`gpuspawner.core.budget` takes them.
    """
    held = unit.held_by_day(host, begin_of_window(now), owner=owner)
    for lease in _of(owner, live):
        mine = held.setdefault(lease.owner, {})
        for day, seconds in held_by_day([lease], now).items():
            if day >= begin_of_window(now):
                mine[day] = mine.get(day, 0.0) + seconds
    return held


def count_running(live: Iterable[Lease], owner: str) -> int:
    """Devices in a person's sessions that are not over."""
    return sum(len(lease.devices) for lease in live if lease.owner == owner and not lease.state.ending)


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _of(owner: str | None, leases: Iterable[Lease]) -> list[Lease]:
    return [lease for lease in leases if owner in (None, lease.owner)]
