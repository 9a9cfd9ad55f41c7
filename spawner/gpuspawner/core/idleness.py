"""When a session whose GPUs lie idle, or in which nothing is done, is warned, and when it is stopped.

There are two clocks. That of the GPUs stands still while they work or a notebook's kernel runs something; it
is there for sessions that hold GPUs, and its limit is short while somebody waits for them. That of the
session stands still while anything is done in it, such as preparing data on processors. The longest session
of the policy is no matter of idleness (:mod:`gpuspawner.core.sessions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .activity import BUSY_CORES, GPUS_UNKNOWN, LEAST_BETWEEN, PROCESSORS_UNKNOWN, Activity, find_deaf
from .sessions import WARN_MINUTES
from .words import describe_duration, mark

LEAST_IDLE = timedelta(minutes=2)
"""Nobody is warned who did something so short a time ago."""
WORKED_FACTOR = 3
"""While somebody waits, one device that has worked in its session may be idle for so many times the short
limit, and several for that time divided by their number. Who has never used theirs hardly ever begins to, and
who has comes back often; and the more devices lie idle, the more one stop is worth."""
LOOK_HOLDS_FOR = timedelta(minutes=2)
"""What was last seen longer ago than this is not known any more."""


@dataclass(frozen=True, slots=True)
class IdleLimits:
    """How long devices may lie idle."""

    free: timedelta | None = timedelta(minutes=120)
    """As long as nobody waits for them; None for any time."""
    wanted: timedelta | None = timedelta(minutes=30)
    """While somebody waits for what the lease holds; None for any time. It is longer for devices that have
    worked, see :data:`WORKED_FACTOR`."""
    warning: timedelta = timedelta(minutes=15)
    """From the first warning to the stop, at least; a limit that is shorter than this warns as long as it
    is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a session may do nothing; resolved at its start and kept with it."""

    gpus: IdleLimits | None = IdleLimits()
    """Of the clock of its GPUs; None for no limit."""
    session: timedelta | None = None
    """Of the session's clock; None for no limit."""
    grace: timedelta = timedelta(minutes=15)
    """From its start on nobody is warned for so long."""
    warn_minutes: tuple[int, ...] = WARN_MINUTES
    """When to warn, in minutes before a stop."""


class Clock(StrEnum):
    """What lies idle."""

    GPUS = "gpus"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that was looked at, for whoever asks why."""

    what: str
    source: str
    """Who said so."""
    at: datetime | None
    """When it was looked at; None for never."""
    says: str
    """What it says, in words; what is not known says so."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a session, and why."""

    step: Step
    clock: Clock | None
    """Whose limit comes first; None when none is set or something is not known."""
    at: datetime | None
    """When it would be warned (keep) or stopped (warn, stop) if nothing changed; None for never."""
    reason: str
    """For people: a whole sentence."""
    signals: tuple[Signal, ...]
    """What it rests on."""


class Step(StrEnum):
    """What is to be done about a lease."""

    KEEP = "keep"
    WARN = "warn"
    """Somebody is to be told, or has been told, when it will be stopped."""
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class IdleVerdict:
    """What is to be done about a lease, and why."""

    step: Step
    at: datetime | None
    """When it would be warned (keep) or stopped (warn, stop) if nothing changed; None for never."""
    reason: str
    """For people."""


def choose_idle_limit(limits: IdleLimits, *, demanded: bool, worked: int = 0) -> timedelta | None:
    """The limit that holds now: the short one while somebody waits for what the lease holds.

    Args:
        limits: What holds for it.
        demanded: Whether somebody waits.
        worked: How many devices it holds if they have worked; 0 if they never have.
    """
    if not demanded:
        return limits.free
    if limits.wanted is None or not worked:
        return limits.wanted
    longer = WORKED_FACTOR * limits.wanted / worked
    return max(limits.wanted, longer if limits.free is None else min(longer, limits.free))


