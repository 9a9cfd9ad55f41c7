"""Recognising who logs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.accounts import LOCAL
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.identity import (
    Identity,
    Subject,
    choose_name,
    describe_answer,
    describe_gone,
    describe_newcomer,
    describe_no_groups,
    describe_removed,
    describe_renamed,
    describe_restored,
    describe_silence,
)
from gpuspawner.core.model import Event
from gpuspawner.core.words import mark

from .clock import utc_now
from .key_ends import end_keys, end_keys_of

LOGIN = "login"
"""Who these events are of."""
SILENT, ANSWERS = "login.silent", "login.answers"
"""The login service is down; it is there again."""
TROUBLE = {
    "login.no-groups": "no_groups",
    "login.again": "not_renewed",
    "login.refused": "refused",
    "login.bad-token": "bad_token",
    "login.locked": "locked",
    "login.unknown-course": "unknown_course",
}
"""What else the administrator has to see, and what metrics call it."""
_MOST_TROUBLE = 1000
_TOLD_AGAIN_AFTER = timedelta(days=1)
"""What goes wrong at each login of somebody is told once in so long."""
_SILENT_AGAIN_AFTER = timedelta(hours=1)
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
    chosen: bool = False
    """Whether they may call themselves there what they like: what rules and rosters say of the name is not
    of them, then."""


class Identities:
    """The people who log in by a provider.

    Args:
        ledger: Where they are kept.
        reserved: Names that the site's rules speak of: whom the provider calls otherwise does not get them,
            nor those of rosters.
        clock: Says the present.
        services: The providers by which people log in; none where they are not known.
    """

    def __init__(
        self,
        ledger: Ledger,
        reserved: frozenset[str] = frozenset(),
        clock: Callable[[], datetime] = utc_now,
        services: frozenset[str] = frozenset(),
    ) -> None:
        self._ledger = ledger
        self._reserved = reserved
        self._services = services
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
            if known.removed_at is not None:
                return known, True
            found = _bring_up_to_date(known, said, now)
            named = unit.has_open_entry(found, self._services)
        news = _list_news(known, found, said)
        changed = replace(found, last_seen=known.last_seen) != known
        if news or changed or named or now - known.last_seen > _SEEN_AGAIN_AFTER:
            with self._ledger.write() as unit:
                found = _bring_up_to_date(unit.identity_of(subject) or known, said, now)
                unit.put_identity(found)
                unit.bind_roster(found, self._services)
                for event in news:
                    if not unit.has_event_since(now - _TOLD_AGAIN_AFTER, event):
                        unit.add_event(event)
        return found, True

    def find(self, subject: Subject) -> Identity | None:
        """Somebody who was let in before. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.identity_of(subject)

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
            unit.bind_roster(found, self._services)
            end_keys(unit, found.name, actor=Actor(LOGIN, ActorKind.SERVICE), now=now)
            unit.add_event(Event(now, "login.first", describe_newcomer(found.name, said.name), LOGIN))
        return found

    def _make(self, unit: LedgerUnit, subject: Subject, said: Said, now: datetime) -> Identity:
        own = {said.name.lower()} if said.name.isascii() and not said.chosen else set()
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
            end_keys(unit, name, actor=actor, now=now)
            reason = mark(f"{name} is now the name of {subject.id!r} at {subject.provider}")
            data: dict[str, object] = {"owner": name, "acted_as": actor.kind.value}
            unit.add_event(Event(now, "login.linked", reason, actor.name, data=data))
        return found

    def note(self, kind: str, reason: str, once_in: timedelta = _TOLD_AGAIN_AFTER) -> None:
        """Write down what went wrong at a login, once in so long. Raises: LedgerError.

        Args:
            kind: What happened, such as ``login.silent``.
            reason: What the administrator reads.
            once_in: The same is not written down again before this has passed.
        """
        event = Event(self._clock(), kind, reason, LOGIN)
        with self._ledger.read() as unit:
            if unit.has_event_since(event.at - once_in, event):
                return
        with self._ledger.write() as unit:
            if not unit.has_event_since(event.at - once_in, event):
                unit.add_event(event)

    def note_silence(self, what: str) -> None:
        """The login service does not answer: written down once an hour while that is so. Raises: LedgerError.

        Args:
            what: Which address, and how.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            silent = _find_silence(unit)
            if silent is None or now - silent.at >= _SILENT_AGAIN_AFTER:
                unit.add_event(Event(now, SILENT, describe_silence(what), LOGIN))

    def note_answer(self) -> None:
        """The login service answers: take back what was written down of its silence. Raises: LedgerError."""
        with self._ledger.write() as unit:
            if _find_silence(unit) is not None:
                unit.add_event(Event(self._clock(), ANSWERS, describe_answer(), LOGIN))

    def remove(self, name: str, *, actor: Actor, reason: str = "") -> Identity:
        """Let somebody not come any more. Name and home stay theirs; their keys for SSH are removed.

        Args:
            name: Their name here.
            actor: Who says so.
            reason: Why, for the audit trail.

        Raises:
            NotFound: Nobody of that name has logged in, or has an account.
            LedgerError: The ledger cannot be used.
        """
        return self._mark(name, self._clock(), "people.removed", actor, reason)

    def end_keys(self, name: str, *, actor: Actor) -> None:
        """Remove all keys for SSH of a name. Raises: LedgerError."""
        end_keys_of(self._ledger, name, actor=actor, clock=self._clock)

    def restore(self, name: str, *, actor: Actor, reason: str = "") -> Identity:
        """Let somebody come again who was removed, to the home that they had. Raises: as :meth:`remove`."""
        return self._mark(name, None, "people.restored", actor, reason)

    def _mark(self, name: str, at: datetime | None, kind: str, actor: Actor, reason: str) -> Identity:
        with self._ledger.write() as unit:
            known = unit.identity_named(name)
            if known is None:
                raise NotFound(
                    f"Nobody who logs in by a login service or has an account is called {name!r} here."
                )
            if (known.removed_at is None) == (at is None):
                return known
            found = replace(known, removed_at=at, gone_at=None)
            unit.put_identity(found)
            if at is not None:
                end_keys(unit, name, actor=actor, now=at)
            data: dict[str, object] = {"owner": name, "acted_as": actor.kind.value}
            said = describe_removed(name) if at else describe_restored(name)
            text = f"{said}: {reason}" if reason else said
            unit.add_event(Event(self._clock(), kind, text, actor.name, data=data))
        return found

    def is_removed(self, name: str) -> bool:
        """Whether somebody may not come any more. Raises: LedgerError."""
        with self._ledger.read() as unit:
            known = unit.identity_named(name)
        return known is not None and known.removed_at is not None

    def leaving(self) -> Sequence[Identity]:
        """Removed people of whom something may still be at the hub. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.leaving()

    def is_gone(self, leaver: Identity) -> None:
        """Nothing of a removed person is at the hub any more. Raises: LedgerError."""
        with self._ledger.write() as unit:
            known = unit.identity_named(leaver.name)
            if known is None or known.removed_at != leaver.removed_at:
                return  # let in again meanwhile
            now = self._clock()
            unit.put_identity(replace(known, gone_at=now))
            unit.add_event(Event(now, "people.gone", describe_gone(known.name), LOGIN))

    def list(self) -> Sequence[Identity]:
        """Everybody who has logged in by a provider, by name.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            return unit.identities()


def _bring_up_to_date(known: Identity, said: Said, now: datetime) -> Identity:
    """Somebody as they are now. Who is in which group of the accounts here, these say themselves."""
    groups = known.groups if known.subject.provider == LOCAL else said.groups
    return replace(known, shown=said.name, groups=groups, email=said.email, last_seen=now)


def find_login_trouble(unit: LedgerUnit, now: datetime) -> tuple[Event | None, int]:
    """What is wrong with logins: the service's silence, while it lasts, and how much else in the last day.

    Who is logged in, and works, notices none of it: somebody has to be told.
    """
    since = now - _TOLD_AGAIN_AFTER
    listed = unit.find_events(EventSearch(kind="login.", since=since), _MOST_TROUBLE)
    return _find_silence(unit), sum(one.kind in TROUBLE for one in listed)


def _find_silence(unit: LedgerUnit) -> Event | None:
    """The silence that was not taken back."""
    silent, there = (unit.recent_events(1, prefix=kind) for kind in (SILENT, ANSWERS))
    taken_back = bool(silent and there) and (there[0].id or 0) > (silent[0].id or 0)
    return silent[0] if silent and not taken_back else None


def _list_news(known: Identity, found: Identity, said: Said) -> list[Event]:
    now, news = found.last_seen, []
    if found.shown != known.shown:
        reason = describe_renamed(known.name, known.shown, found.shown)
        news.append(Event(now, "login.renamed", reason, LOGIN))
    if not said.named_groups:
        news.append(Event(now, "login.no-groups", describe_no_groups(known.name), LOGIN))
    return news
