"""Rosters as CSV files, as offices, spreadsheets and course platforms write them, and back.

What is wrong with a file is told line by line, all of it at once, and then nothing of it is taken. Cells are
hostile: no cell can hide in a list, stand for another one, run in a spreadsheet, or name a folder elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpuspawner.core.roster import Entry, Kind, Role, RosterProblem, Who, refuse
from gpuspawner.core.words import guard_cell, mark

from .options import shorten
from .rostertext import decode, find_mojibake

MOST_ROWS = 5000
MOST_BYTES = 1024 * 1024
LONGEST = {"person": 255, "mail": 254, "subject": 512, "team": 32, "name": 100}
"""Characters of a cell."""
COLUMNS = ("person", "mail", "subject", "role", "team", "name")
_SEPARATORS = (",", ";", "\t")
_NAMES = {
    "person": {"person", "user", "username", "user name", "login", "用户名", "账号", "用户"},
    "mail": {"mail", "email", "e-mail", "mail address", "email address", "邮箱", "邮件", "电子邮箱"},
    "subject": {"subject", "sub"},
    "role": {"role", "roles", "角色"},
    "team": {"team", "小组", "团队", "分组"},
    "name": {"name", "full name", "fullname", "display name", "姓名"},
}
_ROLES = {
    Role.STUDENT: {"student", "students", "learner", "学生"},
    Role.ASSISTANT: {"assistant", "assistants", "tutor", "ta", "助教"},
    Role.TEACHER: {"teacher", "teachers", "instructor", "lecturer", "教师", "老师"},
}
_MAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)+")
_TEAM = re.compile(r"\w([\w -]*\w)?")
_LOOK_ALIKES = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")
"""Alphabets that have letters which look like those of another one."""
_SAME = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "5": "s"})


@dataclass(frozen=True, slots=True)
class RosterFile:
    """A file that was read."""

    entries: tuple[Entry, ...]
    lines: Mapping[Who, int] = field(default_factory=dict)
    """Where each stands."""
    notes: tuple[str, ...] = ()
    """What was passed over, and what should be looked at twice, as sentences."""


def read_roster(data: bytes, encoding: str = "") -> RosterFile:
    """Read a roster.

    Args:
        data: The file.
        encoding: A key of :data:`~gpuspawner.policy.rostertext.ENCODINGS`; empty to find out whether it is
            UTF-8 or UTF-16, and nothing else.

    Raises:
        RosterRefused: With all that is wrong, by line.
    """
    if len(data) > MOST_BYTES:
        raise refuse([RosterProblem(0, mark(f"It has {len(data)} bytes; {MOST_BYTES} is the most."))])
    text = decode(data, encoding)
    rows = _Rows(text)
    if rows.problems:
        raise refuse(rows.problems)
    reader = _Reader(rows.columns)
    for line, cells in rows.rows:
        reader.take(line, cells)
    problems = reader.problems
    if len(rows.rows) > MOST_ROWS:
        problems = [
            RosterProblem(0, mark(f"It has {len(rows.rows)} people; {MOST_ROWS} is the most. Divide it."))
        ]
    if problems:
        raise refuse(problems)
    notes = [*rows.notes, *reader.notes, *_find_look_alikes(reader.lines)]
    return RosterFile(tuple(reader.entries), reader.lines, tuple(notes))


def write_roster(entries: Iterable[Entry]) -> str:
    """Write a roster; no cell of it is a formula in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in entries:
        named = [one.who.value if one.who.kind.value == column else "" for column in COLUMNS[:3]]
        writer.writerow([guard_cell(cell) for cell in (*named, one.role.value, one.team, one.name)])
    return text.getvalue()


