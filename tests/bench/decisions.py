"""The line at full size: one decision, one tick of the controller, and how both grow."""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.line import Line
from gpuspawner.core.line import plan_line

from .crowd import FULL, HOST, LARGE, NOW, STALE_AFTER, Size, make_crowd
from .figures import Figure, Goal, percentile
from .places import make_folder

SEEDS = 10
"""So many different situations; some have free devices that a head of the line waits for, which cost most."""
RUNS = 20
"""Decisions of each situation in a repeat."""
NOTHING_FREE = 0.97
GROWTH = [Size(n * 62 + n // 2, n * 625, n * 312) for n in (1, 2, 4, 8, 16)]
"""In proportion, up to about a thousand devices and ten thousand tickets; the reservations stay the same."""
DECISION = Goal("p99 < 10 ms", lambda value: value < 10, of="ours")
TICK = Goal("p99 < 250 ms", lambda value: value < 250, of="ours")
GROWTH_GOAL = Goal("≤ 1.1", lambda value: value <= 1.1, of="ours")
"""The exponent of n log n. A tenth is what two runs on a busy machine differ by."""


def measure_line(repeats: int) -> list[Figure]:
    """Decisions and ticks."""
    return [
        *_decisions(
            "decision", "Decision, 64 devices and 1,000 tickets", FULL, repeats, runs=RUNS, goal=DECISION
        ),
        *_decisions("decision-large", "Decision, 1,000 devices and 10,000 tickets", LARGE, repeats, runs=2),
        *_ticks("tick", "Tick, 64 devices and 1,000 tickets", FULL, repeats, TICK),
        *_ticks("tick-large", "Tick, 1,000 devices and 10,000 tickets", LARGE, min(repeats, 2)),
        *_growth(repeats),
    ]


def _decisions(
    name: str, what: str, size: Size, repeats: int, *, runs: int, goal: Goal | None = None
) -> list[Figure]:
    seconds: list[list[float]] = [[] for _ in range(repeats)]
    cpu: list[list[float]] = [[] for _ in range(repeats)]
    grants = []
    with make_folder() as folder:
        for seed in range(SEEDS if size is FULL else 3):
            situation = make_crowd(replace(size, seed=seed), folder / "policy.yml").situation()
            grants.append(len(plan_line(situation).grants))
            with _swept():
                for repeat in range(repeats):
                    for _ in range(runs):
                        begin, used = time.perf_counter(), time.thread_time()
                        plan_line(situation)
                        cpu[repeat].append(1000 * (time.thread_time() - used))
                        seconds[repeat].append(1000 * (time.perf_counter() - begin))
    notes = {"grants of each situation": grants}
    p50 = [percentile(all_, 0.5) for all_ in seconds]
    if goal is None:
        return [Figure(f"{name}-p50", f"{what}, p50", "ms", p50, notes=notes)]
    p99 = [percentile(all_, 0.99) for all_ in seconds]
    return [
        Figure(f"{name}-p99", f"{what}, p99", "ms", p99, goal=goal, notes=notes),
        Figure(f"{name}-cpu-p99", "The same, time on the processor, p99", "ms",
               [percentile(one, 0.99) for one in cpu]),
        Figure(f"{name}-p50", "The same, p50", "ms", p50),
    ]  # fmt: skip


def _ticks(name: str, what: str, size: Size, repeats: int, goal: Goal | None = None) -> list[Figure]:
    """The line's part of a tick: grant, look after the turns, and what a page then reads."""
    idle = _tick_seconds(replace(size, held=NOTHING_FREE), repeats, 25 if size is FULL else 3)
    granting = _tick_seconds(size, repeats, 25 if size is FULL else 3, anew=True)
    parts = [("idle", f"{what}, nothing granted", idle), ("grant", f"{what}, several granted", granting)]
    share, word = (0.99, "p99") if goal else (0.5, "p50")
    return [
        Figure(f"{name}-{part}-{word}", f"{text}, {word}", "ms", [percentile(one, share) for one in found],
               goal=goal, notes={"p50 ms": [percentile(one, 0.5) for one in found]})
        for part, text, found in parts
    ]  # fmt: skip


def _tick_seconds(size: Size, repeats: int, ticks: int, *, anew: bool = False) -> list[list[float]]:
    """Milliseconds of each tick, by repeat; ``anew``: each on a ledger as it was at first."""
    found: list[list[float]] = []
    with make_folder() as folder:
        make_crowd(size, folder / "policy.yml").store(folder / "first.db").close()
        for _ in range(repeats):
            found.append([])
            for _ in range(ticks if anew else 1):
                path = Path(shutil.copy(folder / "first.db", folder / "ledger.db"))
                ledger = Ledger(path)
                line = Line(ledger, HOST, STALE_AFTER, clock=lambda: NOW)
                with ledger.read(), _swept():  # the connection is open
                    pass
                for _ in range(1 if anew else ticks):
                    begin = time.perf_counter()
                    granted = line.grant_turns()
                    turns = line.turns()
                    view = line.view()
                    found[-1].append(1000 * (time.perf_counter() - begin))
                    assert bool(granted) == anew == bool(turns), f"{len(granted)} granted"
                    assert len(view.places) == size.tickets
                ledger.close()
    return found


def _growth(repeats: int) -> list[Figure]:
    """The exponent ``e`` in ``time = c (n log n) ** e``, by least squares over five sizes."""
    decision: dict[int, list[float]] = {}
    for size in GROWTH:
        decision[size.tickets] = [_best(size, seed, 2 * repeats) for seed in range(3)]
    times = {n: sum(best) / len(best) for n, best in decision.items()}
    rows = {
        f"{size.devices} devices, {size.tickets} tickets": {
            "ms": round(times[size.tickets], 2),
            "ns for each n log n": round(1e6 * times[size.tickets] / _n_log_n(size.tickets), 1),
        }
        for size in GROWTH
    }
    what = "Growth of a decision with its size: exponent of n log n"
    exponents = [
        _fit([(n, best[seed]) for n, best in decision.items()]) for seed in range(3)
    ]  # of each situation
    return [Figure("growth", what, "", exponents, goal=GROWTH_GOAL, notes={"by size": rows})]


def _best(size: Size, seed: int, runs: int) -> float:
    with make_folder() as folder:
        situation = make_crowd(replace(size, seed=seed), folder / "policy.yml").situation()
    with _swept():
        return min(_milliseconds(lambda: plan_line(situation)) for _ in range(runs))


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)


def _n_log_n(n: int) -> float:
    return n * math.log2(n)


def _fit(points: list[tuple[int, float]]) -> float:
    pairs = [(math.log(_n_log_n(n)), math.log(value)) for n, value in points]
    middle_x, middle_y = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    covariance = sum((x - middle_x) * (y - middle_y) for x, y in pairs)
    return covariance / sum((x - middle_x) ** 2 for x, _ in pairs)


@contextmanager
def _swept() -> Iterator[None]:
    """What the measurement itself has made is not looked through by the collector meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
