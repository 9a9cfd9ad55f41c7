"""The agent's clock: a tick, a pause, for ever; nothing that goes wrong in a tick ends it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gpuspawner.adapters.process import Complaints
from gpuspawner.core.errors import GpuSpawnerError

from .tick import Keeper

TICK_SECONDS = 2.0
FAREWELL_SECONDS = 15.0
"""How long work on containers may still take when the agent is told to stop."""

log = logging.getLogger("gpuspawner.agent")


def run_loop(
    make_keeper: Callable[[], Keeper], stop: threading.Event, tick_seconds: float = TICK_SECONDS
) -> None:
    """Keep the host until ``stop`` is set.

    Args:
        make_keeper: Makes the keeper; tried again at every tick until the ledger can be read.
        stop: Ends the loop between two actions.
        tick_seconds: From the beginning of one tick to that of the next.
    """
    complaints = Complaints(log)
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
