"""Which run of a process is alive, told by a file lock that dies with it.

Process ids are reused and mean nothing across containers; a ``flock`` is held exactly as long as the process
lives, ``kill -9`` included, and is seen by everyone who sees the file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path

from gpuspawner.core.errors import RunLockHeld

from .ownership import open_shared

CHECK = "check:"
"""A run of ``gpuspawner verify`` that holds a card is named with this before the id of its lock."""
_PATIENCE_SECONDS = 2.0
"""A look at the lock takes it for a moment; a start-up waits that moment out."""


class RunLock:
    """The lock that one run of a process holds for its whole life.

    Args:
        path: The lock file, beside the ledger.
        what: What the process is, for the message to a second one: ``hub`` or ``agent``.

    Attributes:
        run_id: Random name of this run.

    Raises:
        RunLockHeld: Another run is alive.
        OSError: The file cannot be made or locked.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.run_id = secrets.token_hex(8)
        self._file = open_shared(path)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._file)
                    raise RunLockHeld(
                        f"Another {what} already works on this ledger (it holds {path}). Stop it first."
                    ) from None
                time.sleep(0.05)
        os.truncate(self._file, 0)
        os.pwrite(self._file, self.run_id.encode(), 0)

    def release(self) -> None:
        """Give the lock up before the process ends."""
        os.close(self._file)


def is_held(path: Path) -> bool | None:
    """Say whether a run lives that holds this lock; None when that cannot be told.

    Args:
        path: The lock file. One that does not exist was never held.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(file)


def find_dead_runs(path: Path, run_ids: Collection[str]) -> frozenset[str]:
    """Say which of these runs are certainly over.

    Args:
        path: The lock file.
        run_ids: Runs to ask about.

    Returns:
        Those that no longer live; an empty set when that cannot be told. A missing file tells nothing: it
        may have been deleted under a run that lives.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return frozenset()
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        alive = os.pread(file, 64, 0).decode(errors="replace")
        return frozenset(run_ids) - {alive} if alive else frozenset()
    else:
        return frozenset(run_ids)
    finally:
        os.close(file)


def check_lock(ledger: Path) -> Path:
    """The lock file of the command that checks images with the cards of a ledger."""
    return Path(f"{ledger}.check.lock")


def find_dead_claimants(hub_lock: Path, ledger: Path, claimants: Collection[str]) -> frozenset[str]:
    """Say of those that reserved cards which are certainly over: runs of the hub, and checks of images.

    Args:
        hub_lock: The lock file of the hub.
        ledger: The ledger's database file.
        claimants: As leases name them.
    """
    checks = {one for one in claimants if one.startswith(CHECK)}
    dead = find_dead_runs(check_lock(ledger), {one.removeprefix(CHECK) for one in checks}) if checks else ()
    return find_dead_runs(hub_lock, set(claimants) - checks) | {f"{CHECK}{one}" for one in dead}
