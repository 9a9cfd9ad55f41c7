"""The step that looks after sessions in which nothing is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from gpuspawner.adapters.deadline import Pending
from gpuspawner.allocator.idle import IdleWatch, Inside
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.core.policy import IdleSessions

from .ends import SteadyClock


class CullIdle:
    """The step: now and then a look at all sessions, in a thread of its own; then what follows from it.

    Args:
        sweeper: Looks.
        watch: Judges, and writes down.
        find_mode: What the policy wants to be done. Raises: SettingsError.
        clock: Says whether the present is to be believed.
        every: From one look at all sessions to the next.
        monotonic: Seconds that only go forward.
    """

    def __init__(
        self,
        sweeper: Sweeper,
        watch: IdleWatch,
        find_mode: Callable[[], IdleSessions],
        clock: SteadyClock,
        *,
        every: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweeper, self._watch, self._find_mode = sweeper, watch, find_mode
        self._clock, self._monotonic = clock, monotonic
        self._sweep: Pending[Mapping[str, Inside]] | None = None
        self._every_s = every.total_seconds()
        self._swept_at = -self._every_s

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError, SettingsError."""
        doubtful = self._clock.doubtful()
        mode = self._find_mode()
        if mode is IdleSessions.IGNORE:
            return ()
        problems: list[str] = []
        if self._sweep is not None and not self._sweep.hangs:
            sweep, self._sweep = self._sweep, None
            try:
                inside = sweep.result(0)
            except GpuSpawnerError as error:
                problems.append(f"The sessions could not be looked into: {error}")
            else:
                only_report = mode is IdleSessions.REPORT
                self._watch.carry_out(self._watch.judge(inside, hold_stops=doubtful, only_report=only_report))
        if self._sweep is None and self._monotonic() - self._swept_at >= self._every_s:
            self._swept_at = self._monotonic()
            leases = self._watch.running()
            self._sweep = Pending("gpuspawner-sweep", lambda: self._sweeper.look(leases))
        return problems
