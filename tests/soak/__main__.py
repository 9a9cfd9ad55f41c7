"""``python -m tests.soak``: run the state machine at random; exit code 1, and the example, if it fails."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.machine.rules import HITS, SEEN, TOLD, Machine

STEPS_OF_A_RUN = 50
RUNS_AT_ONCE = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="how many (100,000)")
    parser.add_argument("--seed", type=int, default=None, help="of the first hundred runs")
    parser.add_argument("--no-shrink", action="store_true", help="show the first failure as it was found")
    arguments = parser.parse_args()
    began = time.monotonic()
    number = secrets.randbits(32) if arguments.seed is None else arguments.seed
    phases = [Phase.generate] if arguments.no_shrink else [Phase.generate, Phase.shrink]
    while (left := arguments.steps - sum(HITS.values())) > 0:
        runs = min(RUNS_AT_ONCE, -(-left // STEPS_OF_A_RUN))
        print(f"seed {number}: {runs} runs", flush=True)
        try:
            run(number, runs, phases)
        except BaseException:
            print(f"failed; again with: python -m tests.soak --seed {number}", flush=True)
            raise
        number += 1
    report(time.monotonic() - began)
    return 0


def run(number: int, runs: int, phases: list[Phase]) -> None:
    """So many runs of the machine. Raises whatever it finds."""

    @seed(number)
    class Seeded(Machine):
        pass

    chosen = settings(
        max_examples=runs,
        stateful_step_count=STEPS_OF_A_RUN,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Seeded, settings=chosen)


def report(seconds: float) -> None:
    """Print how much was done, and how often each rule was applied."""
    steps = sum(HITS.values())
    print(f"{steps} steps in {seconds:.0f} s ({steps / seconds:.0f} a second)")
    for name, times in HITS.most_common():
        print(f"  {times:7} {name}")
    print("after each step there were on average")
    for name, times in SEEN.most_common():
        print(f"  {times / steps:7.3f} {name}")
    print("in the audit trails there were")
    for name, times in TOLD.most_common():
        print(f"  {times:7} {name}")


if __name__ == "__main__":
    sys.exit(main())
