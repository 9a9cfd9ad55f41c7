"""Opening the ledger, its transactions, its version, and what its errors mean."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic_core import from_json
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from gpuspawner.adapters.ownership import open_shared
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.words import mark

from .turn import Busy, collector, write_turn
from .unit import LedgerUnit

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_SECONDS = 10
"""How long a transaction waits for another one's end."""


class Ledger:
    """A ledger in one SQLite file.

    Nothing is opened, created or migrated before the first transaction. Instances may be used from several
    threads.

    Args:
        path: The database file. Its directory must exist.
        migrate: Whether a ledger that is missing or of an older version is made or brought up to date. A
            command that only looks must not change a file that an older hub is using.
    """

    def __init__(self, path: Path, *, migrate: bool = True) -> None:
        self.path = path
        self._may_migrate = migrate
        self._engine: sa.Engine | None = None
        self._opening = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[LedgerUnit]:
        """One immediate transaction: no other writer works between its first read and its commit.

        Raises:
            LedgerError: The ledger cannot be written; nothing was changed.
        """
        self._open()  # a migration comes before the turn, and may take longer than one
        turn = write_turn(self.path, BUSY_TIMEOUT_SECONDS)
        with _explained(self.path), turn, collector.paused(), self._transaction("BEGIN IMMEDIATE") as unit:
            yield unit

    @contextmanager
    def read(self) -> Iterator[LedgerUnit]:
        """One consistent view; writers are not held up.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        with self._transaction("BEGIN") as unit:
            yield unit

    def close(self) -> None:
        """Close all connections; the next transaction opens new ones."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[LedgerUnit]:
        engine = self._open()
        with _explained(self.path), engine.connect() as connection:
            connection.exec_driver_sql(begin)
            try:
                self._require_version(connection)
                yield LedgerUnit(connection)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    def _open(self) -> sa.Engine:
        with self._opening:
            if self._engine is None:
                if not self.path.parent.is_dir():
                    raise LedgerError(f"The ledger's directory {self.path.parent} does not exist; create it.")
                engine = _create_engine(self.path)
                try:
                    with _explained(self.path):
                        if self._may_migrate:
                            _ensure_private_file(self.path)
                            self._migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _migrate(self, engine: sa.Engine) -> None:
        with engine.connect() as connection:
            if self._version(connection) == _head():
                return
        with os.fdopen(open_shared(f"{self.path}.migrate"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.connect() as connection:
                version = self._version(connection)
                if version == _head():
                    return
                self._require_known(version)
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    config = Config()
                    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    _roll_back(connection)
                    raise

    def _require_version(self, connection: sa.Connection) -> None:
        version = self._version(connection)
        if version != _head():
            self._require_known(version)
            if not self._may_migrate:
                raise LedgerError(
                    f"The ledger {self.path} is of an older version; restart the hub and the agent first."
                )
            raise LedgerError(f"The ledger {self.path} was replaced while it was open; restart this process.")

    def _require_known(self, version: str | None) -> None:
        if version is not None and version not in _revisions():
            raise LedgerError(
                f"The ledger {self.path} is of a newer gpuspawner (its version is {version}). "
                "Install that version, or restore the ledger's backup."
            )

    @staticmethod
    def _version(connection: sa.Connection) -> str | None:
        try:
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        except OperationalError as error:
            if "no such table" in str(error.orig):
                return None
            raise


@cache
def _revisions() -> tuple[str, ...]:
    """Every version that this program knows, the newest first; read once, for every transaction asks."""
    return tuple(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def _head() -> str:
    return _revisions()[0]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        why = _explain(str(error.orig))
        raise LedgerError(f"The ledger {path} {why}") from error
    except SQLAlchemyError as error:
        raise LedgerError(f"The ledger {path} cannot be used: {error}") from error
    except Busy as error:
        why = _EXPLANATIONS["locked"]
        raise LedgerError(f"The ledger {path} {why}") from error
    except OSError as error:
        sign = _SIGN_OF_ERRNO.get(error.errno or 0, error.strerror or str(error))
        why = _explain(sign)
        raise LedgerError(f"The ledger {path} {why}") from error


def _ensure_private_file(path: Path) -> None:
    """Make the file before SQLite does, which would let everybody read it; its companions copy its mode."""
    if not path.exists():
        os.close(open_shared(path))


def _create_engine(path: Path) -> sa.Engine:
    # A URL object, because a path may hold what means something in a URL's text.
    url = sa.URL.create("sqlite", database=str(path))
    # A plan reads thousands of JSON texts, for which Python's own reader takes three times as long.
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, json_deserializer=from_json
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, record: object) -> None:
        # The driver's own implicit BEGIN is off: every transaction here says itself how it begins.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return engine


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL, or find it on. SQLite does not wait for others here, whatever the timeout says."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _roll_back(connection: sa.Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:
        # SQLite has rolled back by itself (a full disk does that); the connection is not used again.
        connection.invalidate()


_SIGN_OF_ERRNO = {
    errno.ENOSPC: "database or disk is full",
    errno.EROFS: "readonly database",
    errno.EACCES: "readonly database",
    errno.EPERM: "readonly database",
}
_EXPLANATIONS = {
    "database or disk is full": mark("could not be written because its disk is full. Free some space there."),
    "disk i/o error": mark(
        "could not be read or written: the disk reports an error, or is full. Check that disk."
    ),
    "readonly database": mark(
        "is read-only. Give this process the right to write it, or remount its file system."
    ),
    "unable to open": mark(
        "cannot be opened. Check that its directory exists and may be written by this process."
    ),
    "locked": mark(
        f"was busy for more than {BUSY_TIMEOUT_SECONDS} s. Try again; see which process holds it."
    ),
    "malformed": mark("is damaged. Restore it from the backup."),
    "not a database": mark(
        "is not a ledger: the file is something else. Move it away, or restore the backup."
    ),
}


def _explain(text: str) -> str:
    lowered = text.lower()
    for sign, explanation in _EXPLANATIONS.items():
        if sign in lowered:
            return explanation
    return mark(f"cannot be used: {text}.")
