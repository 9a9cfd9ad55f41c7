"""One look for all who ask at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Looks for whoever asks, and at once for all who began to wait while another look was under way.

    Nobody is shown what was seen before they asked: a look is shared only by those who asked before it began.
    So what somebody has just written is in what they then read.

    Args:
        look: What is shared; it may take long, and is only ever under way once.
    """

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._looking, self._counting = threading.Lock(), threading.Lock()
        self._begun = 0
        """Looks that have begun."""
        self._seen: tuple[int, T] | None = None
        """What was seen last, and which look it was."""

    def __call__(self) -> T:
        """What is there. Raises: whatever the look raises; those who waited with it look for themselves."""
        with self._counting:
            asked_after = self._begun
        with self._looking:
            if self._seen is not None and self._seen[0] > asked_after:
                return self._seen[1]
            with self._counting:
                self._begun += 1
            self._seen = None
            found = self._look()
            self._seen = (self._begun, found)
            return found