class _Rows:
    """The rows of a text, and which column is what."""

    def __init__(self, text: str) -> None:
        self.problems: list[RosterProblem] = []
        self.notes: list[str] = []
        self.rows: list[tuple[int, list[str]]] = []
        self.columns: list[str | None] = []
        text, skipped = _strip_separator_line(text)
        first, _, _ = text.lstrip("\r\n").partition("\n")
        found = list(self._split(text, _choose_separator(first), skipped))
        if not found:
            self.problems.append(RosterProblem(0, mark("It is empty. The first line names the columns.")))
            return
        (line, header), self.rows = found[0], found[1:]
        self._read_header(line, header)

    def _split(self, text: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        while True:
            line = reader.line_num + 1 + skipped
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                why = mark(f"It cannot be read: {error}. Look for a quotation mark that is not closed.")
                self.problems.append(RosterProblem(line, why))
                return
            if any(cell.strip() for cell in cells):
                yield line, cells

    def _read_header(self, line: int, header: Sequence[str]) -> None:
        known = {name: column for column, names in _NAMES.items() for name in names}
        self.columns = [known.get(" ".join(cell.split()).casefold()) for cell in header]
        for column in dict.fromkeys(one for one in self.columns if one):
            if self.columns.count(column) > 1:
                self.problems.append(RosterProblem(line, mark(f"The column {column} is there twice.")))
        there = ", ".join(shorten(cell.strip()) for cell in header[:8])
        if not {"person", "mail", "subject"} & set(self.columns):
            why = mark(f"No column says who it is: name one person, mail or subject. There are: {there}.")
            self.problems.append(RosterProblem(line, why))
        if "role" not in self.columns:
            why = mark(f"The column role is missing: student, assistant or teacher. There are: {there}.")
            self.problems.append(RosterProblem(line, why))
        over = [
            shorten(cell.strip())
            for cell, column in zip(header, self.columns, strict=True)
            if column is None and cell.strip()
        ]
        if over and not self.problems:
            self.notes.append(mark(f"These columns are passed over: {', '.join(over[:8])}."))


def _strip_separator_line(text: str) -> tuple[str, int]:
    """Without the line ``sep=;`` with which Excel begins some files."""
    found = re.match(r"sep=[;,\t](\r\n|\r|\n)", text, re.IGNORECASE)
    return (text[found.end() :], 1) if found else (text, 0)


def _choose_separator(header: str) -> str:
    """The one that gives most columns that we know; among equals the one that is there most often."""
    known = frozenset().union(*_NAMES.values())

    def rate(separator: str) -> tuple[int, int]:
        cells = [cell.strip().strip('"').casefold() for cell in header.split(separator)]
        return sum(1 for cell in cells if cell in known), len(cells)

    return max(_SEPARATORS, key=rate)


class _Reader:
    """Makes entries of rows, and keeps what is wrong with them.

    Args:
        columns: What each cell of a row is; None for what is passed over.
    """

    def __init__(self, columns: Sequence[str | None]) -> None:
        self._columns = columns
        self.entries: list[Entry] = []
        self.lines: dict[Who, int] = {}
        self.problems: list[RosterProblem] = []
        self.notes: list[str] = []
        self._teams: dict[str, tuple[str, int]] = {}

    def take(self, line: int, cells: Sequence[str]) -> None:
        """One row."""
        before = len(self.problems)
        if any(cell.strip() for cell in cells[len(self._columns) :]):
            count = len(self._columns)
            self._refuse(line, mark(f"It has {len(cells)} cells; the first line has {count}."))
            return
        row = dict.fromkeys(COLUMNS, "")
        row |= {name: cell for name, cell in zip(self._columns, cells, strict=False) if name is not None}
        values = {name: self._read(line, name, cell) for name, cell in row.items()}
        who, role = self._find_who(line, values), self._find_role(line, values["role"])
        self._check_team(line, values["team"])
        if who is not None and who in self.lines:
            self._refuse(line, mark(f"{shorten(str(who))} is in line {self.lines[who]} already."))
        if who is not None and role is not None and len(self.problems) == before:
            self.lines[who] = line
            self.entries.append(Entry(who, role, values["team"], values["name"]))

    def _refuse(self, line: int, why: str) -> None:
        self.problems.append(RosterProblem(line, why))

    def _read(self, line: int, name: str, cell: str) -> str:
        """A cell as it counts; what is wrong with it is kept."""
        text = unicodedata.normalize("NFC", cell.strip(" \u00a0\u3000\t"))
        if text[:1] == "'" and guard_cell(text[1:]) != text[1:]:
            text = text[1:]  # a quotation mark that keeps a spreadsheet from computing
        if not text or name == "role":
            return text
        why = _judge(name, text)
        if why:
            self._refuse(line, why)
            return ""
        return text.lower() if name in ("person", "mail") else text

    def _find_who(self, line: int, values: Mapping[str, str]) -> Who | None:
        for kind in (Kind.SUBJECT, Kind.PERSON, Kind.MAIL):
            if values[kind.value]:
                return Who(kind, values[kind.value])
        if not any(one.line == line for one in self.problems[-6:]):
            self._refuse(line, mark("It does not say who it is: person, mail and subject are empty."))
        return None

    def _find_role(self, line: int, text: str) -> Role | None:
        found = next((role for role, names in _ROLES.items() if text.casefold() in names), None)
        if found is None:
            said = mark(f"not {shorten(text)}") if text else mark("it is empty")
            self._refuse(line, mark(f"role: write student, assistant or teacher; {said}."))
        return found

    def _check_team(self, line: int, team: str) -> None:
        known, where = self._teams.setdefault(team.casefold(), (team, line))
        if known != team:
            self._refuse(line, mark(f"team: {shorten(team)} is {shorten(known)} in line {where}."))


def _judge(name: str, text: str) -> str:
    """What is wrong with a cell, as a sentence; nothing if it is right."""
    if len(text) > LONGEST[name]:
        return mark(f"{name}: it has {len(text)} characters; {LONGEST[name]} is the most.")
    if not text.isprintable():
        return mark(f"{name}: {shorten(text)} has a character that cannot be seen; remove it.")
    meant = find_mojibake(text)
    if meant:
        return mark(
            f"{name}: {shorten(text)} seems to be {shorten(meant)}, read in a wrong encoding; save the file "
            "as UTF-8."
        )
    return _JUDGES[name](text)


def _judge_person(text: str) -> str:
    if text != unicodedata.normalize("NFKC", text) or re.search(r"[\s/\\:?#%\"'<>&|]", text):
        return mark(f"person: {shorten(text)} is no user name; write it as the hub shows it.")
    if guard_cell(text) != text:
        return mark(f"person: {shorten(text)} begins like a formula; a user name does not.")
    alphabets = sorted(_list_alphabets(text))
    if len(alphabets) > 1:
        mixed = " and ".join(alphabets)
        return mark(f"person: {shorten(text)} has letters of several alphabets ({mixed}); type it anew.")
    return ""


def _judge_mail(text: str) -> str:
    return "" if _MAIL.fullmatch(text.lower()) else mark(f"mail: {shorten(text)} is no address.")


def _judge_team(text: str) -> str:
    if text == unicodedata.normalize("NFKC", text) and _TEAM.fullmatch(text):
        return ""
    return mark(f"team: {shorten(text)} has other characters than letters, digits, spaces, - and _.")


def _judge_nothing(text: str) -> str:
    return ""


_JUDGES: Mapping[str, Callable[[str], str]] = {
    "person": _judge_person,
    "mail": _judge_mail,
    "subject": _judge_nothing,
    "team": _judge_team,
    "name": _judge_nothing,
}


def _list_alphabets(text: str) -> set[str]:
    names = (unicodedata.name(char, "").split(" ")[0] for char in text if char.isalpha())
    return {name for name in names if name in _LOOK_ALIKES}


def _find_look_alikes(lines: Mapping[Who, int]) -> Iterator[str]:
    """What a teacher should look at twice."""
    seen: dict[str, Who] = {}
    for who, line in lines.items():
        if who.kind is not Kind.PERSON:
            continue
        strange = _list_alphabets(who.value) - {"LATIN"}
        if strange:
            yield mark(f"Line {line}: {shorten(who.value)} is written in {strange.pop().title()} letters.")
        other = seen.setdefault(_blur(who.value), who)
        if other != who:
            yield mark(f"Line {line}: {shorten(who.value)} looks like {shorten(other.value)}.")


def _blur(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    kept = "".join(char for char in plain if not unicodedata.combining(char))
    return kept.translate(_SAME).replace("rn", "m").replace("vv", "w")
