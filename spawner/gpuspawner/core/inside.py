"""What a session's person is told inside of it: what stops it first, and what letting it go on takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .culling import KEEP_STEP, Watch, Wish
from .idleness import Step
from .model import Lease
from .sessions import tell_why
from .words import begin_sentence


class Cause(StrEnum):
    """What stops a session."""

    END = "end"
    """An end that was set: the longest session, a reservation, a teacher, an administrator."""
    IDLE = "idle"
    """Nothing is done in it."""


class Remedy(StrEnum):
    """What lets a session go on for a while."""

    KEEP = "keep"
    """Asking to keep it whatever is done in it."""
    EXTEND = "extend"
    """Moving its end."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """A session will be stopped."""

    at: datetime
    cause: Cause
    reason: str
    """A whole sentence."""
    warned: int | None
    """Minutes before it of the last warning that was given; None before the first."""


def find_stop(lease: Lease, watch: Watch | None, wish: Wish, now: datetime, *, acts: bool) -> Ahead | None:
    """What stops a session first, as things are; None where nothing does.

    A session that lies idle and was not warned yet may still go on for ever, so it is not said of it.

    Args:
        lease: The session.
        watch: What is known of its idleness; None before the first look.
        wish: What its person asked for: what is kept is not stopped, though the last look came before that.
        now: The present.
        acts: Whether idle sessions are stopped, and not only reported.
    """
    found = []
    if lease.ends_at is not None:
        reason = begin_sentence(tell_why(lease))
        found.append(Ahead(lease.ends_at, Cause.END, reason, lease.warned))
    verdict = watch.verdict if watch is not None else None
    if watch is not None and verdict is not None and verdict.at is not None:
        warned = verdict.step is not Step.KEEP and watch.warned_at is not None and not watch.reported
        kept = wish.kept_until is not None and wish.kept_until > now
        if acts and warned and not kept:
            found.append(Ahead(verdict.at, Cause.IDLE, verdict.reason, watch.warned))
    return min(found, key=lambda one: one.at, default=None)


def choose_remedy(stop: Ahead | None, now: datetime) -> Remedy:
    """What *Keep for 1 h* does: it moves an end that is less than that off, else it keeps from idleness."""
    near_end = stop is not None and stop.cause is Cause.END and stop.at - now < KEEP_STEP
    return Remedy.EXTEND if near_end else Remedy.KEEP
