"""Where measurements keep what they make: on the checkout's own disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.installation import CHECKOUT

BENCH_DIR = CHECKOUT / ".gpuspawner" / "bench"


@contextmanager
def make_folder() -> Iterator[Path]:
    """A folder for a ledger, removed in the end. /tmp may be in memory, where a flush costs nothing."""
    BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BENCH_DIR) as folder:
        yield Path(folder)
