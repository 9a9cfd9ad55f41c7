"""Whose turn it is to write: writers wait in the kernel, in order of arrival as far as that keeps one.

SQLite alone lets a writer that finds the ledger busy try again after 1, 2, 5, 10, … 100 ms. Whoever has
waited longest then sleeps longest, and those who come later get in before: with eight busy processes the last
per cent waited for seconds. So whoever wants to write takes a lock of its own first, on a file beside the
ledger; SQLite's lock, which still keeps other programs out, is then free at once.
"""

from __future__ import annotations

import fcntl
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuspawner.adapters.ownership import open_shared

THREAD_NAME = "gpuspawner-ledger-turn"


class Busy(Exception):
    """Somebody else wrote for longer than was waited."""


@contextmanager
def write_turn(ledger: Path, seconds: float) -> Iterator[None]:
    """Be the only one who writes a ledger, among all threads of all processes.

    The lock ends with the process that holds it, however that ends. Nothing is stored in the file.

    Args:
        ledger: The database file.
        seconds: How long to wait at most.

    Raises:
        Busy: Somebody else wrote for longer than that.
        OSError: The file cannot be made or opened.
    """
    file = open_shared(f"{ledger}.lock")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _Waiter(file).wait(seconds)
    except BaseException:
        os.close(file)
        raise
    try:
        yield
    finally:
        os.close(file)  # nobody else has this open file, so the lock is gone with it


class _Collector:
    """Python's collector of garbage, which stands still as long as any thread has a reason.

    Looking through all that a hub has in memory takes it 50 ms and more, and it begins in the midst of
    anything. Whoever waits for the ledger would wait for that too; a little later it harms nobody.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._reasons = 0
        self._was_on = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It does not begin while this lasts."""
        with self._changing:
            if not self._reasons:
                self._was_on = gc.isenabled()
                gc.disable()
            self._reasons += 1
        try:
            yield
        finally:
            with self._changing:
                self._reasons -= 1
                if not self._reasons and self._was_on:
                    gc.enable()


collector = _Collector()
"""Of this process."""


class _Waiter:
    """Waits for a lock in a thread, because a wait in the kernel cannot be given a limit.

    Args:
        file: The open file; closed here if the wait comes to nothing.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._over = threading.Condition()
        self._locked = self._given_up = False
        self._error: OSError | None = None

    def wait(self, seconds: float) -> None:
        """Return with the lock. Raises: Busy, OSError: without it, and the file is closed."""
        threading.Thread(target=self._lock, name=THREAD_NAME, daemon=True).start()
        with self._over:
            try:
                self._over.wait_for(lambda: self._locked or self._error is not None, seconds)
            finally:
                # Also when an exception comes from outside: the lock must not stay with a thread.
                self._given_up = not self._locked
        if self._error is not None:
            raise self._error
        if self._given_up:
            raise Busy

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            with self._over:
                self._error = error
                os.close(self._file)
                self._over.notify()
            return
        with self._over:
            if self._given_up:
                os.close(self._file)
            else:
                self._locked = True
                self._over.notify()
