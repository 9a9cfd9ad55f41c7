"""Amounts in words for people, always with a unit."""

from __future__ import annotations

from datetime import timedelta

_KIBIBYTE = 1024


def describe_duration(duration: timedelta) -> str:
    """A length of time in the largest unit that leaves it readable: ``95 s``, ``3 min``, ``5 h``, ``3 d``."""
    seconds = round(duration.total_seconds())
    if seconds < 180:
        return f"{seconds} s"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h" if seconds < 2 * 86400 else f"{seconds // 86400} d"


def describe_bytes(amount: int) -> str:
    """An amount of memory in the largest unit that keeps it above 1: ``128 MiB``, ``1.5 GiB``."""
    value = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIBIBYTE:
            return f"{value:.4g} {unit}"
        value /= _KIBIBYTE
    return f"{value:.4g} TiB"
