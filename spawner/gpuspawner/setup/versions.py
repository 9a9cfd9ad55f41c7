"""Comparing the version numbers that programs print."""

from __future__ import annotations

import re


def parse_version(text: str) -> tuple[int, ...] | None:
    """The first dotted number in a text as integers, or None if there is none.

    A Debian epoch and revision are left out: ``5:27.5.1-1~debian`` is ``(27, 5, 1)``.
    """
    without_epoch = re.sub(r"\b\d+:(?=\d)", "", text)
    found = re.search(r"\d+(?:\.\d+)+|\d+", without_epoch)
    return tuple(int(part) for part in found.group().split(".")) if found else None


def is_at_least(version: tuple[int, ...] | None, least: tuple[int, ...]) -> bool:
    """Whether a version is known and not older than another."""
    return version is not None and version >= least
