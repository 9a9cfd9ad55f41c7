"""One look is shared by those who asked before it began, and by nobody else."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from gpuspawner.controller.together import Together

LONG = 10.0


class Sight:
    """Something to look at; a look takes until it is let go on."""

    def __init__(self) -> None:
        self.there = "nothing"
        self.looks = 0
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def look(self) -> str:
        self.looks += 1
        seen = self.there
        self.begun.release()
        assert self.go_on.acquire(timeout=LONG)
        if seen == "broken":
            raise OSError(seen)
        return seen


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8)


def ask_until_waiting(pool: ThreadPoolExecutor, together: Together[str], count: int) -> list[Future[str]]:
    """So many ask while a look is under way, and are seen to have asked."""
    asked = threading.Semaphore(0)

    def ask() -> str:
        asked.release()
        return together()

    futures = [pool.submit(ask) for _ in range(count)]
    for _ in futures:
        assert asked.acquire(timeout=LONG)
    return futures


def test_who_asks_alone_looks_each_time(pool: ThreadPoolExecutor) -> None:
    sight = Sight()
    together = Together(sight.look)
    sight.go_on.release(2)
    assert together() == "nothing"
    sight.there = "ada"
    assert together() == "ada"


def test_nobody_is_shown_what_was_seen_before_they_asked(pool: ThreadPoolExecutor) -> None:
    sight = Sight()
    together = Together(sight.look)
    first = pool.submit(together)
    assert sight.begun.acquire(timeout=LONG)
    sight.there = "ada"
    later = ask_until_waiting(pool, together, 1)
    sight.go_on.release(2)
    assert first.result(LONG) == "nothing"
    assert [one.result(LONG) for one in later] == ["ada"]


def test_all_who_wait_share_the_next_look(pool: ThreadPoolExecutor) -> None:
    sight = Sight()
    together = Together(sight.look)
    first = pool.submit(together)
    assert sight.begun.acquire(timeout=LONG)
    others = ask_until_waiting(pool, together, 7)
    sight.go_on.release(8)
    assert {one.result(LONG) for one in [first, *others]} == {"nothing"}
    # A thread that was slow to ask may look for itself.
    assert 2 <= sight.looks < 8


def test_a_look_that_fails_is_not_shared(pool: ThreadPoolExecutor) -> None:
    sight = Sight()
    sight.there = "broken"
    together = Together(sight.look)
    sight.go_on.release(2)
    with pytest.raises(OSError, match="broken"):
        together()
    sight.there = "ada"
    assert together() == "ada"
