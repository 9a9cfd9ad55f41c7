"""Starting the processes of an installation together, and ending them together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuspawner.core.errors import GpuSpawnerError

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 20
"""How long a process may take to end before it is killed."""


class ProcessFailed(GpuSpawnerError):
    """One of the processes ended, or did not come up."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was started, and where it writes."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def last_words(self) -> str:
        """The last lines of its log."""
        with self.log.open(errors="replace") as lines:
            return "".join(deque(lines, 15))


def start(name: str, command: Sequence[str], *, log_dir: Path, environment: Mapping[str, str]) -> Process:
    """Start a process that ends when this one does, even if this one is killed.

    It gets a session of its own, so that a Ctrl-C in the terminal reaches only this process, which then ends
    the others in order.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    log = log_dir / f"{name}.log"
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other thread runs here
        )
    return Process(name, popen, log)


def require_alive(processes: Sequence[Process]) -> None:
    """Check that none has ended.

    Raises:
        ProcessFailed: One has; with its last words and the path of its log.
    """
    for process in processes:
        code = process.popen.poll()
        if code is not None:
            raise ProcessFailed(
                f"The {process.name} ended with code {code}. Its log is {process.log}; its last lines:\n"
                f"{process.last_words}"
            )


def wait_until(ready: Callable[[], bool], processes: Sequence[Process], *, what: str, seconds: float) -> None:
    """Wait for a condition while all processes live.

    Raises:
        ProcessFailed: A process ended, or the time is up.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        require_alive(processes)
        if time.monotonic() > deadline:
            raise ProcessFailed(
                f"{what} did not happen within {seconds:.0f} s. Logs are in {processes[0].log.parent}."
            )
        time.sleep(0.2)


def end(process: Process) -> None:
    """Ask a process to end, and kill it if it does not."""
    if process.popen.poll() is None:
        process.popen.terminate()
        try:
            process.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
