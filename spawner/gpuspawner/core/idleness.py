"""When a lease whose devices lie idle is warned, and when it is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .words import describe_duration, mark


@dataclass(frozen=True, slots=True)
class IdleLimits:
    """How long devices may lie idle."""

    free: timedelta = timedelta(minutes=120)
    """As long as nobody waits for them."""
    wanted: timedelta = timedelta(minutes=30)
    """While somebody waits for what the lease holds."""
    warning: timedelta = timedelta(minutes=15)
    """From the first warning to the stop, at least; a limit that is shorter than this warns as long as it
    is."""


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


def choose_idle_limit(limits: IdleLimits, *, demanded: bool) -> timedelta:
    """The limit that holds now: the short one while somebody waits for what the lease holds."""
    return limits.wanted if demanded else limits.free


def judge_idle(
    idle_since: datetime | None,
    now: datetime,
    *,
    demanded: bool,
    limits: IdleLimits,
    warned_at: datetime | None = None,
) -> IdleVerdict:
    """Judge one lease. A limit that becomes shorter leaves the whole first warning all the same.

    Args:
        idle_since: When its devices were last seen at work; None when they work, or when that is not known.
        now: The present.
        demanded: Whether somebody waits for what it holds.
        limits: What holds for it.
        warned_at: When the warning that stands was given; one from before the idle time does not count.
        Whoever
            is told to keep a lease withdraws its warning.
    """
    if idle_since is None:
        return IdleVerdict(Step.KEEP, None, mark("Its GPUs work, or it is not known whether they do."))
    limit = choose_idle_limit(limits, demanded=demanded)
    lead = min(limits.warning, limit)
    warn_at = idle_since + limit - lead
    why = mark(
        f"idle for {describe_duration(now - idle_since)} of the {describe_duration(limit)} allowed "
        f"{'while somebody waits' if demanded else 'while nobody waits'}"
    )
    if now < warn_at:
        return IdleVerdict(Step.KEEP, warn_at, why)
    warned = now if warned_at is None or warned_at < idle_since else warned_at
    stop_at = max(idle_since + limit, warned + lead)
    return IdleVerdict(Step.STOP if now >= stop_at else Step.WARN, stop_at, why)
