"""The real ledger, watched: every transaction is looked at, and may be the last thing that a process does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from gpuspawner.adapters.ledger import Ledger, LedgerUnit


class Killed(BaseException):
    """A process was killed with SIGKILL: nothing of it goes on, and nothing may catch it."""


class Fuse:
    """Kills whoever makes the n-th write from now on, before it or after its commit."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._after = False
        self._lock = threading.Lock()

    def arm(self, writes: int, *, after: bool) -> None:
        self._left, self._after = writes, after

    def disarm(self) -> None:
        self._left = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While another process works that was asked to: it is not the one that is to be killed."""
        left, self._left = self._left, None
        try:
            yield
        finally:
            self._left = left

    def pass_by(self, *, after: bool) -> None:
        with self._lock:
            if self._left is None or after is not self._after:
                return
            if self._left == 0:
                raise Killed
            self._left -= 1


class WatchedLedger(Ledger):
    """Shows every write to an observer before it is committed.

    Args:
        path: A ledger that has been migrated.
        look: Sees the ledger as it will be after each commit; it must not raise.
    """

    def __init__(self, path: Path, look: Callable[[LedgerUnit], None]) -> None:
        super().__init__(path)
        self.fuse = Fuse()
        self._look = look
        self._hastened = False

    @contextmanager
    def write(self) -> Iterator[LedgerUnit]:
        self.fuse.pass_by(after=False)
        with super().write() as unit:
            yield unit
            self._look(unit)
        self.fuse.pass_by(after=True)

    def _open(self) -> sa.Engine:
        engine = super()._open()
        if not self._hastened:
            # These tests kill processes and never the machine: nothing is lost that was not synced.
            self._hastened = True
            sa.event.listen(engine, "checkout", _hasten)
        return engine


def _hasten(connection: Any, *_: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
