"""Calls to the Hub and to servers that may take long, kept out of the tick's way."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpuspawner.adapters.deadline import Pending
from gpuspawner.core.errors import GpuSpawnerError

AGAIN_SECONDS = 10.0
"""What did not come about is tried again after this."""
MOST_AT_ONCE = 8
"""Calls under way at once, of which each may take the Hub 10 s; what does not fit is planned again."""

After = Callable[[GpuSpawnerError | None], None]
"""What is done when a call has ended: with what went wrong, or with None."""


class HubCalls:
    """Calls in threads, one at a time for each key, none queued: the next tick decides afresh.

    Args:
        monotonic: Seconds that only go forward.
        again_seconds: A key that was tried is left alone for so long.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, again_seconds: float = AGAIN_SECONDS
    ) -> None:
        self._monotonic = monotonic
        self._again = again_seconds
        self._under_way: dict[str, tuple[Pending[None], After | None]] = {}
        self._tried_at: dict[str, float] = {}

    def begin(self, key: str, call: Callable[[], None], after: After | None = None) -> bool:
        """Begin a call, unless it is under way, was tried lately, or too many are under way.

        Args:
            key: What it is for.
            call: The call.
            after: Done in the tick after the call has ended.
        """
        now = self._monotonic()
        tried = self._tried_at.get(key)
        if key in self._under_way or len(self._under_way) >= MOST_AT_ONCE:
            return False
        if tried is not None and now - tried < self._again:
            return False
        self._tried_at[key] = now
        self._under_way[key] = (Pending(f"gpuspawner-{key}", call), after)
        return True

    def under_way(self, key: str) -> bool:
        """Whether a call of this key has not been collected yet."""
        return key in self._under_way

    def collect(self) -> list[str]:
        """Do what follows on the calls that have ended; what went wrong, in words. Raises: LedgerError."""
        now = self._monotonic()
        self._tried_at = {key: at for key, at in self._tried_at.items() if now - at < self._again}
        problems: list[str] = []
        for key, (call, after) in list(self._under_way.items()):
            if call.hangs:
                continue
            del self._under_way[key]
            error: GpuSpawnerError | None = None
            try:
                call.result(0)
            except GpuSpawnerError as found:
                error = found
                problems.append(str(found))
            if after is not None:
                after(error)
        return problems

    def finish(self, wait_seconds: float) -> None:
        """Wait for the calls that are under way."""
        deadline = time.monotonic() + wait_seconds
        for call, _ in self._under_way.values():
            try:
                call.result(deadline)
            except (GpuSpawnerError, TimeoutError):
                continue
