"""The controller's clock: the steps of a tick, one after another, each for itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpuspawner.adapters.process import Complaints
from gpuspawner.core.errors import GpuSpawnerError

log = logging.getLogger("gpuspawner.controller")

Step = tuple[str, Callable[[], Iterable[str]]]
"""A name, which becomes a metrics label, and what it does; it returns problems in words."""


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick came to."""

    seconds: float
    """How long it took."""
    problems: tuple[str, ...]
    """What went wrong, in words."""
    failed: tuple[str, ...]
    """Steps that broke off."""


class Tick:
    """Takes the steps in order. A step that fails does not keep the others from being taken.

    Args:
        steps: The steps. Each gathers and decides afresh, so that none needs another one's success.
        finish: Waits, for so many seconds at most, for what steps have begun.
    """

    def __init__(self, steps: Sequence[Step], finish: Callable[[float], None] = lambda seconds: None) -> None:
        self._steps = tuple(steps)
        self.finish = finish

    @property
    def names(self) -> tuple[str, ...]:
        """The steps' names."""
        return tuple(name for name, _ in self._steps)

    def run(self, stopping: Callable[[], bool] = lambda: False) -> TickReport:
        """Take every step once.

        Args:
            stopping: Asked between two steps; true leaves the rest out.
        """
        began = time.monotonic()
        problems: list[str] = []
        failed: list[str] = []
        for name, take in self._steps:
            if stopping():
                break
            try:
                problems += take()
            except GpuSpawnerError as error:
                problems.append(str(error))
                failed.append(name)
            except Exception as error:
                problems.append(f"The step {name} failed unexpectedly: {type(error).__name__}: {error}")
                failed.append(name)
                log.debug("where it failed", exc_info=True)
        return TickReport(time.monotonic() - began, tuple(problems), tuple(failed))


class Ticking:
    """Ticks in a thread until it is told to stop.

    Args:
        tick: What to do.
        seconds: From the beginning of one tick to that of the next.
        observe: Is told every report.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        tick: Tick,
        seconds: float,
        observe: Callable[[TickReport], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tick, self._seconds, self._observe, self._clock = tick, seconds, observe, clock
        self._stop = threading.Event()
        self._ended_at = clock()
        self._thread = threading.Thread(target=self._run, name="gpuspawner-tick", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, wait_seconds: float) -> bool:
        """End between two steps.

        Args:
            wait_seconds: How long to wait for the step that is under way.

        Returns:
            Whether it has ended.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_seconds)
            self._tick.finish(wait_seconds)
        return not self._thread.is_alive()

    @property
    def silent_seconds(self) -> float:
        """How long ago the last tick ended, or the first one was begun."""
        return self._clock() - self._ended_at

    def _run(self) -> None:
        complaints = Complaints(log)
        while not self._stop.is_set():
            began = self._clock()
            report = self._tick.run(self._stop.is_set)
            for problem in report.problems:
                complaints.tell(problem)
            self._observe(report)
            self._ended_at = self._clock()
            self._stop.wait(max(0.0, began + self._seconds - self._clock()))
