"""Sentences of ours in the reader's language, where a page shows them.

The catalogue has a template for each (:mod:`gpuspawner.language.sentences`). A text is compared with them:
what always stands in one must occur in the text in the same order, and what lies between is put into the
translation. A value that is a text itself is retold too; what tells is how the placeholder is called, see
:data:`PARTS`. All other values stay as they are, so that a person whose name is one of our sentences keeps
it.

A text may be several sentences, a list of them, or one about something (``rule: it is too long``). Of all
ways to read it, the one counts that explains most of it. What nobody here has written, such as an
administrator's reason, is left as it is.

A text may hold what hostile people wrote: each comparison goes once through it, and their number is bounded.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache, lru_cache
from string import Formatter
from typing import NamedTuple

from babel.dates import format_skeleton
from babel.messages.pofile import read_po

from . import ENGLISH, FOLDER
from .foreign import JOINTS
from .sentences import IN_A_ROW, SENTENCE_ENDS

PARTS = frozenset(
    {
        "back", "because", "before", "by", "error", "expected", "health", "hint", "kind", "message",
        "nameless", "needs", "reason", "rule", "said", "state", "stranger", "to", "wanted", "what", "why",
        "word", "xids",
    }
)  # fmt: skip
"""Last words of the names of those placeholders that hold texts of ours."""
MOST_CHARACTERS = 200_000
"""Characters that are looked at for one text, all its parts and ways to part it together."""
_LOOK = 200
"""What a look costs whatever the text."""
_DEEPEST = 6
_MOST_ENDS = 6
"""Sentence ends, or places between two values, that are tried."""
_MOST_PIECES = 20
_KEPT_CHARACTERS = 1000
"""Longer texts are retold anew each time."""
_WEAK_LETTERS = 8
"""A template that says less is none of a whole text, and of a part only where the parts in it are known."""
_START = 3
"""Characters by which templates are found."""

_MOMENT = re.compile(
    r"(?:[A-Z][a-z]{2} )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4})(?:, (\d\d:\d\d)(?: ([+\w-]{1,9}))?)?"
)
_CLOCK = re.compile(r"\d\d:\d\d [+\w-]{1,9}")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def retell(text: str, language: str) -> str:
    """A text of ours in another language; unchanged where it is not known.

    Args:
        text: In English; hostile people may have written what is put into it, or all of it.
        language: A key of :data:`gpuspawner.language.LANGUAGES`.
    """
    if language == ENGLISH:
        return text
    return (_retell if len(text) <= _KEPT_CHARACTERS else _retell.__wrapped__)(text, language)


@lru_cache(maxsize=4096)
def _retell(text: str, language: str) -> str:
    found = _Reader(language, _open(language)).read(text)
    return found.text if found.known else text


class Reading(NamedTuple):
    """One way to read a text."""

    known: int
    """How many of its characters are ours."""
    text: str
    """In the other language."""


class Template(NamedTuple):
    """A text of the catalogue."""

    pieces: tuple[str, ...]
    """What always stands there: one more than there are values."""
    names: tuple[str, ...]
    translation: str

    @property
    def length(self) -> int:
        """Characters that always stand there."""
        return sum(map(len, self.pieces))

    @property
    def weak(self) -> bool:
        """Whether it says next to nothing by itself."""
        return bool(self.names) and sum(c.isalpha() for c in "".join(self.pieces)) < _WEAK_LETTERS

    def fit(self, text: str) -> list[str] | None:
        """The values with which it is this text; None when there are none."""
        first, *between, last = self.pieces
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return None
        values = []
        for piece in between:
            found = text.find(piece, at, end)
            if found < 0:
                return None
            values.append(text[at:found])
            at = found + len(piece)
        return [*values, text[at:end]]


@dataclass(slots=True)
class _Book:
    """The texts of a language."""

    plain: dict[str, str] = field(default_factory=dict)
    joints: dict[str, str] = field(default_factory=dict)
    by_start: dict[str, list[Template]] = field(default_factory=lambda: defaultdict(list))
    open: list[Template] = field(default_factory=list)
    """Those that begin with a value, or nearly."""

    def add(self, message: str, translation: str) -> None:
        """Take in a text of the catalogue."""
        template = read_template(message, translation)
        if not template.names:
            self.plain[template.pieces[0]] = translation.format()
        elif len(template.pieces[0]) < _START:
            self.open.append(template)
        else:
            self.by_start[template.pieces[0][:_START]].append(template)

    def fitting(self, text: str) -> Iterator[Template]:
        """The templates that a text may be one of, those that say most first."""
        found = [*self.by_start.get(text[:_START], ()), *self.open]
        return iter(sorted(found, key=lambda one: -one.length))


def read_template(message: str, translation: str = "") -> Template:
    """A text of the catalogue, taken apart."""
    pieces, names, before = [], [], ""
    for said, name, _, _ in Formatter().parse(message):
        before += said
        if name is not None:
            pieces.append(before)
            names.append(name)
            before = ""
    return Template((*pieces, before), tuple(names), translation)


@cache
def _open(language: str) -> _Book:
    book = _Book()
    with (FOLDER / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    for message in catalogue:
        # What templates of pages put in is written %(name)s, and they translate it themselves.
        if isinstance(message.id, str) and message.id and message.string and "%(" not in message.id:
            if message.id in JOINTS:
                book.joints[message.id] = str(message.string)
            else:
                book.add(message.id, str(message.string))
    return book


@dataclass(slots=True)
class _Reader:
    """Reads one text."""

    language: str
    book: _Book
    left: int = MOST_CHARACTERS

    def read(self, text: str, depth: int = 0) -> Reading:
        """The best way to read it; nothing is known where there is none."""
        core = text.strip()
        if not core or depth > _DEEPEST or not self._may_look(core):
            return Reading(0, text)
        said = self._find_plain(core)
        if said is not None:
            return Reading(len(core), said)
        best = Reading(0, text)
        for way in self._ways(core, depth):
            if way.known > best.known:
                best = way
        return best

    def _may_look(self, text: str) -> bool:
        cost = len(text) + _LOOK
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def _find_plain(self, text: str) -> str | None:
        plain = self.book.plain
        return plain.get(text) or plain.get(_other_case(text))

    def _ways(self, text: str, depth: int) -> Iterator[Reading]:
        """All ways; of two that explain as much the first one counts."""
        subject, colon, rest = text.partition(": ")
        if colon:
            said, told = self.read(rest, depth + 1), self._retell_time(subject)
            # What is no time may be the first part of a name.
            yield Reading(said.known, told + (colon if told == subject else self._joint(colon)) + said.text)
        yield from self._as_template(text, depth)
        yield from self._as_sentences(text, depth)
        if text.endswith("."):
            bare = self.read(text[:-1], depth + 1)
            yield Reading(bare.known and bare.known + 1, bare.text + self._joint("."))
        yield from self._as_list(text, depth)
        yield from self._with_remark(text, depth)

    # -- one sentence ---------------------------------------------------------------------------------------

    def _as_template(self, text: str, depth: int) -> Iterator[Reading]:
        for written in dict.fromkeys((text, _other_case(text))):
            for template in self.book.fitting(written):
                if template.weak and not depth:
                    continue
                values = template.fit(written)
                found = self._fill(template, values, depth) if values is not None else None
                if found is not None:
                    yield found

    def _fill(self, template: Template, values: list[str], depth: int) -> Reading | None:
        known, told = template.length, {}
        for name, value in zip(template.names, values, strict=True):
            found = self._read_value(name, value, depth)
            if template.weak and value and not found.known and _is_part(name):
                return None
            known += found.known
            told[name] = found.text
        return Reading(known, template.translation.format(**told))

    def _read_value(self, name: str, value: str, depth: int) -> Reading:
        if not _is_part(name):
            return Reading(
                0, self._retell_rule(value) or retell_time(value, self.language, self._joint(" to "))
            )
        best = self.read(value, depth + 1)
        if IN_A_ROW in name:
            for at in _find_all(value, " "):
                tail = self.read(value[at:], depth + 1)
                if tail.known > best.known:
                    best = Reading(tail.known, value[:at] + tail.text)
        return best

    def _retell_rule(self, value: str) -> str:
        """What a rule of the policy is called, such as ``group `lab```; empty where it is no such name."""
        if not value.endswith("`"):
            return ""
        for template in self.book.fitting(value):
            inside = template.fit(value) if template.pieces[-1] == "`" and len(template.names) == 1 else None
            if inside is not None:
                return template.translation.format(**{template.names[0]: inside[0]})
        return ""

    # -- several --------------------------------------------------------------------------------------------

    def _as_sentences(self, text: str, depth: int) -> Iterator[Reading]:
        for number, at in enumerate(_find_ends(text)):
            head, rest = text[:at], text[at + 1 :]
            first = Reading(0, head)
            said = self._find_plain(head)
            if said is not None:
                first = Reading(len(head), said)
            elif self._may_look(head):
                for way in self._as_template(head, max(depth, 1)):
                    first = way if way.known > first.known else first
            if first.known or number == 0:
                following = self.read(rest, depth)
                yield Reading(first.known + following.known, _join(first.text, following.text))

    def _as_list(self, text: str, depth: int) -> Iterator[Reading]:
        for joint in ("; ", ", ", " and "):
            pieces = text.split(joint, _MOST_PIECES)
            if 1 < len(pieces) <= _MOST_PIECES:
                read = []
                for piece in pieces:
                    read.append(self.read(piece, depth + 1))
                    if not read[-1].known:
                        break
                else:
                    yield Reading(
                        sum(one.known for one in read), self._joint(joint).join(one.text for one in read)
                    )

    def _with_remark(self, text: str, depth: int) -> Iterator[Reading]:
        """A text with something in brackets behind it."""
        at = f" {text}".rfind(" (")
        if at < 0 or not text.endswith(")"):
            return
        head, inside = text[: max(at - 1, 0)], self.read(text[at + 1 : -1], depth + 1)
        if inside.known:
            before = self.read(head, depth + 1)
            known = before.known + inside.known
            yield Reading(known, before.text + self._joint(" (") + inside.text + self._joint(")"))

    def _retell_time(self, value: str) -> str:
        return retell_time(value, self.language, self._joint(" to "))

    def _joint(self, english: str) -> str:
        return self.book.joints.get(english, english)


def retell_time(text: str, language: str, to: str) -> str:
    """A time as the code writes it, ``Tue 3 Mar 2026, 14:00 to 16:00 CET``; unchanged if it is none."""
    parts = text.split(" to ")
    if len(parts) > 2 or len(text) > 100:
        return text
    told = [_retell_moment(parts[0], language)]
    if len(parts) == 2:
        clock = _CLOCK.fullmatch(parts[1])
        told.append(parts[1] if clock else _retell_moment(parts[1], language))
    return text if None in told else to.join(one for one in told if one)


def _retell_moment(text: str, language: str) -> str | None:
    found = _MOMENT.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    try:
        day = date(int(found[3]), _MONTHS.index(found[2]) + 1, int(found[1]))
    except ValueError:
        return None
    shown = format_skeleton("yMMMEd", day, locale=language)
    return " ".join(part for part in (shown, found[4], found[5]) if part)


def _is_part(name: str) -> bool:
    return name.rstrip("0123456789").rpartition("_")[2] in PARTS


def _other_case(text: str) -> str:
    """With a small letter at the beginning for a capital, and the other way round."""
    return text[:1].swapcase() + text[1:]


def _find_ends(text: str) -> list[int]:
    """Where sentences end and others follow; the first few."""
    return _find_all(text, " ", before=SENTENCE_ENDS)


def _find_all(text: str, what: str, before: tuple[str, ...] = ()) -> list[int]:
    found: list[int] = []
    at = text.find(what)
    while at >= 0 and len(found) < _MOST_ENDS:
        if not before or text.endswith(before, 0, at):
            found.append(at)
        at = text.find(what, at + 1)
    return found


def _join(first: str, second: str) -> str:
    wide = unicodedata.east_asian_width(first[-1:] or " ") in "FW"
    return first + ("" if wide else " ") + second
