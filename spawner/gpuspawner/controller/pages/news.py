"""What is new to somebody who has a page open: rows of tables that are as they were are not sent again."""

from __future__ import annotations

import re

_ROW = re.compile(r'<tr id="([^"]+)".*?</tr>', re.DOTALL)
"""A row that has a name; no such row has another one in it, and what people wrote is escaped."""


class News:
    """What one open page shows, as far as it must be known to send only what is new."""

    def __init__(self) -> None:
        self._frame: int | None = None
        self._rows: dict[str, int] = {}

    def tell(self, part: str) -> tuple[str, str]:
        """What is to be sent, and the name of its event.

        Args:
            part: The part that the page is to show now, as HTML.

        Returns:
            ``rows`` with the rows that are others now, where nothing else is. Otherwise ``part`` with all of
            it, in which rows that stay as they are are empty and marked ``data-same``.
        """
        rows: dict[str, int] = {}
        changed: list[str] = []

        def note(found: re.Match[str]) -> str:
            name, text = found[1], found[0]
            rows[name] = hash(text)
            if self._rows.get(name) != rows[name]:
                changed.append(text)
            return _same(name)

        frame = _ROW.sub(note, part)
        before, self._frame = self._frame, hash(frame)
        known, self._rows = self._rows, rows
        if before == self._frame:
            return "rows", "\n".join(changed)

        def shorten(found: re.Match[str]) -> str:
            return _same(found[1]) if known.get(found[1]) == rows[found[1]] else found[0]

        return "part", _ROW.sub(shorten, part)


def _same(name: str) -> str:
    return f'<tr id="{name}" data-same></tr>'
