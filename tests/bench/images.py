"""What the images weigh and how soon they are of use, as the tables of docs/images.md.

    python -m tests.bench.images                 every image that is built
    python -m tests.bench.images pytorch-2.9     that one

Sizes are the Engine's. Times are from the order to start a container until JupyterLab's health check passes,
and until a cell with the image's slowest import has run in a new kernel.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from gpuspawner.setup.builds import image_exists
from gpuspawner.setup.images import ImageEntry, load_catalogue

from tests.support.sessions import Session, empty_home, engine

from .figures import median
from .machine import describe

REPEATS = 5
MIB = 2**20
KINDS = {
    "apt-get": "Debian packages",
    "/run/requirements.lock": "Python packages",
    "/run/editor": "VS Code",
    "/run/session": "gpuspawner-session",
    "Imported from": "Debian",
}
"""What is in the command that made a layer → what the layer is."""


def main() -> None:
    """Print the tables."""
    present = [one for one in load_catalogue() if image_exists(one.reference)]
    wanted = sys.argv[1:]
    chosen = [one for one in present if one.offered and (not wanted or one.name in wanted)]
    print(describe())
    _print_sizes(present, chosen)
    print("\n| image | healthy after | first cell done after | the first time | the cell |\n|" + " --- |" * 5)
    for one in chosen:
        cell = "import torch" if one.on_demand else "import pandas" if "science" in one.chain else "print()"
        healthy, done = zip(*(_time(one, cell) for _ in range(REPEATS)), strict=True)
        print(
            f"| `{one.name}` | {median(healthy):.1f} s | {median(done):.1f} s | {done[0]:.1f} s | `{cell}` |",
            flush=True,
        )


def _time(entry: ImageEntry, cell: str) -> tuple[float, float]:
    """Seconds from the order to start until JupyterLab is healthy, and until the first cell is done."""
    started = time.monotonic()
    with Session(entry, **empty_home(1000)) as session:
        assert session.health() == "healthy", session.log
        healthy = time.monotonic() - started
        session.run_cell(cell)
        return healthy, time.monotonic() - started


def _print_sizes(present: Sequence[ImageEntry], chosen: Sequence[ImageEntry]) -> None:
    histories = {one.name: _list_layers(one) for one in present}
    print("\n| layer | of | size | in |\n| --- | --- | --- | --- |")
    seen: set[tuple[Any, ...]] = set()
    for one in present:
        for layer in histories[one.name]:
            having = [other.name for other in chosen if layer in histories[other.name]]
            if layer not in seen and having and layer[2] > MIB:
                kind = next((text for mark, text in KINDS.items() if mark in layer[1]), layer[1][:60])
                print(f"| {kind} | `{one.name}` | {layer[2] / MIB:,.0f} MiB | {', '.join(having)} |")
            seen.add(layer)
    print("\n| image | size | only in it |\n| --- | --- | --- |")
    for one in chosen:
        others = {layer for other in chosen if other is not one for layer in histories[other.name]}
        size = sum(layer[2] for layer in histories[one.name])
        own = sum(layer[2] for layer in histories[one.name] if layer not in others)
        print(f"| `{one.name}` | {size / MIB:,.0f} MiB | {own / MIB:,.0f} MiB |")


def _list_layers(entry: ImageEntry) -> list[tuple[Any, ...]]:
    """The steps that made an image, first ones first: when, by which command, bytes."""
    history = engine().images.get(entry.reference).history()
    steps = [(one["Created"], one["CreatedBy"] or one["Comment"], one["Size"]) for one in history]
    return steps[::-1]


if __name__ == "__main__":
    main()
