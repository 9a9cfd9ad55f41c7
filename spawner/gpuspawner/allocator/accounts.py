"""Accounts with a password here: inviting, choosing a password, wrong passwords."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.accounts import (
    LOCAL,
    NOT_VALID,
    Account,
    count_failure,
    hash_invitation,
    invite,
    read_account_groups,
    read_account_name,
    read_address,
)
from gpuspawner.core.claims import Actor
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.identity import Identity, Subject
from gpuspawner.core.model import Event
from gpuspawner.core.words import mark

from .clock import utc_now
from .key_ends import end_keys


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with an account."""

    identity: Identity
    account: Account


class Accounts:
    """Who may log in by a password here.

    Args:
        ledger: Where they are kept.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger, self._clock = ledger, clock

    # -- by an administrator --------------------------------------------------------------------------------

    def invite(
        self, name: str, groups: Collection[str], email: str, *, actor: Actor, old_home: bool = False
    ) -> tuple[Identity, str]:
        """Make an account that nobody can use before its person has chosen a password.

        Args:
            name: What its person logs in with, and is called here.
            groups: What they are in.
            email: Where messages to them go, or nothing.
            actor: Who invites.
            old_home: Whether they get the home that is there under this name, from before it was anybody's.

        Returns:
            The person, and the secret by which they choose their password.

        Raises:
            InvalidRequest: Name, groups or address cannot be taken.
            Conflict: The name is, or was, somebody's; or it has a home, and `old_home` is not said.
            NotFound: There is no such home.
            LedgerError: The ledger cannot be used.
        """
        name, groups, now = read_account_name(name), read_account_groups(groups), self._clock()
        subject, secret = Subject(LOCAL, uuid.uuid4().hex), secrets.token_urlsafe(32)
        identity = Identity(subject, name, name, groups, now, now, read_address(email))
        with self._ledger.write() as unit:
            _require_free(unit, name, old_home=old_home)
            unit.put_identity(identity)
            unit.put_account(invite(Account(subject), secret, now))
            end_keys(unit, name, actor=actor, now=now)
            reason = mark(f"{name} was invited")
            if old_home:
                reason = mark(f"{name} was invited, and gets the home under that name from before")
            self._note(unit, "account.invited", reason, actor.name)
        return identity, secret

    def reset(self, name: str, *, actor: Actor) -> str:
        """Make the password of somebody void, and give the secret by which they choose another.

        Raises:
            NotFound: There is no such account.
            LedgerError: The ledger cannot be used.
        """
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._ledger.write() as unit:
            holder = _find(unit, name)
            unit.put_account(invite(holder.account, secret, now))
            reason = mark(f"{name} has to choose a new password; that of before is void")
            self._note(unit, "account.reset", reason, actor.name)
        return secret

    def regroup(self, name: str, groups: Collection[str], *, actor: Actor) -> Identity:
        """Put somebody into these groups and no others. Raises: NotFound, InvalidRequest, LedgerError."""
        groups = read_account_groups(groups)
        with self._ledger.write() as unit:
            found = replace(_find(unit, name).identity, groups=groups)
            unit.put_identity(found)
            listed = ", ".join(groups) or "-"
            reason = mark(f"{name} is in these groups now: {listed}")
            self._note(unit, "account.groups", reason, actor.name)
        return found

    # -- by its person --------------------------------------------------------------------------------------

    def find(self, name: str) -> Holder | None:
        """Somebody by their name; None where there is no such account. Raises: LedgerError."""
        with self._ledger.read() as unit:
            try:
                return _find(unit, name)
            except NotFound:
                return None

    def invited(self, secret: str) -> Holder | None:
        """Whose invitation this is; None where it is none, or none any more. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return self._invited(unit, secret)

    def _invited(self, unit: LedgerUnit, secret: str) -> Holder | None:
        account = unit.invited(hash_invitation(secret))
        if account is None or account.invited_until is None or account.invited_until <= self._clock():
            return None
        identity = unit.identity_of(account.subject)
        return None if identity is None or identity.removed_at else Holder(identity, account)

    def redeem(self, secret: str, password: str) -> Identity:
        """Take the password that somebody chose by their invitation, which is used up by that.

        Args:
            secret: The invitation's.
            password: As bcrypt has it.

        Raises:
            NotFound: It is no invitation, or none any more.
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.write() as unit:
            holder = self._invited(unit, secret)
            if holder is None:
                raise NotFound(NOT_VALID)
            self._set(unit, holder, password)
        return holder.identity

    def change(self, known: Holder, password: str) -> datetime:
        """Take another password in place of the one that was just typed; since when it holds.

        Raises:
            Conflict: It was changed meanwhile.
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.write() as unit:
            if unit.account_of(known.account.subject) != known.account:
                raise Conflict("The password was changed meanwhile. Try again.")
            return self._set(unit, known, password)

    def _set(self, unit: LedgerUnit, holder: Holder, password: str) -> datetime:
        now, name = self._clock(), holder.identity.name
        unit.put_account(Account(holder.account.subject, password, now))
        self._note(unit, "account.password", mark(f"{name} has chosen a password"), name)
        return now

    # -- at a login -----------------------------------------------------------------------------------------

    def is_locked(self, account: Account) -> bool:
        """Whether no password is tried at the moment."""
        return account.locked(self._clock())

    def failed(self, subject: Subject) -> None:
        """Count a wrong password. Raises: LedgerError."""
        now = self._clock()
        with self._ledger.write() as unit:
            account = unit.account_of(subject)
            if account is None or account.locked(now):
                return
            after = count_failure(account, now)
            unit.put_account(after)
            identity = unit.identity_of(subject)
            if after.locked(now) and identity is not None:
                until = f"{after.locked_until:%H:%M} UTC"
                reason = mark(f"wrong passwords for {identity.name}: none is tried before {until}")
                self._note(unit, "login.locked", reason, identity.name)

    def succeeded(self, account: Account) -> None:
        """Forget wrong passwords after the right one. Raises: LedgerError."""
        if not account.failures and account.locked_until is None:
            return
        with self._ledger.write() as unit:
            now = unit.account_of(account.subject)
            if now is not None and now.password == account.password:
                unit.put_account(replace(now, failures=0, locked_until=None))

    def _note(self, unit: LedgerUnit, kind: str, reason: str, actor: str) -> None:
        unit.add_event(Event(self._clock(), kind, reason, actor))


