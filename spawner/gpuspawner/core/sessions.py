"""The end of a session: who is warned, and who has been warned long enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import Lease, LeaseState
from .words import mark

WARN_MINUTES = (15, 5, 1)
"""So many minutes before an end its person is warned, where no policy says it."""
LEAST_NOTICE = timedelta(minutes=WARN_MINUTES[0])
"""An end that is set during a session is at least so far off."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the person that the session ends."""

    lease: Lease
    """As it was when this was decided."""
    minutes: int
    """Which of the warnings it is."""
    ends_at: datetime
    """When it ends: later than the lease says where that has passed without any warning."""
    text: str
    """For the person."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the session."""

    lease: Lease
    """As it was when this was decided."""
    text: str
    """Why, for the person."""
    first: bool
    """Whether it is decided for the first time; later ones repeat a stop that did not come about."""


def plan_ends(
    leases: Iterable[Lease],
    now: datetime,
    warn_minutes: Sequence[int] = WARN_MINUTES,
    *,
    hold_stops: bool = False,
) -> tuple[Warn | Stop, ...]:
    """What the ends of sessions ask for now.

    Each warning is given once, and of several that are due only the last. Nobody is stopped who was not
    warned: where a controller was away for the whole of the warnings, the last one is given late, and the
    end moves so that it is true.

    Args:
        leases: Any leases.
        now: The present.
        warn_minutes: When to warn, in minutes before the end.
        hold_stops: The clock is not to be believed for the moment: nothing that has passed counts as passed.
    """
    planned = (_plan_end(lease, now, sorted(warn_minutes), hold_stops) for lease in leases)
    return tuple(one for one in planned if one is not None)


def choose_end(wanted: datetime, now: datetime, warn_minutes: Sequence[int] = WARN_MINUTES) -> datetime:
    """The end that a session under way can be given: not before its person had the first warning's time."""
    return max(wanted, now + max(LEAST_NOTICE, timedelta(minutes=max(warn_minutes))))


def find_newest(leases: Iterable[Lease]) -> dict[str, Lease]:
    """The newest session of everybody who has one that does not end already, by person."""
    running = (lease for lease in leases if not lease.state.ending)
    return {lease.owner: lease for lease in sorted(running, key=lambda one: (one.created_at, one.id))}


def _plan_end(lease: Lease, now: datetime, minutes: Sequence[int], hold_stops: bool) -> Warn | Stop | None:
    if lease.state is not LeaseState.ACTIVE or lease.ends_at is None:
        return None
    if now >= lease.ends_at:
        if hold_stops:
            return None
        if lease.warned is None and minutes:
            ends_at = now + timedelta(minutes=minutes[0])
            return Warn(lease, minutes[0], ends_at, _warning(lease, ends_at, now))
        why = tell_why(lease)
        return Stop(lease, mark(f"Your session was ended: {why}"), lease.warned != 0)
    due = next((m for m in minutes if now >= lease.ends_at - timedelta(minutes=m)), None)
    if due is None or (lease.warned is not None and lease.warned <= due):
        return None
    return Warn(lease, due, lease.ends_at, _warning(lease, lease.ends_at, now))


def _warning(lease: Lease, ends_at: datetime, now: datetime) -> str:
    left = max(1, round((ends_at - now) / timedelta(minutes=1)))
    why = tell_why(lease)
    return mark(f"Your session ends in {left} min, at {ends_at:%H:%M} UTC: {why} Save your work.")


def tell_why(lease: Lease) -> str:
    """Why a session ends, as a sentence."""
    reason = lease.end_reason or mark("its time is over")
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
