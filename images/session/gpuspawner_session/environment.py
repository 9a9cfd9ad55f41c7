"""What makes a run repeatable and must stand in the environment before Python or torch begins."""

from __future__ import annotations

import os
import platform
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SEED = 20260101
"""Of everything that is drawn at random."""

EVERYWHERE = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # The order of sums in a product of matrices depends on the instructions used. With these three the
    # same image gives the same result on processors of different age.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    # Both are read when CUDA starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "NVIDIA_TF32_OVERRIDE": "0",
}
"""The variables, also on a GPU: there the host's part of the work is done on the processor too."""

NEEDED_FLAGS = ("avx2", "fma")
"""What the processor must be able to do, as Linux names it."""
CPU_KEY = "cpu-avx2"
"""The architecture of a run without a GPU."""


def find_missing(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that have another value, with the value that they need."""
    return {name: value for name, value in EVERYWHERE.items() if environ.get(name) != value}


def restart(arguments: Sequence[str]) -> None:
    """Become the same command in a process with the right environment; returns when it is right already.

    The new process does not look at what the person installed for themselves (``-s``): what is checked is the
    image. That is left where this package itself is among it, as on a laptop.
    """
    missing = find_missing(os.environ)
    own = Path(__file__).is_relative_to(site.getusersitepackages())
    if not missing and (own or sys.flags.no_user_site):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    alone = [] if own else ["-s"]
    command = [sys.executable, *alone, "-P", "-m", "gpuspawner_session", *arguments]
    os.execve(sys.executable, command, {**os.environ, **missing})  # noqa: S606 - no shell is wanted


def why_no_avx2(machine: str, cpuinfo: str) -> str | None:
    """Say why runs on this processor cannot be compared with ``cpu-avx2``; None when they can.

    Args:
        machine: The kind of processor, such as ``x86_64``.
        cpuinfo: The text of ``/proc/cpuinfo``.
    """
    if machine not in ("x86_64", "AMD64"):
        return (
            f"This processor is of the kind {machine}; runs without a GPU are compared on x86_64 with AVX2."
        )
    lines = [line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith("flags")]
    if not lines:
        return "What this processor can do is not known: /proc/cpuinfo names no flags."
    lacking = [flag for flag in NEEDED_FLAGS if any(flag not in flags for flags in lines)]
    if lacking:
        return (
            f"This processor lacks {' and '.join(flag.upper() for flag in lacking)}; "
            f"runs without a GPU are compared on x86_64 with AVX2."
        )
    return None


def read_processor() -> tuple[str | None, str]:
    """Why runs on this machine's processor cannot be compared, or None; and its name, for people."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return why_no_avx2(platform.machine(), text), names[0] if names else platform.machine()
