"""NVML's errors: what they mean for us, and in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gpuspawner.core.health import DRIVER_REPLACED
from gpuspawner.core.words import mark

T = TypeVar("T")

UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE = 1, 2, 3, 6, 7
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 12, 13
GPU_IS_LOST, RESET_REQUIRED, LIBRARY_MISMATCH, NO_DATA = 15, 16, 18, 21

DRIVER_GONE = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_MISMATCH})
"""The connection to the driver is of no use any more; the next look makes a new one."""
NOT_OFFERED = frozenset({NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND, NO_DATA})
"""The card or driver does not have the figure: unknown, and nothing is wrong."""

_WORDS = {
    UNINITIALIZED: mark("the connection to the driver was lost"),
    NOT_SUPPORTED: mark("not supported"),
    DRIVER_NOT_LOADED: mark("the NVIDIA driver is not loaded"),
    LIBRARY_NOT_FOUND: mark("the NVIDIA driver's library libnvidia-ml.so.1 was not found"),
    FUNCTION_NOT_FOUND: mark("the driver is too old for it"),
    LIBRARY_MISMATCH: DRIVER_REPLACED,
}


def ignore(nvml: Any, function: Callable[[], T]) -> T | None:
    """Call NVML; None when it fails, whatever the reason."""
    try:
        return function()
    except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
        return None


def explain(error: Exception) -> str:
    """NVML's error in words."""
    code: int | None = getattr(error, "value", None)
    if code is None:
        return mark("the driver and the Python package nvidia-ml-py do not fit together; update nvidia-ml-py")
    return _WORDS.get(code) or mark(f"the driver says: {error} (NVML error {code})")
