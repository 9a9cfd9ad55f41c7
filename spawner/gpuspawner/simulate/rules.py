"""When cards are taken back from a session that holds them: ours, and those that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from gpuspawner.core.idleness import IdleLimits, Step, judge_idle

from .traces import Session

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class View(NamedTuple):
    """What a rule is shown of a session that holds cards. Times are milliseconds after the trace's start."""

    since: int
    """When it got the cards."""
    idle_since: int | None
    """Since when its cards lie idle; None while they work."""
    warned_at: int | None
    """When the warning that stands was given."""
    worked: int
    """How many cards it has if they have worked since it got them, else 0."""
    next_work: int | None
    """When they will work next if it keeps them; None for never. The future: only for a rule that says so."""


class Look(NamedTuple):
    """What a rule says of a session."""

    stop: bool = False
    """Take the cards back now."""
    warned: bool = False
    """Whether a warning stands from now on."""
    again_at: int | None = None
    """When to ask next if nothing happens until then; None for not at all."""


KEEP = Look()
STOP = Look(stop=True)


class Rule(Protocol):
    """A rule for idle cards. It is asked when a session gets its cards, begins or ends work, when the line
    becomes empty or no longer is, and at the times it names."""

    def asks_first_at(self, session: Session) -> int | None:
        """So many milliseconds after its start a session asks for cards; None for never."""

    def asks_ahead(self, restart: int) -> int:
        """So many milliseconds before it needs them again a session asks for cards.

        Args:
            restart: What a restart costs, in milliseconds.
        """

    def look(self, view: View, now: int, *, demanded: bool) -> Look:
        """Say what is to be done about a session.

        Args:
            view: The session.
            now: Milliseconds after the start of the trace.
            demanded: Whether somebody waits.
        """


class _Unforeseeing:
    """What rules have in common that do not know the future."""

    def asks_first_at(self, session: Session) -> int | None:
        """At once: the person starts a server with GPUs."""
        return 0

    def asks_ahead(self, restart: int) -> int:
        """Not at all: only when there is work does anybody come back."""
        return 0


class HoldForTheSession(_Unforeseeing):
    """Nothing is ever taken back."""

    def look(self, view: View, now: int, *, demanded: bool) -> Look:
        """See :class:`Rule`."""
        return KEEP


@dataclass(frozen=True, slots=True)
class IdleCulling(_Unforeseeing):
    """The product's own rule (core/idleness.py). With one limit for both cases it is a fixed time-out."""

    limits: IdleLimits

    def look(self, view: View, now: int, *, demanded: bool) -> Look:
        """See :class:`Rule`."""
        if view.idle_since is None:
            return KEEP
        verdict = judge_idle(
            to_moment(view.idle_since),
            to_moment(now),
            demanded=demanded,
            limits=self.limits,
            warned_at=None if view.warned_at is None else to_moment(view.warned_at),
            worked=view.worked,
        )
        if verdict.step is Step.STOP:
            return STOP
        again_at = None if verdict.at is None else (verdict.at - _EPOCH) // _MILLISECOND
        return Look(warned=verdict.step is Step.WARN, again_at=again_at)


def fixed_timeout(limit: timedelta) -> IdleCulling:
    """Whoever is idle for so long is stopped, whether anybody waits or not, and without a warning."""
    return IdleCulling(IdleLimits(free=limit, wanted=limit, warning=timedelta(0)))


def to_moment(milliseconds: int) -> datetime:
    """The simulation's time as the core's."""
    return _EPOCH + milliseconds * _MILLISECOND
