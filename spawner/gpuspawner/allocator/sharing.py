"""Work that several threads ask for at once, done once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sharing(Generic[T]):
    """Does a piece of work that only reads, one thread at a time.

    A result is given to those only who asked before the work on it began: nobody is told what was so before
    they asked. So however many ask at once, nobody waits for more than two rounds of the work.

    Args:
        work: The work; its result must never change.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._working = threading.Lock()
        self._counting = threading.Lock()
        self._begun = 0
        """Rounds that have begun."""
        self._done = 0
        """The round that the result is of."""
        self._result: T | None = None

    def get(self) -> T:
        """The result. Raises: what the work raises; only its own thread then hears of it."""
        with self._counting:
            wanted = self._begun + 1
        with self._working:
            if self._done < wanted or self._result is None:
                with self._counting:
                    self._begun += 1
                    mine = self._begun
                self._result = self._work()
                self._done = mine
            return self._result
