"""Docker calls of many people at once, none of them in another's way.

DockerSpawner runs every call of every user through one thread: a stop that takes ten seconds holds up
everybody's poll. A plain pool would be wrong too: when a spawn is cancelled while ``docker start`` runs, the
clean-up overtakes the call, finds nothing, and leaves a container that nobody knows. So there is a pool, and
one lock per container that is held until the real call has ended, whatever became of the one who waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

__all__ = ["ENGINE_FAILURES", "DockerCalls", "NotFound"]

ENGINE_FAILURES = (DockerException, RequestException)
"""What docker-py raises when the Engine refuses or does not answer."""

P = ParamSpec("P")
T = TypeVar("T")


class DockerCalls:
    """A pool of threads for blocking calls, in order for each container and independent otherwise.

    Args:
        threads: The most calls under way at once. A hanging Engine call occupies one until it times out.
    """

    def __init__(self, threads: int) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, container: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, after every earlier call for the same container has really ended.

        A waiter that is cancelled goes away at once; the call it made goes on, and so does its lock.
        """
        lock = self._locks.setdefault(container, asyncio.Lock())
        await lock.acquire()
        try:
            call = asyncio.wrap_future(self.executor.submit(function, *args, **kwargs))
        except BaseException:
            lock.release()
            raise

        def end(done: asyncio.Future[T]) -> None:
            lock.release()
            if not done.cancelled():
                done.exception()  # marks it as seen, for a waiter that has gone

        call.add_done_callback(end)
        return await asyncio.shield(call)
