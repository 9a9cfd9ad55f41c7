"""The use cases around people's own calendars. Every method may block on the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.claims import Actor
from gpuspawner.core.errors import NotFound
from gpuspawner.core.feeds import Feed, digest_secret
from gpuspawner.core.model import Event

from .clock import utc_now

READ_AGAIN = timedelta(minutes=1)
"""How exactly it is known when a calendar was last read: not every reader makes the ledger write."""
_BYTES = 32
"""Of a secret: too many to guess."""


class Feeds:
    """Makes, finds and ends the secret addresses of calendars.

    Args:
        ledger: Where everything is kept.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._clock = clock

    def make(self, owner: str) -> str:
        """Make a secret for a person's calendar; one that there was before works no more.

        Returns:
            The secret. It cannot be had a second time.

        Raises:
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        secret, now = secrets.token_urlsafe(_BYTES), self._clock()
        with self._ledger.write() as unit:
            kind = "calendar.renewed" if unit.feed_of(owner) else "calendar.made"
            unit.put_feed(Feed(owner, digest_secret(secret), now))
            unit.add_event(Event(now, kind, "a secret address of their calendar", owner))
        return secret

    def end(self, owner: str, *, actor: Actor, reason: str) -> None:
        """Let a person's calendar have no address any more.

        Raises:
            NotFound: It has none.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        with self._ledger.write() as unit:
            if not unit.remove_feed(owner):
                raise NotFound(f"The calendar of {owner[:100]} has no secret address.")
            data: dict[str, object] = {"owner": owner, "acted_as": actor.kind.value}
            unit.add_event(Event(self._clock(), "calendar.ended", reason, actor.name, data=data))

    def of(self, owner: str) -> Feed | None:
        """A person's calendar, if it has an address. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.feed_of(owner)

    def list(self) -> tuple[Feed, ...]:
        """Every calendar that has an address, by person. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.feeds()

    def find(self, secret: str) -> Feed | None:
        """The calendar of a secret. Raises: LedgerError.

        It is looked up by the secret's hash: how long that takes says nothing about any secret.
        """
        with self._ledger.read() as unit:
            return unit.feed(digest_secret(secret))

    def note_read(self, feed: Feed) -> None:
        """Write down that a calendar was read just now, once a minute at most. Raises: LedgerError."""
        now = self._clock()
        if feed.read_at is not None and now - feed.read_at < READ_AGAIN:
            return
        with self._ledger.write() as unit:
            found = unit.feed(feed.digest)
            if found is not None:  # it was neither renewed nor ended meanwhile
                unit.put_feed(replace(found, read_at=now))
