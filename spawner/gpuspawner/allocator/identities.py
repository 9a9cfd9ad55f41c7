"""Recognising who logs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.claims import Actor
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.identity import (
    Identity,
    Subject,
    choose_name,
    describe_newcomer,
    describe_no_groups,
    describe_renamed,
)
from gpuspawner.core.model import Event
from gpuspawner.core.words import mark

from .clock import utc_now

LOGIN = "login"
"""Who these events are of."""
_TOLD_AGAIN_AFTER = timedelta(days=1)
"""What goes wrong at each login of somebody is told once in so long."""
_SEEN_AGAIN_AFTER = timedelta(hours=1)
"""When somebody was last seen is exact to so much."""


class Identities:
    """The people who log in by a provider.

    Args:
        ledger: Where they are kept.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._clock = clock

    def recognise(self, subject: Subject, shown: str, groups: tuple[str, ...] | None) -> Identity:
        """The person behind a subject. Who was never let in is not written down, nor has a name yet.

        Args:
            subject: Who the provider says it is.
            shown: What it calls them.
            groups: What it says they are in; None where it did not say: they stay in what they were in.

        Raises:
            LedgerError: The ledger cannot be used; nobody is let in then.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            known = unit.identity_of(subject)
            if known is None:
                return Identity(
                    subject, choose_name(shown, unit.taken_names()), shown, groups or (), now, now
                )
        found = replace(known, shown=shown, groups=known.groups if groups is None else groups, last_seen=now)
        news = self._list_news(known, found, said=groups is not None)
        if news or found.groups != known.groups or now - known.last_seen > _SEEN_AGAIN_AFTER:
            with self._ledger.write() as unit:
                unit.put_identity(found)
                for event in news:
                    if not unit.has_event_since(now - _TOLD_AGAIN_AFTER, event):
                        unit.add_event(event)
        return found

    def admit(self, subject: Subject, shown: str, groups: tuple[str, ...]) -> Identity:
        """Let somebody in; at the first time a name is given to them.

        Args:
            subject: Who it is.
            shown: What the provider calls them.
            groups: What they are in.

        Raises:
            LedgerError: The ledger cannot be used; nobody is let in then.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            known = unit.identity_of(subject)
            if known is not None:
                return known
            name = choose_name(shown, unit.taken_names())
            found = Identity(subject, name, shown, groups, now, now)
            unit.put_identity(found)
            unit.add_event(Event(now, "login.first", describe_newcomer(name, shown), LOGIN))
        return found

    @staticmethod
    def _list_news(known: Identity, found: Identity, *, said: bool) -> list[Event]:
        now, news = found.last_seen, []
        if found.shown != known.shown:
            reason = describe_renamed(known.name, known.shown, found.shown)
            news.append(Event(now, "login.renamed", reason, LOGIN))
        if not said:
            news.append(Event(now, "login.no-groups", describe_no_groups(known.name), LOGIN))
        return news

    def link(self, name: str, subject: Subject, *, actor: Actor) -> Identity:
        """Give a name that has a home, and nobody who logs in by a provider, to somebody.

        Args:
            name: The name, from before there was this login.
            subject: Who has it from now on.
            actor: Who says so.

        Raises:
            NotFound: Nobody has a home under that name.
            Conflict: The name is somebody's, or that person has another one.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            for one in unit.identities():
                if one.name == name or one.subject == subject:
                    raise Conflict(
                        f"{one.name!r} is the name of {one.subject.id!r} at {one.subject.provider} since "
                        f"{one.first_seen:%Y-%m-%d}, and stays theirs."
                    )
            if unit.home_of(name) is None:
                raise NotFound(f"Nobody has a home under the name {name!r}.")
            found = Identity(subject, name, name, (), now, now)
            unit.put_identity(found)
            reason = mark(f"{name} is now the name of {subject.id!r} at {subject.provider}")
            data: dict[str, object] = {"owner": name, "acted_as": actor.kind.value}
            unit.add_event(Event(now, "login.linked", reason, actor.name, data=data))
        return found

    def list(self) -> Sequence[Identity]:
        """Everybody who has logged in by a provider, by name.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            return unit.identities()
