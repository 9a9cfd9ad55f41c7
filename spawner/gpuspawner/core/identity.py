"""Who somebody is: a login provider's own, unchanging subject, and the one name that goes with it here.

Names at a provider change hands: people marry, and the next Ada gets ``ada``. So a person here is a provider
and its subject. At the first login a name is given out, which is the hub's and the home's from then on, and
which nobody else ever gets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from .errors import RefusalKind, Refused
from .words import mark

LONGEST_NAME = 48
"""Characters; names of containers and volumes are made from it."""
LONGEST_SUBJECT = 255
"""Characters, as OpenID Connect has it."""
LONGEST_GROUP = 255
"""Characters; the hub's database keeps no more."""
LONGEST_SHOWN = 255
"""Characters of what a provider calls somebody; the rest is left out."""
MOST_GROUPS = 1000
"""Groups of one person; whoever is in more is in some that decide nothing here."""
_UNFIT = re.compile(r"[^a-z0-9._@-]+")
_ANONYMOUS = "user"
_SERVICE = re.compile(r"https?://|local\Z")


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody, as their login provider knows them for ever."""

    provider: str
    """Which provider, such as its issuer URL."""
    id: str
    """What it never gives to anybody else, such as the claim ``sub``."""

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read ``SERVICE|SUBJECT``; without the address of a service, the provider is empty.

        A bar alone says nothing: some services have it in their subjects (``auth0|62f1``).
        """
        service, bar, own = text.partition("|")
        return cls(service, own) if bar and own and _SERVICE.match(service) else cls("", text)

    def __str__(self) -> str:
        return f"{self.provider}|{self.id}" if self.provider else self.id

    def is_meant(self, text: str, services: Collection[str]) -> bool | None:
        """Whether a text of a roster means this one; None where that cannot be told.

        Args:
            text: As :meth:`parse` reads it.
            services: Those by which people log in here; none where they are not known.
        """
        said = Subject.parse(text)
        if said.id != self.id:
            return False
        if said.provider:
            return said.provider == self.provider
        return None if not services else len(services) == 1 and self.provider in services


@dataclass(frozen=True, slots=True)
class Identity:
    """A person who has logged in at least once."""

    subject: Subject
    name: str
    """The hub's user name; never changes, and is never given to anybody else."""
    shown: str
    """What the provider calls them now; only shown."""
    groups: tuple[str, ...]
    """Those that the provider named when it last named any, in order."""
    first_seen: datetime
    last_seen: datetime
    email: str = ""
    """Their address, as the provider has checked it; empty where it has not, or does not say."""
    removed_at: datetime | None = None
    """Since when they may not come any more, by an administrator's word; None for everybody else."""
    gone_at: datetime | None = None
    """Since when nothing of a removed person is at the hub: servers, API tokens, browsers logged in."""

    @property
    def called_so(self) -> bool:
        """Whether the provider calls them by the name that they have here."""
        return self.shown.isascii() and self.shown.lower() == self.name


def read_subject(provider: str, value: object) -> Subject:
    """Take the subject from what a provider answered.

    Raises:
        Refused: ``NOT_ALLOWED``: there is none, so nobody could say who this is next time.
    """
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text or len(text) > LONGEST_SUBJECT or not text.isprintable():
        raise Refused(
            RefusalKind.NOT_ALLOWED,
            "The login service did not say who you are in a way that stays the same. Tell the administrator.",
        )
    return Subject(provider, text)


def read_shown(name: str) -> str:
    """What a provider calls somebody, as far as it can be kept and shown: they may have written it."""
    return "".join(one if one.isprintable() else "\ufffd" for one in name[:LONGEST_SHOWN])


def read_checked_address(claim: object) -> str:
    """An address that a provider has checked; empty for what is none.

    So is one with letters that only look like others: those that become plain ones where case is left out
    would make it the address of somebody else, of whom a roster speaks.
    """
    return claim if isinstance(claim, str) and _is_plain(claim) else ""


