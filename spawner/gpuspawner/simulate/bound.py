"""A rule that knows the future, as a bound for those that do not.

What it bounds: the *waste*, the GPU time that is held while nothing runs on the cards, restarts included. It
holds no card before the first work or after the last. In each pause between, every rule has two choices: hold
the cards for the whole pause, or give them up at some moment of it, and then hold them for at least the time
of a restart before the work can go on. The cheaper of the two is ``min(pause, restart)``, and this rule pays
exactly that, in every pause, however long the line is: it asks one restart ahead, and the restart begins when
it gets the cards, so that it never holds cards before they are needed. Waiting moves the work of a session
but changes none of its pauses. So no rule, whatever it knows and however many cards there are, recovers a
larger share of the waste.

What it does not bound: waits, which depend on everybody at once (finding the order that is best for all is
another problem), and re-acquisitions, of which it makes many: every pause that is longer than a restart costs
one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .rules import KEEP, STOP, Look, View
from .traces import Session


@dataclass(frozen=True, slots=True)
class Clairvoyant:
    """Gives cards up for every pause that is longer than a restart, and asks again in time."""

    restart: int
    """What a restart costs, in milliseconds."""

    def asks_first_at(self, session: Session) -> int | None:
        """When there is work for the first time; a session without any never asks."""
        return session.work[0].start if session.work else None

    def asks_ahead(self, restart: int) -> int:
        """So early that the work can go on in time where cards are free."""
        return restart

    def look(self, view: View, now: int, *, demanded: bool) -> Look:
        """See :class:`gpuspawner.simulate.rules.Rule`."""
        if view.idle_since is None:
            return KEEP
        worth_it = view.next_work is None or view.next_work - now > self.restart
        return STOP if worth_it else KEEP
