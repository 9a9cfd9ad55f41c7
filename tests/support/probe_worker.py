"""NVML's adapter in a process of its own, because the library it loads is chosen when a process starts."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.ports import ProbeReport


class RemoteProbe:
    """The port over a pipe.

    Args:
        environment: Added to this process's own; selects the library.
        timeout_seconds: As for ``NvmlProbe``.
        host: As for ``NvmlProbe``.
    """

    def __init__(self, environment: Mapping[str, str], timeout_seconds: float, host: str = "host") -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(timeout_seconds), host],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def look(self) -> ProbeReport:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(b"look\n")
        self._process.stdin.flush()
        report = pickle.load(self._process.stdout)
        assert isinstance(report, ProbeReport)
        return report

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    probe = NvmlProbe(sys.argv[2], timeout_seconds=float(sys.argv[1]))
    for _ in sys.stdin:
        pickle.dump(probe.look(), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
