"""The policy at full size: 50 groups, 20 courses, 500 people with an entry each."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpuspawner.core.policy import resolve_allowance
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.policyfile import PolicyFile

from .crowd import FULL, Crowd, make_crowd
from .figures import Figure, Goal, median, percentile
from .places import make_folder

IMAGES = [f"image{n}" for n in range(4)]
PER_PERSON = Goal("p99 < 10 ms", lambda value: value < 10, of="ours")


def measure_policy(repeats: int) -> list[Figure]:
    """Resolve, and read, a policy."""
    with make_folder() as folder:
        file = folder / "policy.yml"
        crowd = make_crowd(FULL, file)
        kept = PolicyFile(file, images=IMAGES)
        kept.current()
        return [
            Figure(
                "allowance", "What one of 500 people may use, 50 groups, p99", "ms",
                [percentile(_resolve(crowd), 0.99) for _ in range(repeats)], goal=PER_PERSON,
            ),
            Figure(
                "policy-read", "Reading a policy of 50 groups, 500 people, 20 courses", "ms",
                [_milliseconds(lambda: load_policy(file, images=IMAGES)) for _ in range(repeats)],
            ),
            Figure(
                "policy-look", "Looking whether its file has changed, p50", "ms",
                [median([_milliseconds(kept.current) for _ in range(200)]) for _ in range(repeats)],
            ),
        ]  # fmt: skip


def _resolve(crowd: Crowd) -> list[float]:
    return [
        _milliseconds(lambda name=name, groups=groups: resolve_allowance(crowd.policy, name, groups))  # type: ignore[misc]
        for name, groups in crowd.groups_of.items()
    ]


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)
