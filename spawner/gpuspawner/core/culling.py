"""What idleness asks for now: a warning, its withdrawal, or the end of a session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .activity import Activity
from .idleness import LOOK_HOLDS_FOR, Limits, Step, Verdict, judge_session
from .model import Lease
from .people import People
from .policy import Limit
from .sessions import WARN_MINUTES
from .situation import Board, Situation, union
from .words import describe_duration, mark

IDLE_WARNED = "session.idle_warned"
"""Kind of the event: a session is stopped soon."""
IDLE_OVER = "session.idle_over"
"""It is not, after all."""
IDLE_STOP = "session.idle_stop"
"""Its end has come."""
KEEP_STEP = timedelta(hours=1)
"""From now on; asking again before that is over adds what is missing."""
_LEAST_KEEP = timedelta(minutes=1)
QUIET = timedelta(minutes=1)
"""After so long without anything that runs, what ran has finished."""
FINISHED = mark("Nothing runs in it any more, and its person asked that it ends then.")


@dataclass(frozen=True, slots=True)
class Watch:
    """What is kept of a session for the sake of idleness, from one look to the next."""

    lease_id: str
    limits: Limits
    """As the policy was when it began."""
    activity: Activity
    verdict: Verdict | None = None
    """The newest one; None before the first look."""
    warned_at: datetime | None = None
    """When the first of the warnings that stand was given."""
    warned: int | None = None
    """Minutes before the stop of the last warning that was given."""
    stopped: bool = False
    """Its end was told."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session's person asked for."""

    kept_until: datetime | None = None
    """Until when it is kept, whatever is done in it; None where they never asked."""
    kept: timedelta = timedelta(0)
    """All the time that it was asked to be kept."""
    finish: bool = False
    """Whether it ends as soon as nothing runs in it any more."""


NO_WISH = Wish()


@dataclass(frozen=True, slots=True)
class Keepable:
    """What asking to keep a session once more would come to."""

    until: datetime | None
    """Until when it would be kept; None where it cannot be."""
    total: timedelta
    """All the time that it would have been kept for then."""
    why_not: str = ""
    """Why it cannot be, as a sentence."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something is to be told to a session's person, and written down."""

    kind: str
    """Of the event."""
    text: str
    stops: bool = False
    """Whether the session's end has come."""
    wished: bool = False
    """Whether that is what its person asked for."""


def plan_idle(
    watch: Watch,
    lease: Lease,
    now: datetime,
    *,
    demanded: bool,
    wish: Wish = NO_WISH,
    hub_active_at: datetime | None = None,
    warn_minutes: Sequence[int] = WARN_MINUTES,
    hold_stops: bool = False,
) -> tuple[Watch, Told | None]:
    """Judge a session anew, and say what follows.

    Args:
        watch: What is known of it, the newest look included.
        lease: The session.
        now: The present.
        demanded: Whether somebody waits for what it holds.
        wish: What its person asked for.
        hub_active_at: When the Hub was last told of its person; shown only.
        warn_minutes: When to warn, in minutes before the stop.
        hold_stops: The clock is not to be believed for the moment: nobody is stopped, or warned.
    """
    verdict = judge_session(
        watch.activity,
        watch.limits,
        now,
        started_at=lease.created_at,
        has_gpus=bool(lease.devices),
        demanded=demanded and bool(lease.devices),
        warned_at=watch.warned_at,
        kept_until=wish.kept_until,
        hub_active_at=hub_active_at,
    )
    watch = replace(watch, verdict=verdict)
    if wish.finish and _has_finished(watch.activity, now) and not hold_stops:
        told = None if watch.stopped else Told(IDLE_STOP, FINISHED, stops=True, wished=True)
        return replace(watch, stopped=True), told
    if verdict.step is Step.KEEP or verdict.at is None:
        if watch.warned_at is None:
            return watch, None
        calm = replace(watch, warned_at=None, warned=None, stopped=False)
        return calm, Told(IDLE_OVER, mark(f"Your session is not stopped for now. {verdict.reason}"))
    if hold_stops:
        return watch, None
    if verdict.step is Step.STOP:
        told = None if watch.stopped else Told(IDLE_STOP, verdict.reason, stops=True)
        return replace(watch, warned_at=watch.warned_at or now, stopped=True), told
    watch = replace(watch, warned_at=watch.warned_at or now)
    minutes = sorted(warn_minutes)
    due = next((m for m in minutes if now >= verdict.at - timedelta(minutes=m)), None)
    if due is None or (watch.warned is not None and watch.warned <= due):
        return watch, None
    left = max(1, round((verdict.at - now) / timedelta(minutes=1)))
    text = mark(
        f"Your session is stopped in {left} min, at {verdict.at:%H:%M} UTC, if nothing is done in it until "
        f"then. {verdict.reason}"
    )
    return replace(watch, warned=due), Told(IDLE_WARNED, text)


def _has_finished(activity: Activity, now: datetime) -> bool:
    """Whether nothing runs in a session, for sure; a moment between two cells is not the end of them."""
    look = activity.look
    if look is None or activity.unknown or now - look.at > LOOK_HOLDS_FOR or not look.kernels:
        return False
    return look.kernels.busy == 0 and look.at - activity.active_at >= QUIET


def plan_keep(wish: Wish, bound: Limit[timedelta], now: datetime, *, demanded: bool) -> Keepable:
    """Say what asking to keep a session for :data:`KEEP_STEP` would come to.

    Args:
        wish: What was asked for before.
        bound: How long in all it may be kept while somebody waits for what it holds.
        now: The present.
        demanded: Whether somebody waits.
    """
    kept_until, total = max(now, wish.kept_until or now), wish.kept
    more = now + KEEP_STEP - kept_until
    if more < _LEAST_KEEP:
        return Keepable(None, total, mark(f"It is kept until {kept_until:%H:%M} UTC already."))
    if demanded and bound.value is not None and total + more > bound.value:
        may = describe_duration(bound.value) if bound.value else "0 s"
        return Keepable(
            None,
            total,
            mark(
                f"Somebody waits for what it holds, and then it may be kept for {may} in all{bound.because}; "
                f"it was kept for {describe_duration(total)} so far."
            ),
        )
    return Keepable(now + KEEP_STEP, total + more)


def find_demanded(situation: Situation, leases: Iterable[Lease]) -> frozenset[str]:
    """Ids of the leases that hold what somebody waits for.

    Nobody waits for a GPU whom their own limits keep from having one.
    """
    board, people = Board(situation), People(situation)
    wants = {board.want(one) for one in situation.tickets if people.why_not_yet(one) is None}
    wanted = union(
        mask & want.open
        for want in wants
        for mask in want.models.values()
        if (mask & want.open).bit_count() >= want.gpus
    )
    return frozenset(lease.id for lease in leases if board.mask(lease.devices) & wanted)
