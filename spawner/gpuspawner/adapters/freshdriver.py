"""What a new process would find of the driver.

A process goes on with the NVML library that it loaded, and sees nothing of an upgrade of the driver. The
programs in new containers get the new library, and fail. So a new process is asked now and then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from gpuspawner.ports import GpuProbe, ProbeReport

ASK_EVERY_SECONDS = 30.0
ANSWER_WITHIN_SECONDS = 20.0
_LIBRARY_MISMATCH = 18
"""NVML's error, and the exit status with which it is told."""
_PROGRAM = """
import sys
import pynvml
try:
    pynvml.nvmlInit()
except pynvml.NVMLError as error:
    sys.exit(error.value if error.value == 18 else 1)
"""


class Asked(Protocol):
    """A process that was started; ``subprocess.Popen`` is one."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def kill(self) -> None:
        """End it."""


def ask_new_process(environment: Mapping[str, str] | None = None) -> Asked:
    """Start a process that loads NVML, and do not wait for it: 18 is its status when the driver was replaced.

    Args:
        environment: Added to this process's own.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class FreshDriver:
    """A probe that also knows whether the driver was upgraded since its own process began.

    Only a clear answer counts: a process that fails otherwise, or hangs, says nothing, and what it would find
    the probe finds by itself.

    Args:
        probe: Looks at the cards.
        ask: Starts a process that loads NVML.
        clock: Seconds, never set back.
    """

    def __init__(
        self,
        probe: GpuProbe,
        ask: Callable[[], Asked] = ask_new_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._ask = ask
        self._clock = clock
        self._asked: Asked | None = None
        self._asked_at = clock()
        self._replaced = False

    def look(self) -> ProbeReport:
        """Look at every device; see :class:`gpuspawner.ports.GpuProbe`. Asking takes no time."""
        self._hear()
        if self._asked is None and self._clock() - self._asked_at >= ASK_EVERY_SECONDS:
            self._begin()
        report = self._probe.look()
        return replace(report, driver_replaced=report.driver_replaced or self._replaced)

    def _begin(self) -> None:
        self._asked_at = self._clock()
        try:
            self._asked = self._ask()
        except OSError:  # no process or memory is left: nothing is known anew
            self._asked = None

    def _hear(self) -> None:
        if self._asked is None:
            return
        status = self._asked.poll()
        if status is None:
            if self._clock() - self._asked_at > ANSWER_WITHIN_SECONDS:
                self._asked.kill()  # one that cannot be ended stays the only one
            return
        self._asked = None
        if status in (0, _LIBRARY_MISMATCH):
            self._replaced = status == _LIBRARY_MISMATCH
