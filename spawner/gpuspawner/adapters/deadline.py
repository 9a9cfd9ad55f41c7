"""Calls that may never return, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """A call under way in a daemon thread, which is never joined."""

    def __init__(self, name: str, function: Callable[[], T]) -> None:
        self._function = function
        self._ended = threading.Event()
        self._values: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def hangs(self) -> bool:
        """Whether the call has not ended yet."""
        return not self._ended.is_set()

    def result(self, deadline: float) -> T:
        """Wait for the call's value, or raise what it raised.

        Args:
            deadline: Until when, on the clock of ``time.monotonic``.

        Raises:
            TimeoutError: The call goes on.
        """
        if not self._ended.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._values[0]

    def _run(self) -> None:
        try:
            self._values.append(self._function())
        except BaseException as error:  # it is raised again where the value is asked for
            self._error = error
        finally:
            self._ended.set()


class Calls:
    """Calls by key; while one hangs, no second one of its key is begun.

    So a driver that never answers costs one thread for each thing that hangs, however often it is asked.
    """

    def __init__(self) -> None:
        self._last: dict[str, Pending[object]] = {}

    def hangs_besides(self, key: str) -> bool:
        """Whether any call of another key has not ended yet."""
        return any(call.hangs for other, call in self._last.items() if other != key)

    def start(self, key: str, function: Callable[[], T]) -> Pending[T] | None:
        """Begin a call, or return None if the last one of this key still hangs."""
        last = self._last.get(key)
        if last is not None and last.hangs:
            return None
        call = Pending(f"gpuspawner-{key}", function)
        self._last[key] = call  # type: ignore[assignment]  # only asked whether it hangs
        return call
