"""The use cases around people's own calendars. Every method may block on the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.feeds import Feed, digest_secret
from gpuspawner.core.model import Event, Party
from gpuspawner.core.words import mark

from .clock import utc_now

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

    def make(self, owner: str, party: Party) -> str:
        """Make a secret for a person's calendar; one that there was before works no more.

        Args:
            owner: The person.
            party: Their groups, and all courses that they belong to.

        Returns:
            The secret. It cannot be had a second time.

        Raises:
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        secret, now = secrets.token_urlsafe(_BYTES), self._clock()
        with self._ledger.write() as unit:
            kind = "calendar.renewed" if unit.feed_of(owner) else "calendar.made"
            unit.put_feed(Feed(owner, digest_secret(secret), now, party))
            unit.add_event(Event(now, kind, mark("a secret address of their calendar"), owner))
        return secret

    def end(self, owner: str) -> None:
        """Let a person's calendar have no address any more. Raises: LedgerError."""
        with self._ledger.write() as unit:
            if unit.remove_feed(owner):
                reason = mark("the secret address of their calendar works no more")
                unit.add_event(Event(self._clock(), "calendar.ended", reason, owner))

    def see(self, owner: str, party: Party | None) -> Feed | None:
        """A person's calendar, if it has an address. Who looks after it keeps it up to date.

        Args:
            owner: The person.
            party: Their groups and courses as they are now; None where that is not known.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            found = unit.feed_of(owner)
        if found is None or party in (None, found.party):
            return found
        with self._ledger.write() as unit:
            found = unit.feed_of(owner)
            if found is not None and party is not None:
                found = replace(found, party=party)
                unit.put_feed(found)
        return found

    def find(self, secret: str) -> Feed | None:
        """The calendar of a secret. Raises: LedgerError.

        It is looked up by the secret's hash: how long that takes says nothing about any secret.
        """
        with self._ledger.read() as unit:
            return unit.feed(digest_secret(secret))
