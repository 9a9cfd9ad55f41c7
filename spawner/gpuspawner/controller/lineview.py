"""The line as it was a moment ago, for all who look at it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Line, utc_now
from gpuspawner.allocator.line import LineView
from gpuspawner.core.model import Party, SpawnRequest, Terms, Ticket

GOOD_FOR_SECONDS = 1.0
"""Everybody's page looks every few seconds; the line itself moves with the tick, every 2 s."""


class SharedLine(Line):
    """The line, looked at once a second however many ask; what somebody changes here they see at once.

    Args:
        ledger: See :class:`~gpuspawner.allocator.line.Line`, as for all but the last one.
        host: …
        stale_after: …
        clock: …
        window: …
        monotonic: Seconds that only go forward.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        stale_after: timedelta,
        clock: Callable[[], datetime] = utc_now,
        *,
        window: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ledger, host, stale_after, clock, window)
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._changes = 0
        self._seen: tuple[float, int, LineView] | None = None

    def view(self) -> LineView:
        """Every place in line, at most a second old. Raises: LedgerError."""
        with self._looking:  # who comes meanwhile waits for the same look
            changes, now = self._changes, self._monotonic()
            if self._seen and self._seen[1] == changes and now - self._seen[0] < GOOD_FOR_SECONDS:
                return self._seen[2]
            view = super().view()
            self._seen = (now, changes, view)
            return view

    def ask(
        self, request: SpawnRequest, *, owner: str, server: str, party: Party, terms: Terms, image: str
    ) -> Ticket:
        """Take a place in line."""
        ask = super().ask
        return self._changed(
            lambda: ask(request, owner=owner, server=server, party=party, terms=terms, image=image)
        )

    def change(self, ticket_id: str, request: SpawnRequest, *, actor: str) -> Ticket:
        """Change what a ticket asks for."""
        change = super().change
        return self._changed(lambda: change(ticket_id, request, actor=actor))

    def leave(self, ticket_id: str, *, actor: str, reason: str = "its person left the line") -> Ticket:
        """Give up a place."""
        leave = super().leave
        return self._changed(lambda: leave(ticket_id, actor=actor, reason=reason))

    def claim(self, ticket_id: str, *, actor: str) -> Ticket:
        """Take what is offered."""
        claim = super().claim
        return self._changed(lambda: claim(ticket_id, actor=actor))

    def _changed(self, work: Callable[[], Ticket]) -> Ticket:
        try:
            return work()
        finally:
            # A look that began before is not good for what comes after.
            self._changes += 1
