"""Which encoding a file is in, and what it means that it is in a wrong one.

UTF-8, with or without a mark, and UTF-16 are recognised. Windows-1252 (Latin-1) and GBK cannot be told from
each other for certain: each byte means something in both. They are read only where somebody says so; else the
lines are named that are not UTF-8, with what they would say.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

from gpuspawner.core.roster import RosterProblem, refuse
from gpuspawner.core.words import mark

from .options import shorten

ENCODINGS: Mapping[str, str] = {
    "utf-8": "utf-8-sig",
    "utf-16": "utf-16",
    "windows-1252": "cp1252",
    "gbk": "gb18030",
}
"""Python's names of what can be chosen."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MOST_TOLD = 20
"""Lines that are in another encoding."""


def decode(data: bytes, encoding: str = "") -> str:
    """The text of a file.

    Args:
        data: The file.
        encoding: A key of :data:`ENCODINGS`; empty to find out.

    Raises:
        RosterRefused: It is in another encoding.
    """
    if encoding and encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise refuse([RosterProblem(0, mark(f"encoding: write one of {known}."))])
    name = ENCODINGS[encoding] if encoding else _recognise(data)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        if name == "utf-8-sig":
            raise refuse(_list_lines(data)) from None
        raise refuse([_tell_position(data, error, encoding or "utf-16")]) from None
    lost = [
        RosterProblem(number, mark("Characters of this line were lost when the file was saved (\ufffd)."))
        for number, line in enumerate(text.splitlines(), 1)
        if "\ufffd" in line
    ]
    if lost:
        raise refuse(lost)
    return text


def find_mojibake(text: str) -> str:
    """What a text says that is UTF-8 and was read as Windows-1252 (``MÃ¼ller``); empty for any other."""
    if text.isascii():
        return ""
    try:
        meant = text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""
    return meant if meant != text else ""


def _recognise(data: bytes) -> str:
    for sign, name in _MARKS:
        if data.startswith(sign):
            return name
    # Of two bytes of a Latin letter in UTF-16 one is zero, and no text in UTF-8 has any.
    start = data[:400]
    if start.count(0) * 3 >= len(start) > 1:
        return "utf-16-le" if start[1::2].count(0) > start[0::2].count(0) else "utf-16-be"
    return "utf-8-sig"


def _tell_position(data: bytes, error: UnicodeDecodeError, name: str) -> RosterProblem:
    line = data[: error.start].count(b"\n") + 1
    return RosterProblem(line, mark(f"It is not {name}. Choose another encoding, or save it as UTF-8."))


def _list_lines(data: bytes) -> list[RosterProblem]:
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            found.append(RosterProblem(number, _guess(line.strip(b"\r"))))
    more = len(found) - _MOST_TOLD
    if more > 0:
        kept = found[:_MOST_TOLD]
        return [*kept, RosterProblem(0, mark(f"{more} more lines are not UTF-8."))]
    return found


def _guess(line: bytes) -> str:
    """What a line would say in each of the encodings that it may be in."""
    said = []
    for name in ("windows-1252", "gbk"):
        try:
            text = line.decode(ENCODINGS[name])
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            said.append(f"{name} {shorten(text)}")
    if not said:
        return mark("It is not UTF-8. Save the file as UTF-8.")
    return mark(f"It is not UTF-8. It may be: {'; '.join(said)}. Choose that encoding, or save as UTF-8.")
