"""Recognising who logs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
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


@dataclass(frozen=True, slots=True)
class Said:
    """What a login provider says of somebody."""

    name: str
    """What it calls them."""
    groups: tuple[str, ...]
    """What they are in, as far as it counts."""
    named_groups: bool = True
    """Whether the provider said anything of groups."""
    email: str = ""
    """Their address, if the provider has checked it."""


class Identities:
    """The people who log in by a provider.

    Args:
        ledger: Where they are kept.
        reserved: Names that the site's rules speak of: whom the provider calls otherwise does not get them,
            nor those of rosters.
        clock: Says the present.
    """

    def __init__(
        self,
        ledger: Ledger,
        reserved: frozenset[str] = frozenset(),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._reserved = reserved
        self._clock = clock

    def recognise(self, subject: Subject, said: Said) -> tuple[Identity, bool]:
        """The person behind a subject. Who was never let in is not written down, nor has a name yet.

        Args:
            subject: Who the provider says it is.
            said: What it says of them.

        Returns:
            The person, and whether they were let in before.

        Raises:
            LedgerError: The ledger cannot be used; nobody is let in then.
        """
        now = self._clock()
        with self._ledger.read() as unit:
            known = unit.identity_of(subject)
            if known is None:
                return self._make(unit, subject, said, now), False
            found = replace(known, shown=said.name, groups=said.groups, email=said.email, last_seen=now)
            named = unit.has_open_entry(found)
        news = _list_news(known, found, said)
        changed = replace(found, last_seen=known.last_seen) != known
        if news or changed or named or now - known.last_seen > _SEEN_AGAIN_AFTER:
            with self._ledger.write() as unit:
                unit.put_identity(found)
                unit.bind_roster(found)
                for event in news:
                    if not unit.has_event_since(now - _TOLD_AGAIN_AFTER, event):
                        unit.add_event(event)
        return found, True

    def admit(self, subject: Subject, said: Said) -> Identity:
        """Let somebody in; at the first time a name is given to them.

        Args:
            subject: Who it is.
            said: What the provider says of them.

        Raises:
            LedgerError: The ledger cannot be used; nobody is let in then.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            known = unit.identity_of(subject)
            if known is not None:
                return known
            found = self._make(unit, subject, said, now)
            unit.put_identity(found)
            unit.bind_roster(found)
            unit.add_event(Event(now, "login.first", describe_newcomer(found.name, said.name), LOGIN))
        return found

    def _make(self, unit: LedgerUnit, subject: Subject, said: Said, now: datetime) -> Identity:
        own = {said.name.lower()} if said.name.isascii() else set()
        spoken_of = self._reserved | unit.roster_names()
        name = choose_name(said.name, unit.taken_names() | (spoken_of - own))
        return Identity(subject, name, said.name, said.groups, now, now, said.email)

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


def _list_news(known: Identity, found: Identity, said: Said) -> list[Event]:
    now, news = found.last_seen, []
    if found.shown != known.shown:
        reason = describe_renamed(known.name, known.shown, found.shown)
        news.append(Event(now, "login.renamed", reason, LOGIN))
    if not said.named_groups:
        news.append(Event(now, "login.no-groups", describe_no_groups(known.name), LOGIN))
    return news
