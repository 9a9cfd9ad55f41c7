"""Keys for SSH, where connections to each server are taken, and who connected, in one transaction."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from gpuspawner.core.ssh import Door, SshKey, SshSession

from .identity_unit import IdentityUnit
from .schema import ssh_doors, ssh_keys, ssh_sessions


class SshUnit(IdentityUnit):
    """A part of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def ssh_keys(self, owner: str | None = None) -> tuple[SshKey, ...]:
        """A person's keys, or everybody's, by person and in the order in which they were added."""
        query = sa.select(ssh_keys).order_by(ssh_keys.c.owner, ssh_keys.c.id)
        if owner is not None:
            query = query.where(ssh_keys.c.owner == owner)
        return tuple(SshKey(**row) for row in self._db.execute(query).mappings())

    def ssh_key(self, fingerprint: str) -> SshKey | None:
        """The key with this fingerprint."""
        found = self._db.execute(sa.select(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint))
        row = found.mappings().first()
        return SshKey(**row) if row else None

    def add_ssh_key(self, key: SshKey) -> SshKey:
        """Store a new key; it is given its number."""
        row = asdict(key)
        del row["id"]
        number = self._db.execute(sa.insert(ssh_keys).values(row)).inserted_primary_key
        assert number is not None  # noqa: S101 - SQLite gives one
        return SshKey(id=number[0], **row)

    def remove_ssh_key(self, number: int) -> None:
        """Forget a key."""
        self._db.execute(sa.delete(ssh_keys).where(ssh_keys.c.id == number))

    def note_ssh_use(self, fingerprint: str, at: datetime) -> None:
        """A connection was made with a key."""
        self._note_key(fingerprint, used_at=at)

    def note_ssh_refusal(self, fingerprint: str, at: datetime, reason: str) -> None:
        """A key was refused."""
        self._note_key(fingerprint, refused_at=at, refused=reason)

    def _note_key(self, fingerprint: str, **values: object) -> None:
        self._db.execute(sa.update(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint).values(**values))

    def ssh_doors(self, owner: str) -> tuple[Door, ...]:
        """Where connections to a person's servers are taken, oldest first."""
        found = self._db.execute(
            sa.select(ssh_doors).where(ssh_doors.c.owner == owner).order_by(ssh_doors.c.number)
        )
        return tuple(Door(**row) for row in found.mappings())

    def ssh_door(self, number: int) -> Door | None:
        """The door with this number."""
        row = self._db.execute(sa.select(ssh_doors).where(ssh_doors.c.number == number)).mappings().first()
        return Door(**row) if row else None

    def make_ssh_door(self, owner: str, server: str) -> Door:
        """A new door; no number is ever given twice."""
        most = self._db.execute(sa.select(sa.func.max(ssh_doors.c.number))).scalar()
        door = Door(0 if most is None else most + 1, owner, server)
        self._db.execute(sa.insert(ssh_doors).values(asdict(door)))
        return door

    def ssh_session(self, session_id: str) -> SshSession | None:
        """A connection."""
        found = self._db.execute(sa.select(ssh_sessions).where(ssh_sessions.c.id == session_id))
        row = found.mappings().first()
        return SshSession(**row) if row else None

    def open_ssh_sessions(self, owner: str | None = None) -> tuple[SshSession, ...]:
        """The connections that are open, of a person or of all, oldest first."""
        query = sa.select(ssh_sessions).where(ssh_sessions.c.ended_at.is_(None))
        if owner is not None:
            query = query.where(ssh_sessions.c.owner == owner)
        found = self._db.execute(query.order_by(ssh_sessions.c.began_at, ssh_sessions.c.id))
        return tuple(SshSession(**row) for row in found.mappings())

    def recent_ssh_sessions(self, owner: str, limit: int) -> tuple[SshSession, ...]:
        """A person's newest connections, newest first."""
        found = self._db.execute(
            sa.select(ssh_sessions)
            .where(ssh_sessions.c.owner == owner)
            .order_by(ssh_sessions.c.began_at.desc())
            .limit(limit)
        )
        return tuple(SshSession(**row) for row in found.mappings())

    def put_ssh_session(self, session: SshSession) -> None:
        """Store a connection, in place of what was known of it."""
        self._put(ssh_sessions, asdict(session), key=("id",))

    def drop_ssh_sessions(self, before: datetime) -> None:
        """Forget connections that ended before a time."""
        self._db.execute(sa.delete(ssh_sessions).where(ssh_sessions.c.ended_at < before))
