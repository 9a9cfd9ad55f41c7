"""Accounts with a password here, for labs without a login service.

Nobody makes one by themselves: an administrator invites, and the invitation is a secret link by which one
person chooses a password, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from .errors import InvalidRequest
from .identity import LONGEST_NAME, Subject, choose_name, read_groups
from .words import mark

LOCAL = "local"
"""The provider of these subjects."""
INVITATION_LASTS = timedelta(days=3)
TRIES = 5
"""Wrong passwords in a row that lock an account."""
LOCKED_FOR = timedelta(minutes=15)
SHORTEST_PASSWORD = 12
"""Characters."""
LONGEST_PASSWORD = 72
"""Bytes: bcrypt looks at no more."""
WRONG = mark(
    "Wrong name or password. After five wrong passwords an account takes none for 15 minutes. "
    "Who has forgotten theirs asks the administrator for a new link."
)
BUSY = mark(
    "Too many people log in at this moment. Try again in a moment; servers that run are not affected."
)
NOT_VALID = mark("This link is not valid any more. Ask your administrator for a new one.")
NOT_THE_SAME = mark("The two passwords are not the same.")
NOT_YOURS = mark("The password of now is not right.")
_FEWEST_CHARACTERS = 5
"""Different ones in a password: fewer are a pattern."""
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


@dataclass(frozen=True, slots=True)
class Account:
    """What is kept of an account, beside its person's name and groups."""

    subject: Subject
    password: str = ""
    """As bcrypt has it; empty for none, and then nobody can log in by it."""
    password_set_at: datetime | None = None
    invitation: str = ""
    """Hash of the secret that chooses a password; empty when there is none."""
    invited_until: datetime | None = None
    failures: int = 0
    """Wrong passwords since the last right one, or since it was locked."""
    locked_until: datetime | None = None

    def locked(self, now: datetime) -> bool:
        """Whether no password is tried at the moment."""
        return self.locked_until is not None and now < self.locked_until


def hash_invitation(secret: str) -> str:
    """What is kept of it: who reads the ledger cannot use it."""
    return sha256(secret.encode()).hexdigest() if secret else ""


def invite(account: Account, secret: str, now: datetime) -> Account:
    """The account with this invitation alone: a password of before does not do any more."""
    until = now + INVITATION_LASTS
    return replace(Account(account.subject), invitation=hash_invitation(secret), invited_until=until)


def count_failure(account: Account, now: datetime) -> Account:
    """The account after a wrong password."""
    failures = account.failures + 1
    if failures < TRIES:
        return replace(account, failures=failures)
    return replace(account, failures=0, locked_until=now + LOCKED_FOR)


def read_account_name(name: str) -> str:
    """A name as it is typed at each login and as paths have it: the same letters.

    Raises:
        InvalidRequest: It is written otherwise than a name here is.
    """
    fit = choose_name(name, ())
    if name != fit:
        raise InvalidRequest(
            f"{name!r} cannot be a name: small letters without accents, digits and . _ @ - between them, "
            f"at most {LONGEST_NAME}. Take {fit!r}, say."
        )
    return name


def read_account_groups(names: Iterable[str]) -> tuple[str, ...]:
    """Groups as an administrator types them.

    Raises:
        InvalidRequest: One could not be told from another on a screen.
    """
    wanted = list(names)
    for name in wanted:
        if read_groups([name]) != ((name,), 0):
            raise InvalidRequest(
                f"{name!r} cannot be a group: spaces around it, control characters and compatibility forms "
                "are not allowed."
            )
    found = read_groups(wanted)
    return found[0] if found else ()


def read_address(address: str) -> str:
    """A mail address, or nothing. Raises: InvalidRequest."""
    if address and not (_ADDRESS.fullmatch(address) and address.isprintable()):
        raise InvalidRequest(f"{address!r} is no mail address.")
    return address


def judge_password(password: str, name: str, common: bool) -> str | None:
    """Why a password cannot be taken; None where it can.

    Args:
        password: The password.
        name: Whose.
        common: Whether it is one of those that are tried first.
    """
    if len(password) < SHORTEST_PASSWORD:
        return mark(f"A password has at least {SHORTEST_PASSWORD} characters.")
    if len(password.encode(errors="surrogatepass")) > LONGEST_PASSWORD or not password.isprintable():
        return mark(f"A password has at most {LONGEST_PASSWORD} bytes, and no control characters.")
    plain, own = password.casefold(), name.casefold()
    named = plain in own or (len(own) >= _FEWEST_CHARACTERS and own in plain)
    if common or named or len(set(plain)) < _FEWEST_CHARACTERS:
        return mark("This password is too easy to guess. Take several words that belong to nothing of yours.")
    return None
