"""Amounts as people write them: ``8 h``, ``1 h 30 min``, ``16G``, ``25 %``; and back again.

Every reader takes what YAML made of the text and raises ``ValueError`` with what is right. ``unlimited``, and
for lists ``all``, is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from gpuspawner.core.words import mark

T = TypeVar("T")

UNLIMITED = "unlimited"
ALL = "all"

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NUMBER = r"(\d+(?:\.\d+)?)"
_PART = re.compile(rf"{_NUMBER}\s*(s|min|h|d|w)\s*")
_AMOUNT = re.compile(rf"{_NUMBER}\s*([KMGT])(?:i?B)?")
_PERCENT = re.compile(rf"{_NUMBER}\s*%")
_LONGEST = timedelta(days=3650)


def or_unlimited(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """Make a reader take ``unlimited`` as well."""

    def read_either(value: object) -> T | None:
        if value == UNLIMITED:
            return None
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(mark(f"{error}, or {UNLIMITED}")) from None

    return read_either


def or_none(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """Make a reader pass nothing on."""
    return lambda value: None if value is None else read(value)


def or_zero(read: Callable[[object], timedelta]) -> Callable[[object], timedelta]:
    """Make a reader of times take 0 as well."""

    def read_either(value: object) -> timedelta:
        if type(value) is int and value == 0:
            return timedelta(0)
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(f"{error}, or 0") from None

    return read_either


def read_capability(value: object) -> tuple[int, int]:
    """A compute capability, as (major, minor)."""
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", value.strip()) if isinstance(value, str) else None
    if found:
        return int(found[1]), int(found[2])
    raise ValueError(mark("write a compute capability, such as 8.0"))


def read_count(value: object) -> int:
    """A whole number from 0."""
    if type(value) is int and 0 <= value <= 10**6:
        return value
    raise ValueError(mark("write a whole number, such as 2"))


def read_positive(value: object) -> float:
    """A number above 0."""
    if type(value) in (int, float) and 0 < value <= 10**6:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise ValueError(mark("write a number above 0, such as 4 or 0.5"))


def read_duration(value: object) -> timedelta:
    """A time above 0; its parts are added up. One that is above 10 years is a slip."""
    text = value.strip() if isinstance(value, str) else ""
    if text and re.fullmatch(f"(?:{_PART.pattern})+", text):
        try:
            found = timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(text)))
        except OverflowError:
            found = timedelta(0)
        if timedelta(0) < found <= _LONGEST:
            return found
        raise ValueError(mark("write a time above 0 and of at most 10 years, such as 8 h or 1 h 30 min"))
    raise ValueError(mark("write a time with its unit (s, min, h, d, w), such as 8 h or 1 h 30 min"))


def read_bytes(value: object) -> int:
    """An amount of memory in bytes; the units are powers of 1024, as they are for Docker."""
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    amount = int(float(found[1]) * _BYTES[found[2]]) if found and len(found[1]) < 10 else 0
    if amount:
        return amount
    raise ValueError(mark("write an amount with its unit (K, M, G, T), such as 16G"))


def read_hours(value: object) -> float:
    """GPU-hours: a number from 0, or a time."""
    if type(value) in (int, float) and 0 <= value <= 10**6:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    try:
        return read_duration(value) / timedelta(hours=1)
    except ValueError:
        raise ValueError(mark("write GPU-hours, such as 20 or 20 h")) from None


def read_share(value: object) -> float:
    """A part of the whole, 0 to 1, from per cent."""
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found and float(found[1]) <= 100:
        return float(found[1]) / 100
    raise ValueError(mark("write per cent of the GPUs, from 0 % to 100 %, such as 25 %"))


def read_names(value: object) -> frozenset[str] | None:
    """A list of names, or ``all``."""
    if value == ALL:
        return None
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        return frozenset(value)
    raise ValueError(mark("write a list of names, such as [a, b], or all"))


def describe(name: str, value: Any) -> str:
    """A limit's value as an administrator would write it.

    Args:
        name: The limit, as a field of :class:`gpuspawner.core.policy.Allowance`.
        value: Its value; None is no limit.
    """
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "none"
    if value is None:
        return ALL if name in ("cards", "slices", "images") else UNLIMITED
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return describe_time(value) or "0"
    if name in ("memory", "shm"):
        unit = next(u for u, size in reversed(_BYTES.items()) if value >= size or u == "K")
        return f"{value / _BYTES[unit]:g}{unit}"
    if name == "guaranteed_share":
        return f"{100 * value:g} %"
    return f"{value:g} h" if name == "gpu_hours_per_week" else f"{value:g}"


def describe_time(value: timedelta) -> str:
    """A time as it would be written, exactly; empty for none."""
    left, parts = value.total_seconds(), []
    for unit in ("d", "h", "min", "s"):
        count = left if unit == "s" else left // _SECONDS[unit]
        left -= count * _SECONDS[unit]
        parts += [f"{count:g} {unit}"] if count else []
    return " ".join(parts)
