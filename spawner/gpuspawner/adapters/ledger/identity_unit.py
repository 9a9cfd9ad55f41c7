"""Who has logged in, and the names that were given out, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from gpuspawner.core.accounts import LOCAL, Account
from gpuspawner.core.identity import Identity, Subject
from gpuspawner.core.launch import LaunchRole, read_groups_of_courses

from .line_unit import LineUnit
from .schema import accounts, homes, identities


class IdentityUnit(LineUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def identity_of(self, subject: Subject) -> Identity | None:
        """The person whom a provider knows by this subject."""
        theirs = (identities.c.provider == subject.provider) & (identities.c.subject == subject.id)
        row = self._db.execute(sa.select(identities).where(theirs)).mappings().first()
        return None if row is None else _row_to_identity(row)

    def identities(self) -> Sequence[Identity]:
        """Everybody who has logged in by a provider, by name."""
        found = self._db.execute(sa.select(identities).order_by(identities.c.name)).mappings()
        return [_row_to_identity(row) for row in found]

    def launched(self) -> tuple[tuple[str, str, LaunchRole], ...]:
        """Course, person and role of everybody who is in a course by their groups alone, in order."""
        those = identities.c.removed_at.is_(None) & identities.c.groups.like('%"course:%:%')
        found = self._db.execute(sa.select(identities.c.name, identities.c.groups).where(those))
        return tuple(
            sorted(
                (course, name, role)
                for name, groups in found
                for course, role in read_groups_of_courses(from_json(groups))
            )
        )

    def taken_names(self) -> frozenset[str]:
        """All names that somebody has, or has a home under."""
        named = self._db.execute(sa.select(identities.c.name).union(sa.select(homes.c.owner)))
        return frozenset(named.scalars())

    def email_of(self, name: str) -> str | None:
        """The checked address of somebody who logs in by a provider, or an empty text; None for others."""
        return self._db.execute(sa.select(identities.c.email).where(identities.c.name == name)).scalar()

    def identity_named(self, name: str) -> Identity | None:
        """The person who has this name here."""
        row = self._db.execute(sa.select(identities).where(identities.c.name == name)).mappings().first()
        return None if row is None else _row_to_identity(row)

    def leaving(self) -> Sequence[Identity]:
        """Removed people of whom something may still be at the hub, by name."""
        those = identities.c.removed_at.is_not(None) & identities.c.gone_at.is_(None)
        found = self._db.execute(sa.select(identities).where(those).order_by(identities.c.name)).mappings()
        return [_row_to_identity(row) for row in found]

    def account_of(self, subject: Subject) -> Account | None:
        """The account of somebody who has a password here; None for everybody else."""
        return self._account(accounts.c.subject == subject.id) if subject.provider == LOCAL else None

    def invited(self, invitation: str) -> Account | None:
        """The account that an invitation is for, by the hash of its secret."""
        return self._account(accounts.c.invitation == invitation) if invitation else None

    def _account(self, which: sa.ColumnElement[bool]) -> Account | None:
        row = self._db.execute(sa.select(accounts).where(which)).mappings().first()
        return None if row is None else Account(**{**row, "subject": Subject(LOCAL, row["subject"])})

    def put_account(self, account: Account) -> None:
        """Store an account, in place of what was known of it."""
        row = {part.name: getattr(account, part.name) for part in fields(account)}
        self._put(accounts, {**row, "subject": account.subject.id}, key=("subject",))

    def put_identity(self, identity: Identity) -> None:
        """Store a person, in place of what was known of the same subject."""
        row = {
            "provider": identity.subject.provider,
            "subject": identity.subject.id,
            "name": identity.name,
            "shown": identity.shown,
            "groups": to_json(identity.groups).decode(),
            "first_seen": identity.first_seen,
            "last_seen": identity.last_seen,
            "email": identity.email,
            "removed_at": identity.removed_at,
            "gone_at": identity.gone_at,
        }
        self._put(identities, row, key=("provider", "subject"))


def _row_to_identity(row: sa.RowMapping) -> Identity:
    return Identity(
        Subject(row["provider"], row["subject"]),
        row["name"],
        row["shown"],
        tuple(from_json(row["groups"])),
        row["first_seen"],
        row["last_seen"],
        row["email"],
        row["removed_at"],
        row["gone_at"],
    )