def read_groups(claim: object) -> tuple[tuple[str, ...], int] | None:
    """The groups that a claim names, in order, and how many names were left out.

    Groups are compared letter by letter. A name that only looks like another one, through capitals, spaces or
    letters of other alphabets, is another group, and one that could not be told apart on a screen
    (compatibility forms, control characters, spaces around it) is left out.

    Args:
        claim: A list of names, or one name by itself, as some providers have it for people in one group.

    Returns:
        None where no groups were named at all: that says nothing about what somebody is in.
    """
    if isinstance(claim, str):
        claim = [claim] if claim else []
    if not isinstance(claim, list | tuple | set | frozenset):
        return None
    fit = {name for name in claim if isinstance(name, str) and _is_plain(name)}
    kept = sorted(fit)[:MOST_GROUPS]
    return tuple(kept), len(claim) - len(kept)


def choose_name(wanted: str, taken: Collection[str]) -> str:
    """A name for somebody new: what they are called at the provider where nobody has it, else with a number.

    Args:
        wanted: The provider's name for them; what is unfit for host names and paths is left out.
        taken: All names that were ever given out.
    """
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode().lower()
    base = _UNFIT.sub("-", plain).strip("-._@")[:LONGEST_NAME].rstrip("-._@") or _ANONYMOUS
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def describe_newcomer(name: str, wanted: str) -> str:
    """What the administrator reads when somebody logs in for the first time."""
    if name == wanted:
        return mark(f"{name} logged in for the first time")
    return mark(f"{name} logged in for the first time, as {wanted!r} at the login service")


def describe_renamed(name: str, before: str, now: str) -> str:
    """What the administrator reads when a provider calls somebody otherwise."""
    return mark(
        f"the login service now calls {name} {now!r}, and called them {before!r}; their name here stays"
    )


def describe_no_groups(name: str) -> str:
    """What the administrator reads when a provider says nothing about somebody's groups."""
    return mark(
        f"the login service did not say which groups {name} is in; a new login gives no rights by groups"
    )


def describe_removed(name: str) -> str:
    """What the administrator reads when somebody was removed."""
    return mark(f"{name} may not come any more; their home stays")


def describe_restored(name: str) -> str:
    """What the administrator reads when somebody who was removed may come again."""
    return mark(f"{name} may come again, to the home of before")


def describe_gone(name: str) -> str:
    """What the administrator reads when nothing of somebody runs or is valid any more."""
    return mark(f"the servers of {name} are stopped, their API tokens and logins are void; their home stays")


def describe_silence(what: str) -> str:
    """What the administrator reads while a provider is down."""
    return mark(f"the login service does not answer: {what}; who is logged in stays so, nobody else can come")


def describe_answer() -> str:
    """What the administrator reads when a provider is there again."""
    return mark("the login service answers again")


def describe_again(name: str) -> str:
    """What the administrator reads when a provider does not renew a login."""
    return mark(f"the login service does not renew {name}'s login, who must log in again; servers run on")


def describe_refused(name: str) -> str:
    """What the administrator reads when somebody lost what let them in."""
    return mark(
        f"no rule lets {name} in any more: their API tokens do nothing until one does; their servers run on"
    )


def describe_unknown_course(issuer: str, deployment: str, context: str) -> str:
    """What the administrator reads when somebody comes from a course that the settings do not have."""
    return mark(
        f"somebody came from a course at {issuer} that the settings do not name: deployment {deployment!r}, "
        f"context {context!r}"
    )


def describe_bad_token(what: str) -> str:
    """What the administrator reads when somebody came back from a provider with what it did not send."""
    return mark(f"a login was refused: the ID token {what}")


def _is_plain(name: str) -> bool:
    return (
        0 < len(name) <= LONGEST_GROUP
        and name.isprintable()
        and name == name.strip()
        and name == unicodedata.normalize("NFKC", name)
    )
