"""What takes long is done for few at a time, so that everybody else's requests, and the tick, go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gpuspawner.core.errors import GpuSpawnerError


class Crowded(GpuSpawnerError):
    """It is not done: who asks has asked again meanwhile, or too many wait."""


class Gate:
    """Lets one of each person in at a time, and so many in all; the others wait in the order of coming.

    Who comes again while they wait takes their own place: the newest is what they want to know, and nobody
    waits twice. Used from one event loop.

    Args:
        most: So many are inside at once.
        most_waiting: People who may wait; more are sent away at once.
    """

    def __init__(self, most: int = 2, most_waiting: int = 50) -> None:
        self._most, self._most_waiting = most, most_waiting
        self._inside: set[str] = set()
        self._waiting: dict[str, asyncio.Future[bool]] = {}

    @asynccontextmanager
    async def turn(self, person: str) -> AsyncIterator[None]:
        """Wait for one's turn, and be inside for the length of the block.

        Raises:
            Crowded: The person came again, or too many wait.
        """
        turn = asyncio.get_running_loop().create_future()
        older = self._waiting.get(person)
        if older is not None:
            if not older.done():
                older.set_result(False)
        elif len(self._waiting) >= self._most_waiting:
            raise Crowded("Too many people ask for this at once. Try again in a moment.")
        self._waiting[person] = turn
        self._let_in()
        try:
            if not await turn:
                raise Crowded("You asked again before this was looked at, so only the newest is answered.")
            yield
        finally:
            if self._waiting.get(person) is turn:
                del self._waiting[person]  # whoever waited has gone away
            elif turn.done() and not turn.cancelled() and turn.result():
                self._inside.discard(person)
                self._let_in()

    def _let_in(self) -> None:
        for person, turn in list(self._waiting.items()):
            if len(self._inside) >= self._most:
                return
            if person not in self._inside:
                del self._waiting[person]
                self._inside.add(person)
                turn.set_result(True)
