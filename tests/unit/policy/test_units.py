"""Amounts as people write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.policy.units import (
    describe,
    or_unlimited,
    read_bytes,
    read_count,
    read_duration,
    read_hours,
    read_names,
    read_positive,
    read_share,
)
from hypothesis import given
from hypothesis import strategies as st

H = timedelta(hours=1)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (read_duration, "8 h", 8 * H),
        (read_duration, "90 min", 1.5 * H),
        (read_duration, "2 d", 48 * H),
        (read_duration, "1w", 168 * H),
        (read_duration, "45 s", timedelta(seconds=45)),
        (read_duration, " 1 h 30 min ", 1.5 * H),
        (read_duration, "1h30min", 1.5 * H),
        (read_duration, "1.5 h", 1.5 * H),
        (read_bytes, "16G", 16 * 2**30),
        (read_bytes, "1.5 G", 3 * 2**29),
        (read_bytes, "512 MiB", 2**29),
        (read_bytes, "1 TB", 2**40),
        (read_bytes, "64K", 2**16),
        (read_count, 0, 0),
        (read_positive, 0.5, 0.5),
        (read_hours, 20, 20.0),
        (read_hours, 0, 0.0),
        (read_hours, "20 h", 20.0),
        (read_hours, "90 min", 1.5),
        (read_share, "25 %", 0.25),
        (read_share, "0%", 0.0),
        (read_names, ["a", "b"], frozenset("ab")),
        (read_names, [], frozenset()),
        (read_names, "all", None),
    ],
)
def test_read(read: Callable[[object], object], text: object, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (read_duration, (8, "8", "h", "", "8 hours", "0 h", "-1 h", "1 h, 2 min", "20 y", "8:30", None, [])),
        (read_duration, ("9" * 400 + " d", "6000 d", True)),
        (read_bytes, (16, "16", "0G", "-1G", "G", "16 gigs", "9" * 40 + "G", None, "unlimited")),
        (read_count, (-1, 1.0, "1", True, None, 10**9)),
        (read_positive, (0, -1, "1", True, None, float("nan"), float("inf"))),
        (read_hours, (-1, "20", True, "-1 h", float("nan"))),
        (read_share, (25, "25", "101 %", "-1 %", 0.25, None)),
        (read_names, ("a", [1], [""], None, {"a": 1})),
    ],
)
def test_refuse(read: Callable[[object], object], wrong: tuple[object, ...]) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=r"^write "):
            read(value)


def test_unlimited() -> None:
    assert or_unlimited(read_count)("unlimited") is None
    assert or_unlimited(read_count)(2) == 2
    with pytest.raises(ValueError, match=r"such as 2, or unlimited$"):
        or_unlimited(read_count)("two")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("gpus_per_person", 2, "2"),
        ("gpus_per_person", None, "unlimited"),
        ("cards", None, "all"),
        ("images", frozenset(), "none"),
        ("images", frozenset({"b", "a"}), "a, b"),
        ("memory", 16 * 2**30, "16G"),
        ("memory", 3 * 2**29, "1.5G"),
        ("shm", 512, "0.5K"),
        ("longest_session", 8 * H, "8 h"),
        ("longest_session", 49.5 * H, "2 d 1 h 30 min"),
        ("extension", timedelta(0), "0"),
        ("idle_gpu", timedelta(seconds=90), "1 min 30 s"),
        ("gpu_hours_per_week", 20.0, "20 h"),
        ("weight", 0.5, "0.5"),
        ("guaranteed_share", 0.25, "25 %"),
    ],
)
def test_describe(name: str, value: Any, text: str) -> None:
    assert describe(name, value) == text


@given(st.integers(1, 3650 * 86400))
def test_a_time_that_is_shown_can_be_written(seconds: int) -> None:
    value = timedelta(seconds=seconds)
    assert read_duration(describe("longest_session", value)) == value
