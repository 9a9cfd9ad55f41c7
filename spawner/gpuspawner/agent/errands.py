"""Engine calls of which each may take long, kept out of the tick's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpuspawner.adapters.deadline import Pending
from gpuspawner.core.errors import EngineError, GpuSpawnerError
from gpuspawner.core.model import Container
from gpuspawner.ports import ContainerEngine

MOST_AT_ONCE = 8
"""Errands under way at once; what does not fit is planned again at the next tick."""
LIST_WAIT_SECONDS = 5.0
"""How long a tick waits for the list of containers."""


@dataclass(frozen=True, slots=True)
class _Errand:
    lease_id: str
    call: Pending[str | None]


class Errands:
    """Work on containers in threads, one errand at a time for each container.

    Nothing is queued: an errand that cannot begin now is not begun, and the next tick decides afresh.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, _Errand] = {}

    @property
    def lease_ids(self) -> frozenset[str]:
        """Leases whose container is being worked on."""
        return frozenset(errand.lease_id for errand in self._under_way.values())

    def begin(self, container_id: str, lease_id: str, work: Callable[[], str | None]) -> bool:
        """Begin an errand unless one for the container, or too many, are under way.

        Args:
            container_id: The container.
            lease_id: Its lease.
            work: What to do; returns what it did in words, None if there was nothing to do.
        """
        if container_id in self._under_way or len(self._under_way) >= MOST_AT_ONCE:
            return False
        name = f"gpuspawner-errand-{container_id[:12]}"
        self._under_way[container_id] = _Errand(lease_id, Pending(name, work))
        return True

    def collect(self, wait_seconds: float = 0.0) -> tuple[list[str], list[str]]:
        """Take the outcomes of the errands that have ended.

        Args:
            wait_seconds: How long to wait for those that have not.

        Returns:
            What was done, and what went wrong, in words.
        """
        deadline = time.monotonic() + wait_seconds
        done: list[str] = []
        problems: list[str] = []
        for container_id, errand in list(self._under_way.items()):
            try:
                outcome = errand.call.result(deadline)
            except TimeoutError:
                continue
            except GpuSpawnerError as error:
                problems.append(str(error))
            except Exception as error:
                problems.append(f"Container {container_id[:12]}: unexpected {type(error).__name__}: {error}")
            else:
                done += [outcome] if outcome else []
            del self._under_way[container_id]
        return done, problems


class PromptList:
    """The list of containers, given up on when it takes too long. A late answer is not used: it is old."""

    def __init__(self, engine: ContainerEngine, wait_seconds: float = LIST_WAIT_SECONDS) -> None:
        self._engine = engine
        self._wait_seconds = wait_seconds
        self._last: Pending[Sequence[Container]] | None = None

    def read(self) -> Sequence[Container]:
        """List the containers. Raises: EngineError."""
        if self._last is not None and self._last.hangs:
            raise EngineError("The Docker Engine still does not answer the request for its containers.")
        self._last = Pending("gpuspawner-list", self._engine.list_containers)
        try:
            return self._last.result(time.monotonic() + self._wait_seconds)
        except TimeoutError:
            raise EngineError(
                f"The Docker Engine did not list its containers within {self._wait_seconds:g} s."
            ) from None
