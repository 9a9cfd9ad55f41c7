"""What every process of ours that runs for ever does with its log and with signals."""

from __future__ import annotations

import logging
import resource
import signal
import threading
import time
from collections.abc import Callable

REPEAT_SECONDS = 300.0
"""A problem that lasts is told again after this."""
MOST_FILES = 1 << 16
"""Usual are 1024, which the connections of a few hundred people take."""


class Complaints:
    """Tells each problem once, and again only when it lasts.

    Args:
        log: Where.
        clock: Seconds that only go forward.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._told: dict[str, float] = {}

    def tell(self, problem: str) -> bool:
        """Log the problem in one line, unless it was logged lately; say whether it was."""
        now = self._clock()
        self._told = {text: at for text, at in self._told.items() if now - at < REPEAT_SECONDS}
        if problem in self._told:
            return False
        self._told[problem] = now
        self._log.warning("%s", " ".join(problem.split()))
        return True


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def log_to_stderr() -> None:
    """Log with time and level; nobody but this process tells its migrations."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The library would tell each migration.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def raise_open_files() -> None:
    """Let this process have as many files open as it may: connections by SSH take two each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
