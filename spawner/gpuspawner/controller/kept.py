"""What is made once for a stretch of time, however many ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Things that are made anew when a stretch of time is over, and not before.

    Only those of the newest stretch are kept: who asks for an older one makes it for themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: datetime | None = None
        self._made: dict[Hashable, T] = {}

    def get(self, until: datetime, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept of the stretch that ends then; made and kept where it is not there yet.

        Args:
            until: Which stretch.
            key: What it is.
            make: Makes it; may block.
        """
        with self._lock:
            if until == self._until and key in self._made:
                return self._made[key]
        made = make()
        with self._lock:
            if self._until is None or until > self._until:
                self._until, self._made = until, {}
            if until == self._until:
                self._made[key] = made
        return made
