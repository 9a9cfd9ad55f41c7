"""The agent's clock: a tick, a pause, for ever; nothing that goes wrong in a tick ends it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable

from gpuspawner.core.errors import GpuSpawnerError

from .tick import Keeper

TICK_SECONDS = 2.0
REPEAT_SECONDS = 300.0
"""A problem that lasts is told again after this."""
FAREWELL_SECONDS = 15.0
"""How long work on containers may still take when the agent is told to stop."""

log = logging.getLogger("gpuspawner.agent")


class Complaints:
    """Tells each problem once, and again only when it lasts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def tell(self, problem: str) -> bool:
        """Log the problem in one line, unless it was logged lately; say whether it was."""
        now = self._clock()
        self._told = {text: at for text, at in self._told.items() if now - at < REPEAT_SECONDS}
        if problem in self._told:
            return False
        self._told[problem] = now
        log.warning("%s", " ".join(problem.split()))
        return True


def run_loop(
    make_keeper: Callable[[], Keeper], stop: threading.Event, tick_seconds: float = TICK_SECONDS
) -> None:
    """Keep the host until ``stop`` is set.

    Args:
        make_keeper: Makes the keeper; tried again at every tick until the ledger can be read.
        stop: Ends the loop between two actions.
        tick_seconds: From the beginning of one tick to that of the next.
    """
    complaints = Complaints()
    keeper: Keeper | None = None
    while not stop.is_set():
        began = time.monotonic()
        try:
            keeper = keeper or make_keeper()
            report = keeper.tick(stopping=stop.is_set)
        except GpuSpawnerError as error:
            complaints.tell(str(error))
        except Exception as error:
            if complaints.tell(f"A tick failed unexpectedly: {type(error).__name__}: {error}"):
                log.debug("where it failed", exc_info=True)
        else:
            for done in report.applied:
                log.info("%s", done)
            for problem in report.problems:
                complaints.tell(problem)
        stop.wait(max(0.0, began + tick_seconds - time.monotonic()))
    if keeper is not None:
        keeper.finish(FAREWELL_SECONDS)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
