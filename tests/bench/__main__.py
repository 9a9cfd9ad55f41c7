"""``python -m tests.bench``: measure, print a table, write JSON; exit code 1 when a goal is missed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.support.installation import CHECKOUT

from .board import measure_board
from .calls import measure_api
from .contention import measure_ledger
from .decisions import measure_line
from .figures import Figure, spread, table
from .light import light_image
from .machine import describe
from .measure import measure_burst, measure_poll, measure_real_burst, measure_restart, measure_single
from .rules import measure_policy
from .sides import Pair, both_sides
from .ssh import measure_ssh
from .sweep import measure_sweep
from .threads import measure_threads
from .weeks import measure_weeks

ALONE: dict[str, Callable[[int], list[Figure]]] = {
    "line": measure_line,
    "ledger": measure_ledger,
    "policy": measure_policy,
    "api": measure_api,
    "week": measure_weeks,
    "board": measure_board,
    "sweep": measure_sweep,
    "ssh": measure_ssh,
}
"""Measured by themselves: no Docker, no other side."""
MEASUREMENTS: dict[str, Callable[[Pair, int], list[Figure]]] = {
    "single": measure_single,
    "burst": measure_burst,
    "poll": measure_poll,
    "restart": measure_restart,
}
MORE: dict[str, Callable[[Pair, int], list[Figure]]] = {
    "threads": measure_threads,
    "real-burst": measure_real_burst,
}
"""Measured only when asked for: they explain figures and have no goals."""
DEFAULT_JSON = CHECKOUT / ".gpuspawner" / "bench.json"

BUSY = 0.7
"""Load average from which the figures say as much about other programs."""


def main() -> int:
    arguments = _parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    machine = describe()
    if os.getloadavg()[0] > BUSY:
        print(f"Something else keeps this machine busy (load {os.getloadavg()[0]:.1f}).", file=sys.stderr)
    begin = time.monotonic()
    figures: list[Figure] = []
    names = arguments.only or [*ALONE, *MEASUREMENTS]
    for name in [name for name in names if name in ALONE]:
        figures += _show(name, lambda name=name: ALONE[name](arguments.repeats))  # type: ignore[misc]
    compared = {**MEASUREMENTS, **MORE}
    if not set(names) <= set(ALONE):
        with light_image() as light, both_sides(light) as pair:
            for name in [name for name in names if name in compared]:
                figures += _show(name, lambda name=name: compared[name](pair, arguments.repeats))  # type: ignore[misc]
    machine["minutes"] = f"{(time.monotonic() - begin) / 60:.1f}"
    _report(figures, machine, arguments.json, arguments.repeats)
    missed = [figure for figure in figures if figure.met is False]
    for figure in missed:
        print(f"Goal missed: {figure.what}: {figure.goal and figure.goal.text}", file=sys.stderr)
    return 1 if missed else 0


def _show(name: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """Measure, and tell of it at once."""
    print(f"{name} …", file=sys.stderr, flush=True)
    figures = measure()
    for figure in figures:
        compared = f", stock {spread(figure.stock, figure.unit)}, ratio {spread(figure.ratios)}"
        print(f"  {figure.what}: {spread(figure.ours, figure.unit)}{compared if figure.stock else ''}",
              file=sys.stderr, flush=True)  # fmt: skip
    return figures


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=[*ALONE, *MEASUREMENTS, *MORE], help="may be given several times"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help=f"default: {DEFAULT_JSON}")
    return parser.parse_args(words)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _report(figures: Sequence[Figure], machine: dict[str, str], path: Path, repeats: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "repeats": repeats, "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    print(f"Medians of {repeats} repeats, least and most in brackets. All values: {path}\n")
    print(table(figures))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; all that was made is removed.")
