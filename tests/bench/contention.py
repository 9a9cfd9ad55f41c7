"""The ledger under contention: several processes reserve and release at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator
from gpuspawner.core.errors import Refused
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Lease, LeaseState, SpawnRequest
from gpuspawner.core.policy import allow

from .crowd import FULL, HOST, NOW, STALE_AFTER, Size, make_crowd
from .figures import Figure, Goal, median, percentile
from .places import make_folder

PROCESSES = 8
LIMITS = allow(8, 64, longest_session=timedelta(hours=12))
"""Of everybody, as in the crowd's policy."""
ROUNDS = 40
"""Reservations of each process in one repeat."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What one process measured, in seconds."""

    reserve: list[float]
    release: list[float]
    refused: list[int]
    """Rounds in which there was nothing free."""


def measure_ledger(repeats: int) -> list[Figure]:
    """Reserve and release from eight processes.

    With the pause, that is 35 starts a second and three transactions for each: more than a hub comes to,
    since each of them also starts a container. Without, the ledger is never idle, and who comes last waits
    for seven others.
    """
    empty, full = replace(FULL, tickets=0, held=0), replace(FULL, tickets=1000)
    goal = Goal("p99 < 20 ms", lambda value: value < 20, of="ours")
    return [
        *_contended("ledger", "Reserve, 8 processes at once", empty, repeats, pause=0.1, goal=goal),
        *_contended("ledger-saturated", "The same without a pause", empty, repeats, pause=0.0),
        *_contended("ledger-line", "The same with 1,000 tickets in line", full, repeats, pause=0.5),
        _alone("ledger-alone", "Reserve, one process", empty, repeats),
        _alone("ledger-alone-line", "The same with 1,000 tickets in line", full, repeats),
        _flushes(repeats),
    ]


def _contended(
    name: str, what: str, size: Size, repeats: int, *, pause: float, goal: Goal | None = None
) -> list[Figure]:
    p99: list[float] = []
    p50: list[float] = []
    rates: list[float] = []
    notes: dict[str, Any] = {"max ms": [], "release p50 ms": [], "refused": []}
    with _ledger(size) as path:
        for _ in range(repeats):
            begin = time.perf_counter()
            rounds = _run_processes(path, pause)
            seconds = time.perf_counter() - begin
            reserve = [value for one in rounds for value in one.reserve]
            p99.append(1000 * percentile(reserve, 0.99))
            p50.append(1000 * percentile(reserve, 0.5))
            rates.append(2 * len(reserve) / seconds)
            notes["max ms"].append(round(1000 * max(reserve), 1))
            released = [1000 * value for one in rounds for value in one.release]
            notes["release p50 ms"].append(round(median(released), 1) if released else None)
            notes["refused"].append(sum(len(one.refused) for one in rounds))
    return [
        Figure(f"{name}-p99", f"{what}, p99", "ms", p99, goal=goal, notes=notes),
        Figure(f"{name}-p50", f"{what}, p50", "ms", p50, notes={"transactions per second": rates}),
    ]


def _alone(name: str, what: str, size: Size, repeats: int) -> Figure:
    values = []
    with _ledger(size) as path, _Worker(path, 0) as worker:
        for _ in range(repeats):
            values.append(1000 * median(worker.work(0.0, ROUNDS).reserve))
    return Figure(f"{name}-p50", f"{what}, p50", "ms", values)


def _flushes(repeats: int) -> Figure:
    """What the disk itself takes: one page appended to a file and flushed, as a commit does it."""
    values = []
    with make_folder() as folder, (folder / "pages").open("wb", buffering=0) as file:
        for _ in range(repeats):
            seconds = []
            for _ in range(100):
                begin = time.perf_counter()
                file.write(bytes(8192))
                os.fdatasync(file.fileno())
                seconds.append(time.perf_counter() - begin)
            values.append(1000 * median(seconds))
    return Figure("ledger-flush", "Of a transaction, one flush to this disk, p50", "ms", values)


@contextmanager
def _ledger(size: Size) -> Iterator[Path]:
    with make_folder() as folder:
        path = folder / "ledger.db"
        make_crowd(size, folder / "policy.yml").store(path).close()
        yield path


def _run_processes(path: Path, pause: float) -> list[_Round]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, _begin, (barrier,)) as pool:
        work = [pool.apply_async(_meet_and_work, (path, number, pause)) for number in range(PROCESSES)]
        return [one.get(300) for one in work]


_barrier: Any = None


def _begin(barrier: Any) -> None:
    global _barrier  # noqa: PLW0603 - a pool hands a barrier to its processes in no other way
    _barrier = barrier


def _meet_and_work(path: Path, number: int, pause: float) -> _Round:
    with _Worker(path, number) as worker:
        worker.work(0.0, 2)  # connections are open and statements compiled, as in a hub that runs
        _barrier.wait(60)
        return worker.work(pause, ROUNDS if pause < 0.5 else ROUNDS // 2)


class _Worker:
    """Reserves a device and lets go of it, over and over; each worker is another person."""

    def __init__(self, path: Path, number: int) -> None:
        self._ledger = Ledger(path)
        self._allocator = Allocator(self._ledger, HOST, LIMITS, STALE_AFTER, clock=lambda: NOW)
        self._number = number
        self._turn = 0
        self._chance = random.Random(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ledger.close()

    def work(self, pause: float, rounds: int) -> _Round:
        """So many times, with a pause of this many seconds on average before each step."""
        done = _Round([], [], [])
        for _ in range(rounds):
            self._turn += 1
            time.sleep(self._chance.uniform(0, 2 * pause))
            begin = time.perf_counter()
            lease = self._reserve()
            done.reserve.append(time.perf_counter() - begin)
            if lease is None:
                done.refused.append(self._turn)
                continue
            time.sleep(self._chance.uniform(0, 2 * pause))
            begin = time.perf_counter()
            self._allocator.request_release(lease.id, reason="measured", actor="bench")
            done.release.append(time.perf_counter() - begin)
            self._prove_free(lease.id)
        return done

    def _reserve(self) -> Lease | None:
        server, owner = f"s{self._turn}", f"starter{self._number}"
        try:
            return self._allocator.reserve(
                SpawnRequest(1), owner=owner, server=server, claimant="run1", image="image"
            )
        except Refused:
            return None

    def _prove_free(self, lease_id: str) -> None:
        """What the agent does."""
        with self._ledger.write() as unit:
            lease = unit.lease(lease_id)
            assert lease is not None
            later = NOW + timedelta(seconds=1)
            unit.update_lease(step(lease, LeaseState.RELEASED, now=later, reason="proved free"))
