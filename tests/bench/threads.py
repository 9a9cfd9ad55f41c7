"""The burst with several numbers of Docker calls under way: what bounds it."""

from __future__ import annotations

from typing import Any

from .figures import Figure
from .measure import burst
from .sides import LIGHT, PEOPLE, Pair

THREADS = (2, 4, 8, 16, 32)


def measure_threads(pair: Pair, repeats: int) -> list[Figure]:
    """Starts per second of a burst by ``docker_threads``."""
    rates: dict[int, list[float]] = {threads: [] for threads in THREADS}
    notes: dict[int, list[Any]] = {threads: [] for threads in THREADS}
    side = pair.ours
    for _ in range(repeats):
        for threads in THREADS:
            with pair.only(side):
                side.reconfigure(f"c.GPUSpawner.docker_threads = {threads}")
                rate, note = burst(side, LIGHT)
                rates[threads].append(rate)
                notes[threads].append(note)
                side.stop_servers(PEOPLE)
    with pair.only(side):
        side.reconfigure("")
    return [
        Figure(
            f"threads-{threads}", f"Burst with docker_threads = {threads}: starts per second", "/s",
            rates[threads], notes={"ours": notes[threads]},
        )
        for threads in THREADS
    ]  # fmt: skip
