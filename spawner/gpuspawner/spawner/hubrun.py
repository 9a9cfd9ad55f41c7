"""What all spawners of one run of the hub share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.allocator import Rosters
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import Home


class HubRun:
    """One run of the hub on one ledger: its lock, the name of the ledger, and homes made meanwhile.

    Args:
        ledger_path: The ledger's database file.
    """

    def __init__(self, ledger_path: Path) -> None:
        self.ledger = Ledger(ledger_path)
        self.rosters = Rosters(self.ledger)
        self._lock_path = Path(f"{ledger_path}.hub.lock")
        self._lock: RunLock | None = None
        self._ledger_id = ""
        self._claiming = threading.Lock()
        self._new_homes: dict[str, Home] = {}
        self._making_homes = threading.Lock()

    @classmethod
    def on(cls, ledger_path: Path) -> HubRun:
        """The run on this ledger, made at the first call; a process has one for each ledger."""
        with _creating:
            if ledger_path not in _runs:
                _runs[ledger_path] = cls(ledger_path)
            return _runs[ledger_path]

    def claim(self) -> str:
        """Return this run's id, taking the hub's lock at the first call.

        Raises:
            RunLockHeld: Another hub works on this ledger.
            LedgerError: The lock file cannot be made.
        """
        with self._claiming:
            if self._lock is None:
                try:
                    self._lock = RunLock(self._lock_path, "hub")
                except OSError as error:
                    raise LedgerError(
                        f"The hub's lock {self._lock_path} cannot be made: {error.strerror}."
                    ) from error
            return self._lock.run_id

    def ledger_id(self) -> str:
        """The ledger's name, remembered once it was read; empty while it could not be read.

        Raises:
            LedgerError: It was never read and cannot be read now.
        """
        if not self._ledger_id:
            with self.ledger.read() as unit:
                self._ledger_id = unit.ledger_id()
        return self._ledger_id

    @property
    def known_ledger_id(self) -> str:
        """The ledger's name if it was ever read, else empty."""
        return self._ledger_id

    def new_home(self, owner: str, make: Callable[[], Home]) -> Home:
        """Make a home for a person, once: two first servers at the same time have the same files.

        The ledger would see to that, but it may be away.
        """
        with self._making_homes:
            if owner not in self._new_homes:
                self._new_homes[owner] = make()
            return self._new_homes[owner]


_runs: dict[Path, HubRun] = {}
_creating = threading.Lock()