def judge_idle(
    idle_since: datetime,
    now: datetime,
    *,
    demanded: bool,
    limits: IdleLimits,
    warned_at: datetime | None = None,
    worked: int = 0,
) -> IdleVerdict:
    """Judge one lease. A limit that becomes shorter leaves the whole first warning all the same.

    Args:
        idle_since: When its devices were last seen at work, or could not be seen.
        now: The present.
        demanded: Whether somebody waits for what it holds.
        limits: What holds for it.
        warned_at: When the warning that stands was given; one from before the idle time does not count.
        worked: How many devices it holds if they have worked in the session; 0 if they never have.
    """
    limit = choose_idle_limit(limits, demanded=demanded, worked=worked)
    if limit is None:
        idle = describe_duration(now - idle_since)
        why = mark(
            f"idle for {idle}, which may be as long as it likes "
            f"{'while somebody waits' if demanded else 'while nobody waits'}"
        )
        return IdleVerdict(Step.KEEP, None, why)
    lead = min(limits.warning, limit)
    # A limit as short as the warning would warn those who work: they are idle for no time at all.
    warn_at = idle_since + max(limit - lead, min(LEAST_IDLE, lead))
    why = _explain_limit(idle_since, now, limit, limits, demanded=demanded)
    if now < warn_at:
        return IdleVerdict(Step.KEEP, warn_at, why)
    warned = now if warned_at is None or warned_at < idle_since else warned_at
    stop_at = max(idle_since + limit, warned + lead)
    return IdleVerdict(Step.STOP if now >= stop_at else Step.WARN, stop_at, why)


def _explain_limit(
    idle_since: datetime, now: datetime, limit: timedelta, limits: IdleLimits, *, demanded: bool
) -> str:
    if demanded and limit != limits.wanted:
        return mark(
            f"idle for {describe_duration(now - idle_since)} of the {describe_duration(limit)} allowed while "
            "somebody waits, as they have worked before"
        )
    alike = limits.free == limits.wanted
    return mark(
        f"idle for {describe_duration(now - idle_since)} of the {describe_duration(limit)} allowed"
        f"{'' if alike else ' while somebody waits' if demanded else ' while nobody waits'}"
    )


def judge_session(
    activity: Activity,
    limits: Limits,
    now: datetime,
    *,
    started_at: datetime,
    has_gpus: bool,
    gpus: int = 1,
    demanded: bool = False,
    warned_at: datetime | None = None,
    kept_until: datetime | None = None,
) -> Verdict:
    """Judge one session.

    Args:
        activity: What is known of it.
        limits: What holds for it.
        now: The present.
        started_at: When it began.
        has_gpus: Whether it holds any.
        gpus: How many, if so.
        demanded: Whether somebody waits for what it holds.
        warned_at: When the warning that stands was given.
        kept_until: Until when its person asked to keep it whatever it does, as far as they may.
    """
    signals = tuple(_list_signals(activity, has_gpus=has_gpus))
    clocks = list(_list_clocks(activity, limits, has_gpus=has_gpus))
    if not clocks:
        return Verdict(Step.KEEP, None, None, mark("No limit is set for it."), signals)
    unknown = find_unknown(activity, now)
    # Of the clock of its GPUs, what the processors do is no matter.
    judged = [one for one in clocks if one[0] is Clock.GPUS and unknown == (PROCESSORS_UNKNOWN,)]
    if unknown and not judged:
        deaf = find_deaf(activity) if has_gpus else None
        return Verdict(Step.KEEP, None, None, _tell_unknown(unknown, deaf), signals)
    found = [
        (
            clock,
            judge_idle(
                since,
                now,
                demanded=demanded,
                limits=limit,
                warned_at=warned_at,
                worked=gpus if activity.has_worked else 0,
            ),
        )
        for clock, since, limit in judged or clocks
    ]
    clock, verdict = min(found, key=lambda pair: (_RANK[pair[1].step], pair[1].at or now))
    held_until = max(started_at + limits.grace, kept_until or started_at)
    reason = _explain(clock, verdict.reason, activity, now)
    if now < held_until and verdict.at is not None:
        later = max(held_until, verdict.at) if verdict.step is Step.KEEP else held_until
        kept = kept_until is not None and held_until == kept_until
        why = mark("it was asked to be kept" if kept else "it has just begun")
        reason = mark(f"{reason} It is left alone for now: {why}.")
        return Verdict(Step.KEEP, clock, later, reason, signals)
    return Verdict(verdict.step, clock, verdict.at, reason, signals)


