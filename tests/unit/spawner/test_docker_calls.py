"""Calls of many containers at once, in order for each."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest
from gpuspawner.adapters.docker_calls import DockerCalls
from support.mock_hub import reached


@pytest.fixture
def calls() -> Iterator[DockerCalls]:
    calls = DockerCalls(4)
    yield calls
    calls.executor.shutdown()


class Held:
    """A call that hangs until it is let go."""

    def __init__(self, log: list[str], name: str) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self._log, self._name = log, name

    def __call__(self) -> str:
        self._log.append(f"{self._name} begins")
        self.reached.set()
        assert self.opened.wait(5)
        self._log.append(f"{self._name} ends")
        return self._name


async def test_value_and_error(calls: DockerCalls) -> None:
    assert await calls.run("a", lambda x, y: x + y, 1, y=2) == 3
    with pytest.raises(ZeroDivisionError):
        await calls.run("a", lambda: 1 // 0)
    assert await calls.run("a", lambda: "free again") == "free again"


async def test_cancelled_waiter_goes_and_the_call_keeps_its_turn(calls: DockerCalls) -> None:
    log: list[str] = []
    first = Held(log, "first")
    waiter = asyncio.ensure_future(calls.run("a", first))
    await reached(first.reached)
    waiter.cancel()
    await asyncio.wait([waiter], timeout=1)
    assert waiter.cancelled()
    gc.collect()  # the lock is known only weakly
    second = asyncio.ensure_future(calls.run("a", log.append, "second"))
    await asyncio.sleep(0.02)
    assert log == ["first begins"]
    assert await calls.run("b", lambda: "another container") == "another container"
    first.opened.set()
    await second
    assert log == ["first begins", "first ends", "second"]


async def test_cancelled_in_the_queue_is_never_called(calls: DockerCalls) -> None:
    log: list[str] = []
    first = Held(log, "first")
    running = asyncio.ensure_future(calls.run("a", first))
    await reached(first.reached)
    waiting = asyncio.ensure_future(calls.run("a", log.append, "never"))
    await asyncio.sleep(0)
    waiting.cancel()
    first.opened.set()
    await asyncio.wait([running, waiting])
    await calls.run("a", log.append, "last")
    assert log == ["first begins", "first ends", "last"]


async def test_error_of_a_call_that_nobody_waits_for_is_quiet(
    calls: DockerCalls, caplog: pytest.LogCaptureFixture
) -> None:
    entered, opened = threading.Event(), threading.Event()

    def fail() -> None:
        entered.set()
        assert opened.wait(5)
        raise ValueError

    waiter = asyncio.ensure_future(calls.run("a", fail))
    await reached(entered)
    waiter.cancel()
    await asyncio.wait([waiter])
    opened.set()
    await calls.run("a", lambda: None)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_locks_do_not_pile_up(calls: DockerCalls) -> None:
    for n in range(50):
        await calls.run(f"container{n}", lambda: None)
    await asyncio.sleep(0)
    gc.collect()
    assert len(calls._locks) <= 1


async def test_closed_pool_keeps_no_lock(calls: DockerCalls) -> None:
    calls.executor.shutdown()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(calls.run("a", lambda: None), 1)
