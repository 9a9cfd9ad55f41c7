"""What idleness asks for now: a warning, its withdrawal, or the end of a session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .activity import Activity
from .idleness import Clock, Limits, Step, Verdict, find_unknown, judge_session
from .model import Lease
from .people import People
from .policy import Limit
from .situation import Board, Situation, union
from .words import describe_duration, mark

IDLE_WARNED = "session.idle_warned"
"""Kind of the event: a session is stopped soon."""
IDLE_OVER = "session.idle_over"
"""It is not, after all."""
IDLE_STOP = "session.idle_stop"
"""Its end has come."""
DEAF = "session.deaf"
"""Its server hardly answers, and its GPUs do nothing."""
KEEP_STEP = timedelta(hours=1)
"""From now on; asking again before that is over adds what is missing."""
_LEAST_KEEP = timedelta(minutes=1)
STILL_DEMANDED = timedelta(minutes=5)
"""So long after the last one who waited has left, the short limit holds."""
QUIET = timedelta(minutes=1)
"""After so long without anything that runs, what ran has finished."""
FINISHED = mark("Nothing runs in it any more, and its person asked that it ends then.")


@dataclass(frozen=True, slots=True)
class GivenEnd:
    """The end that a session was given because nothing is done in it, and the one it had before."""

    at: datetime
    ends_at: datetime | None
    end_reason: str
    warned: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """What is kept of a session for the sake of idleness, from one look to the next."""

    lease_id: str
    limits: Limits
    """As the policy was when it was started."""
    activity: Activity
    verdict: Verdict | None = None
    """The newest one; None before the first look."""
    demanded_at: datetime | None = None
    """When somebody last waited for what it holds."""
    warned_at: datetime | None = None
    """When the first of the warnings that stand was given."""
    warned: int | None = None
    """Minutes before the stop of the last warning that was given."""
    reported: bool = False
    """Whether nobody was told of the warnings that stand: they were only reported."""
    would_end: bool = False
    """Whether it was reported that it would be stopped."""
    given: GivenEnd | None = None
    """The end it was given, until it comes about or is taken back."""
    deaf_since: datetime | None = None
    """Since when its server has hardly answered, while its GPUs do nothing; None where that is not so.
    It stays until the server has answered for long enough or its GPUs work."""


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
    reported: bool = False
    """Whether it is only written down: nobody is told, and nothing is done."""
    gives: GivenEnd | None = None
    """The end that the session gets."""
    takes_back: GivenEnd | None = None
    """The end that the session loses again."""


def plan_idle(
    watch: Watch,
    lease: Lease,
    now: datetime,
    *,
    demanded: bool,
    wish: Wish = NO_WISH,
    hold_stops: bool = False,
    only_report: bool = False,
) -> tuple[Watch, Told | None]:
    """Judge a session anew, and say what follows.

    Args:
        watch: What is known of it, the newest look included.
        lease: The session.
        now: The present.
        demanded: Whether somebody waits for what it holds.
        wish: What its person asked for.
        hold_stops: The clock is not to be believed for the moment: nobody is stopped, or warned.
        only_report: Nobody is told or stopped, but by their own wish.
    """
    if watch.reported and not only_report:
        # Who was only reported has never been warned.
        watch = replace(_calm(watch), would_end=False)
    if demanded:
        watch = replace(watch, demanded_at=now)
    verdict = judge_session(
        watch.activity,
        watch.limits,
        now,
        started_at=lease.created_at,
        has_gpus=bool(lease.devices),
        gpus=len(lease.devices),
        demanded=bool(lease.devices) and _is_recent(watch.demanded_at, now),
        warned_at=watch.warned_at,
        kept_until=wish.kept_until,
    )
    watch = replace(watch, verdict=verdict)
    if watch.given is not None:
        return _plan_given(watch, watch.given, lease, now)
    if wish.finish and _has_finished(watch.activity, now) and not hold_stops:
        return _give_end(watch, lease, now, FINISHED)
    if verdict.step is Step.KEEP or verdict.at is None:
        if watch.warned_at is None:
            return watch, None
        text = mark(f"Your session is not stopped for now. {verdict.reason}")
        return replace(_calm(watch), would_end=False), Told(IDLE_OVER, text, reported=only_report)
    if hold_stops:
        return watch, None
    if verdict.step is Step.WARN:
        return _plan_warning(watch, lease, verdict.at, now, only_report=only_report)
    if not only_report:
        return _give_end(watch, lease, now, verdict.reason)
    told = None if watch.would_end else Told(IDLE_STOP, verdict.reason, reported=True)
    return replace(watch, warned_at=watch.warned_at or now, reported=True, would_end=True), told


def _plan_warning(
    watch: Watch,
    lease: Lease,
    stop_at: datetime,
    now: datetime,
    *,
    only_report: bool,
) -> tuple[Watch, Told | None]:
    reason = watch.verdict.reason if watch.verdict else ""
    if watch.warned_at is not None and watch.warned_at < _idle_since(watch):
        watch = _calm(watch)  # it has worked since
    watch = replace(watch, warned_at=watch.warned_at or now, reported=only_report)
    due = next((m for m in sorted(watch.limits.warn_minutes) if now >= stop_at - timedelta(minutes=m)), None)
    if due is None or (watch.warned is not None and watch.warned <= due):
        return watch, None
    left = max(1, round((stop_at - now) / timedelta(minutes=1)))
    text = mark(
        f"Your session is stopped in {left} min, at {stop_at:%H:%M} UTC, if nothing is done in it until "
        f"then. {reason}"
    )
    return replace(watch, warned=due), Told(IDLE_WARNED, text, reported=only_report)


def _give_end(watch: Watch, lease: Lease, now: datetime, why: str) -> tuple[Watch, Told]:
    given = GivenEnd(now, lease.ends_at, lease.end_reason, lease.warned)
    return replace(watch, given=given), Told(IDLE_STOP, why, gives=given)


def _plan_given(watch: Watch, given: GivenEnd, lease: Lease, now: datetime) -> tuple[Watch, Told | None]:
    """A session that was given its end still runs: the Hub takes its time, or is away."""
    if lease.ends_at != given.at:
        return replace(_calm(watch), given=None), None
    works = not watch.activity.unknown and _idle_since(watch) > given.at
    if not works or find_unknown(watch.activity, now):
        return watch, None
    text = mark("Your session goes on after all: something is done in it again.")
    return replace(_calm(watch), given=None), Told(IDLE_OVER, text, takes_back=given)


def _calm(watch: Watch) -> Watch:
    return replace(watch, warned_at=None, warned=None, reported=False)


def _idle_since(watch: Watch) -> datetime:
    """Since when the clock stands that the newest verdict is about."""
    of_session = watch.verdict is not None and watch.verdict.clock is Clock.SESSION
    return watch.activity.active_at if of_session else watch.activity.gpu_active_at


def _is_recent(demanded_at: datetime | None, now: datetime) -> bool:
    """Whether somebody waits, or did a moment ago: who joins and leaves over and over warns nobody twice."""
    return demanded_at is not None and abs(now - demanded_at) < STILL_DEMANDED


def _has_finished(activity: Activity, now: datetime) -> bool:
    """Whether nothing runs in a session, for sure; a moment between two cells is not the end of them."""
    look = activity.look
    if look is None or look.kernels is None or find_unknown(activity, now):
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
    if demanded and bound.value is not None:
        more = min(more, bound.value - total)
        if more < _LEAST_KEEP:
            may = describe_duration(bound.value)
            so_far = describe_duration(total)
            return Keepable(
                None,
                total,
                mark(
                    f"Somebody waits for what it holds, and then it may be kept for {may} in all"
                    f"{bound.because}; it was kept for {so_far} so far."
                ),
            )
    return Keepable(kept_until + more, total + more)


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