def _tell_unknown(unknown: tuple[str, ...], deaf: datetime | None) -> str:
    what = " and ".join(unknown)
    text = mark(f"It is not known {what}, so it is left alone.")
    if deaf is None:
        return text
    return text + mark(
        f" Its server has hardly answered, if at all, since {deaf:%H:%M} UTC, and its GPUs do nothing."
    )


def find_unknown(activity: Activity, now: datetime) -> tuple[str, ...]:
    """What is not known of a session at this moment, in words; nothing where all of it is."""
    look = activity.look
    if look is None or now - look.at > LOOK_HOLDS_FOR or look.at - now > LEAST_BETWEEN:
        return (mark("what it does"),)
    return activity.unknown


_RANK = {Step.STOP: 0, Step.WARN: 1, Step.KEEP: 2}


def _list_clocks(
    activity: Activity, limits: Limits, *, has_gpus: bool
) -> Iterator[tuple[Clock, datetime, IdleLimits]]:
    if has_gpus and limits.gpus is not None:
        yield Clock.GPUS, activity.gpu_active_at, limits.gpus
    if limits.session is not None:
        warning = timedelta(minutes=max(limits.warn_minutes))
        yield Clock.SESSION, activity.active_at, IdleLimits(limits.session, limits.session, warning)


def _explain(clock: Clock, why: str, activity: Activity, now: datetime) -> str:
    text = mark(f"{'Its GPUs have been' if clock is Clock.GPUS else 'The session has been'} {why}.")
    if activity.stalled and activity.busy_since is not None:
        text += mark(
            f" A notebook has been busy for {describe_duration(now - activity.busy_since)} without using "
            "processors or GPUs: it seems to wait for input, which is no work."
        )
    elif clock is Clock.GPUS and activity.cores is not None and activity.cores >= BUSY_CORES:
        text += mark(f" {activity.cores:.1f} processors work, which keeps the session and not its GPUs.")
    if activity.look is not None and activity.look.ssh is not None:
        typed = activity.look.ssh.typed_at
        what = mark(f"something was last typed at {typed:%H:%M} UTC") if typed else mark("nothing was typed")
        text += mark(f" Somebody is in it by SSH, which is no work by itself; {what}.")
    return text


def _list_signals(activity: Activity, *, has_gpus: bool) -> Iterator[Signal]:
    look = activity.look
    at = look.at if look else None
    if has_gpus:
        known = look is not None and GPUS_UNKNOWN not in activity.unknown
        worked = mark(f"last worked, or not seen, at {activity.gpu_at:%H:%M} UTC")
        yield Signal("GPUs", mark("samples of the driver"), at, worked if known else "not known")
    kernels = look.kernels if look else None
    says = "not known"
    if kernels is not None:
        one = kernels.terminals == 1
        says = mark(
            f"{kernels.busy} busy, {kernels.idle} idle, {kernels.terminals} terminal{'' if one else 's'}"
        )
        says += "; " + mark(f"last used at {kernels.ran_at:%H:%M} UTC") if kernels.ran_at else ""
        says += "; " + mark("busy without doing anything") if activity.stalled else ""
    if look is not None and look.ssh is not None:
        count = look.ssh.connections
        says_ssh = mark(f"{count} connection{'' if count == 1 else 's'} open")
        typed = look.ssh.typed_at
        says_ssh += "; " + (mark(f"last typed at {typed:%H:%M} UTC") if typed else mark("nothing typed"))
        yield Signal("SSH", mark("the gateway, and the session's terminals"), at, says_ssh)
    yield Signal(mark("Notebooks and terminals"), mark("its server"), at, says)
    used = "not known" if activity.cores is None else mark(f"{activity.cores:.2f} in use")
    yield Signal(mark("Processors"), mark("the Docker Engine"), at, used)
