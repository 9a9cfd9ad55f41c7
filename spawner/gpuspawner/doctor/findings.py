"""What a check finds, and how a version reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Works, and will not under all circumstances."""
    ERROR = "error"
    """Does not work, or endangers what people have here."""
    UNKNOWN = "unknown"
    """Could not be found out."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    """Short fixed name."""
    level: Level
    what: str
    """What was found."""
    why: str = ""
    """Why it matters; empty when all is well."""
    fix: str = ""
    """The command, or the line of a file, that mends it; empty when all is well."""


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``1.1.5+ds1`` is (1, 1, 5)."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def unknown(check: str, what: str, fix: str = "") -> Finding:
    """The finding of a check that could not be made."""
    return Finding(check, Level.UNKNOWN, what, "What is not known is not checked.", fix)
