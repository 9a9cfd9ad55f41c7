"""A host whose clock is set: some processes of an installation see another time, and may see it change."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from .installation import HOST, Installation

SOURCE = Path(__file__).with_suffix(".c")


class ShiftedClock:
    """Moves the clock.

    Args:
        folder: Where it is built.
    """

    def __init__(self, folder: Path) -> None:
        self._library, self._file = folder / "clock.so", folder / "shift"
        self._shift = timedelta(0)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        self.shift(timedelta(0))

    def shift(self, by: timedelta) -> None:
        """Set it to so much later than the true time."""
        self._shift = by
        partial = self._file.with_suffix(".new")
        partial.write_text(str(int(by.total_seconds())))
        partial.replace(self._file)

    @contextlib.contextmanager
    def seen_by(self, site: Installation, *names: str) -> Iterator[None]:
        """Let these processes, which are started anew, see it; afterwards they see the true time again."""
        usual = site.environment
        preload = {"LD_PRELOAD": str(self._library), "GPUSPAWNER_TEST_CLOCK": str(self._file)}
        with mock.patch.object(
            site, "environment", lambda name: usual(name) | (preload if name in names else {})
        ):
            site.restart(*names)
            try:
                yield
            finally:
                site.stop(*names)
        site.start(*names)

    def is_seen(self, site: Installation) -> bool:
        """Whether the cards were last reported by this clock."""
        now = datetime.now(UTC) + self._shift
        with site.ledger.read() as unit:
            seen = [record.seen_at for record in unit.inventory(HOST)]
        return all(abs(at - now) < timedelta(minutes=1) for at in seen)
