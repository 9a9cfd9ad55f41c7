"""Who has logged in, and the names that were given out, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from gpuspawner.core.identity import Identity, Subject

from .line_unit import LineUnit
from .schema import homes, identities


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

    def taken_names(self) -> frozenset[str]:
        """All names that somebody has, or has a home under."""
        named = self._db.execute(sa.select(identities.c.name).union(sa.select(homes.c.owner)))
        return frozenset(named.scalars())

    def email_of(self, name: str) -> str | None:
        """The checked address of somebody who logs in by a provider, or an empty text; None for others."""
        return self._db.execute(sa.select(identities.c.email).where(identities.c.name == name)).scalar()

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
    )
