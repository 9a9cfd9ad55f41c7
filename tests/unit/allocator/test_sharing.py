"""Several threads that want the same share one round of work, and never an old one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from gpuspawner.allocator.sharing import Sharing


class Work:
    """Counts its rounds; each waits until it is let go on."""

    def __init__(self) -> None:
        self.rounds = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self) -> int:
        self.rounds += 1
        mine = self.rounds
        self.begun.release()
        assert self.go_on.acquire(timeout=10)
        return mine


def test_one_after_the_other_each_gets_a_new_result() -> None:
    numbers = iter(range(10))
    sharing = Sharing(lambda: next(numbers))
    assert [sharing.get(), sharing.get(), sharing.get()] == [0, 1, 2]


def test_who_comes_while_it_is_done_shares_the_next_round() -> None:
    work = Work()
    sharing = Sharing(work)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(sharing.get)
        assert work.begun.acquire(timeout=10)
        later = [pool.submit(sharing.get) for _ in range(5)]
        work.go_on.release()
        assert first.result(10) == 1
        assert work.begun.acquire(timeout=10)
        for _ in range(5):  # a thread that had not asked yet when the second began does a round of its own
            work.go_on.release()
        found = [one.result(10) for one in later]
    assert min(found) == 2, "a result of before they asked"
    assert work.rounds < 6, "nothing was shared"


def test_a_failure_is_its_own_thread_s_and_the_next_tries_again() -> None:
    results = iter([ValueError("away"), 2])

    def work() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    sharing = Sharing(work)
    with pytest.raises(ValueError, match="away"):
        sharing.get()
    assert sharing.get() == 2
