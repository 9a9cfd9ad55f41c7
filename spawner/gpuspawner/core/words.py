"""Words for people, amounts always with a unit; and words of people."""

from __future__ import annotations

from datetime import timedelta

from .errors import InvalidRequest

_KIBIBYTE = 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a text for a formula."""


def mark(text: str) -> str:
    """A text of ours that pages show in their reader's language: it is itself, and the catalogues have it.

    What is put into it is translated too where it is such a text and is called like one, see
    :mod:`gpuspawner.language.retell`. The texts of our exceptions need no mark.
    """
    return text


def begin_sentence(text: str) -> str:
    """A reason as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


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


def guard_cell(text: str) -> str:
    """A text that is no formula in a spreadsheet, whoever wrote it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_text(text: str, what: str, most: int = 500) -> str:
    """Plain text that somebody wrote, without what could move a cursor or hide a line.

    Args:
        text: What they wrote.
        what: What it is, to begin a sentence: ``A reason``.
        most: The most characters.

    Raises:
        InvalidRequest: It is empty or too long.
    """
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
    if not plain or len(plain) > most:
        raise InvalidRequest(f"{what} must be a text of 1 to {most} characters; write one.")
    return plain
