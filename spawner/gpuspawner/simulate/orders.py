"""Who of those that wait is given which cards: the place where a rule for the line is plugged in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A session that waits for cards."""

    key: int
    """Names the session within a run."""
    user: str
    gpus: int
    """How many cards: all of them or none."""
    asked_at: int
    """Milliseconds after the start of the trace."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A session that has cards."""

    key: int
    user: str
    cards: tuple[int, ...]
    """Numbers of the cards, from 0."""
    since: int
    """Milliseconds after the start of the trace."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A request's turn has come."""

    request: Request
    cards: tuple[int, ...]
    """As many as it asked for, all of them free."""


class Order(Protocol):
    """A rule for the line. One is made for each run, so it may remember what happened in it."""

    def grant(
        self, now: int, free: Sequence[int], waiting: Collection[Request], holdings: Collection[Holding]
    ) -> Sequence[Grant]:
        """Decide who gets cards now.

        Args:
            now: Milliseconds after the start of the trace; never less than at the call before.
            free: Numbers of the free cards, at least one, in ascending order.
            waiting: Those that wait, at least one, in the order in which they asked.
            holdings: Those that have cards, in the order in which they got them.
        """

    def settle(self, holding: Holding, until: int) -> None:
        """Take note that a holding has ended."""


class FirstComeFirstServed:
    """Whoever asked first is served first; who wants more cards than are free holds up everybody behind."""

    def grant(
        self, now: int, free: Sequence[int], waiting: Collection[Request], holdings: Collection[Holding]
    ) -> Sequence[Grant]:
        """See :class:`Order`."""
        grants, left = [], list(free)
        for request in waiting:
            if request.gpus > len(left):
                break
            grants.append(Grant(request, tuple(left[: request.gpus])))
            del left[: request.gpus]
        return grants

    def settle(self, holding: Holding, until: int) -> None:
        """Past use does not count here."""