def _find(unit: LedgerUnit, name: str) -> Holder:
    identity = unit.identity_named(name)
    account = unit.account_of(identity.subject) if identity else None
    if identity is None or account is None:
        raise NotFound(f"There is no account {name!r}. `gpuspawner people list` shows those that there are.")
    return Holder(identity, account)


def _require_free(unit: LedgerUnit, name: str, *, old_home: bool) -> None:
    """Whether a name can be given to somebody new. Raises: Conflict, NotFound."""
    taken, who = unit.taken_names(), unit.identity_named(name)
    number = next(n for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
    if who is not None and who.removed_at is None:
        raise Conflict(
            f"{name!r} is somebody's name since {who.first_seen:%Y-%m-%d}. Take {name}-{number}, say."
        )
    if who is not None:
        raise Conflict(
            f"{name!r} was somebody's name, and the home under it stays theirs. If it is the same person: "
            f"`gpuspawner people restore {name}`; else take another name, such as {name}-{number}."
        )
    home = unit.home_of(name)
    if home is None and old_home:
        raise NotFound(f"There is no home under the name {name!r} from before. Leave out --old-home.")
    if home is not None and not old_home:
        raise Conflict(
            f"There is a home under the name {name!r} from before ({home.kind.value} {home.source}), and "
            f"nobody has that name. If it is to be this person's: `gpuspawner people invite {name} "
            f"--old-home`; else take another name, such as {name}-{number}."
        )
