"""Whether a page in Chinese says anything of ours in English."""

from __future__ import annotations

from functools import cache

from gpuspawner.language.retell import read_template
from gpuspawner.language.update import collect

SHORTEST = 12
"""Shorter pieces of our texts may be part of a name."""


@cache
def english_pieces() -> tuple[str, ...]:
    """What always stands in our texts, in English, the longest first."""
    found: set[str] = set()
    for message in collect():
        for text in message.id if isinstance(message.id, tuple) else (str(message.id),):
            found |= set(text.split("%(")[:1] if "%(" in text else read_template(text).pieces)
    long = {one.strip() for one in found if len(one.strip()) >= SHORTEST and " " in one.strip()}
    return tuple(sorted(long, key=len, reverse=True))


def find_english(text: str) -> list[str]:
    """Pieces of our texts that stand in a text in English."""
    plain = " ".join(text.split())
    return [piece for piece in english_pieces() if piece in plain]
