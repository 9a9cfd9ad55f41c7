"""The step that warns of ends of sessions, and ends them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from gpuspawner.adapters.deadline import Pending
from gpuspawner.allocator import Sessions
from gpuspawner.core.errors import GpuSpawnerError, SettingsError
from gpuspawner.core.model import Lease
from gpuspawner.core.sessions import LEAST_NOTICE, WARN_MINUTES, Stop
from gpuspawner.ports import HubApi

JUMP = timedelta(seconds=60)
"""A clock that moves by so much more, or less, than time has passed has been set."""
AGAIN_SECONDS = 30.0
"""A stop that did not come about is asked for again after this."""
MOST_AT_ONCE = 8
"""Stops under way at once, of which each may take the Hub 10 s; what does not fit is planned again."""


class SteadyClock:
    """Notices when the host's clock is set.

    What has passed by such a clock is not believed for the time of the first warning: if the clock is set
    back meanwhile, nobody was stopped for nothing.

    Args:
        clock: The host's.
        monotonic: Seconds that only go forward.
    """

    def __init__(
        self, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._last = (clock(), monotonic())
        self._doubt_until: float | None = None

    def doubtful(self) -> bool:
        """Look, and say whether the clock was set lately."""
        now, ticks = self._clock(), self._monotonic()
        passed = timedelta(seconds=ticks - self._last[1])
        if abs((now - self._last[0]) - passed) > JUMP:
            self._doubt_until = ticks + LEAST_NOTICE.total_seconds()
        self._last = (now, ticks)
        return self._doubt_until is not None and ticks < self._doubt_until


class EndSessions:
    """Warns, and stops what has come to its end, through the Hub.

    Args:
        sessions: The use cases.
        hub: Stops servers.
        clock: Says whether the present is to be believed.
        find_minutes: When to warn, in minutes before an end. Raises: SettingsError: the usual ones hold.
        monotonic: Seconds that only go forward.
    """

    def __init__(
        self,
        sessions: Sessions,
        hub: HubApi,
        clock: SteadyClock,
        find_minutes: Callable[[], Sequence[int]] = lambda: WARN_MINUTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions, self._hub, self._clock, self._monotonic = sessions, hub, clock, monotonic
        self._find_minutes = find_minutes
        self._under_way: dict[str, Pending[None]] = {}
        self._asked_at: dict[str, float] = {}

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError."""
        problems = self._collect()
        try:
            minutes = self._find_minutes()
        except SettingsError:
            minutes = WARN_MINUTES  # an end comes whatever the policy file is like
        planned = self._sessions.plan_ends(minutes, hold_stops=self._clock.doubtful())
        stops = {one.lease.id for one in planned if isinstance(one, Stop)}
        self._asked_at = {id_: at for id_, at in self._asked_at.items() if id_ in stops}
        for one in planned:
            if self._sessions.carry_out(one) and isinstance(one, Stop):
                self._stop(one.lease)
        return problems

    def finish(self, wait_seconds: float) -> None:
        """Wait for the stops that are under way."""
        deadline = time.monotonic() + wait_seconds
        for call in self._under_way.values():
            with contextlib.suppress(Exception):  # the next run of the controller sees whether it was done
                call.result(deadline)

    def _stop(self, lease: Lease) -> None:
        now = self._monotonic()
        recent = self._asked_at.get(lease.id)
        if lease.id in self._under_way or len(self._under_way) >= MOST_AT_ONCE:
            return
        if recent is not None and now - recent < AGAIN_SECONDS:
            return
        self._asked_at[lease.id] = now
        self._under_way[lease.id] = Pending(
            f"gpuspawner-stop-{lease.id}", lambda: self._hub.stop_server(lease.owner, lease.server)
        )

    def _collect(self) -> list[str]:
        problems: list[str] = []
        for lease_id, call in list(self._under_way.items()):
            if call.hangs:
                continue
            del self._under_way[lease_id]
            try:
                call.result(0)
            except GpuSpawnerError as error:
                problems.append(f"Session {lease_id} could not be stopped: {error}")
        return problems
