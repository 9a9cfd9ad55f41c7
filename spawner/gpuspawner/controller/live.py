"""Open pages look again by themselves: one look at the ledger for all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from gpuspawner.allocator.places import LineView
from gpuspawner.core.errors import LedgerError

LOOK_SECONDS = 2.0
"""As often as the agent looks at the cards."""


class Watch:
    """Looks every two seconds while any page is open, however many there are.

    Args:
        look: Takes a look; may block.
        seconds: From one look to the next.
    """

    def __init__(self, look: Callable[[], LineView], seconds: float = LOOK_SECONDS) -> None:
        self._look, self._seconds = look, seconds
        self._looking: asyncio.Task[LineView | None] | None = None
        self._open: Counter[str] = Counter()

    @contextmanager
    def open_page(self, person: str) -> Iterator[int]:
        """Count a page that somebody has open; how many they have now, this one included."""
        self._open[person] += 1
        try:
            yield self._open[person]
        finally:
            self._open[person] -= 1
            if not self._open[person]:
                del self._open[person]

    async def follow(self) -> AsyncIterator[LineView | None]:
        """Every look from now on; None while the ledger is away."""
        while True:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_later())
            # Shielded: a page that is closed must not end the look of the others.
            yield await asyncio.shield(self._looking)

    async def _look_later(self) -> LineView | None:
        await asyncio.sleep(self._seconds)
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._look)
        except LedgerError:
            return None
