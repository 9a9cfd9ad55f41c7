"""Sentences that the code writes, found in its syntax tree: a plug-in of Babel's extraction.

A sentence is written as what it is, mostly an f-string, and stays English in the ledger, the API and the log.
Two kinds of texts are found: what our exceptions are made with, and what is wrapped in
:func:`gpuspawner.core.words.mark`. Of an f-string the catalogue gets a template:

    f"You hold {holding} GPU{'' if holding == 1 else 's'} here."

is the two texts ``You hold {holding} GPU here.`` and ``You hold {holding} GPUs here.``: each way through an
``x if y else z``, and through an ``x or y``, is a text of its own. A constant of the module is put in. Every
other expression becomes a placeholder, called by the last name in it; two in a row are one. What follows on a
sentence's end without a space, as in ``f"It is gone.{hint} Ask again."``, is a sentence that is marked
elsewhere: the text is parted there. What a text is about, as in ``rule: it is too long``, is left out.
:mod:`gpuspawner.language.retell` goes the way back.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from gpuspawner.core import errors

IN_A_ROW = "__"
"""Between the names of two values in a row, which are one placeholder."""
SENTENCE_ENDS = (".", "!", "?", "…")
_NOT_ON_PAGES = (errors.SettingsError,)
"""Errors that only somebody at a shell reads."""
_ERRORS = (kind for kind in vars(errors).values() if isinstance(kind, type))
_CALLS = {
    kind.__name__: 0
    for kind in _ERRORS
    if issubclass(kind, errors.GpuSpawnerError) and not issubclass(kind, _NOT_ON_PAGES)
} | {"Refused": 1, "Forbidden": 0, "HTTPError": 1, "Outcome": 1}
_CALLS |= {"mark": 0, "refuse": 0, "deny": 0, "read_text": 1}
"""By name of what is called: which of its arguments is a text for people."""
_KEYWORDS = ("message", "said", "hint", "log_message")
"""The same arguments, where they are given by name."""
_MOST_WAYS = 32


@dataclass(frozen=True, slots=True)
class Value:
    """A place in a text that something is put into."""

    name: str


Text = tuple[str | Value, ...]
"""A template: what is always there, and what is put in."""


def extract_sentences(
    source: IO[bytes], _keywords: Collection[str], _tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Babel's extraction method: line, function, message and comments of each text."""
    tree = ast.parse(source.read())
    constants = _find_constants(tree)
    for node in ast.walk(tree):
        for written in list_texts(node):
            for text in read_ways(written, constants):
                for part in split_sentences(text):
                    message = write_message(part)
                    if message:
                        yield written.lineno, None, message, []


def list_texts(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions of a call that are texts for people; none of what is no such call."""
    if not isinstance(node, ast.Call):
        return
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    place = _CALLS.get(called)
    if place is None:
        return
    if len(node.args) > place and not any(isinstance(one, ast.Starred) for one in node.args[: place + 1]):
        yield node.args[place]
    for keyword in node.keywords:
        if keyword.arg in _KEYWORDS:
            yield keyword.value


def _find_constants(tree: ast.Module) -> dict[str, ast.expr]:
    """The texts among a module's constants, by name."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value
            marked = next(iter(list_texts(value)), None) if isinstance(value, ast.Call) else value
            if isinstance(marked, ast.JoinedStr) or (
                isinstance(marked, ast.Constant) and isinstance(marked.value, str)
            ):
                found[node.targets[0].id] = marked
    return found


def read_ways(node: ast.expr, constants: Mapping[str, ast.expr]) -> list[Text]:
    """Every text that an expression can come to; nothing else than a value where it is no text."""
    ways: list[Text]
    match node:
        case ast.Constant(value=str() as text):
            ways = [(text,)]
        case ast.Name(id=name) if name in constants:
            ways = read_ways(constants[name], constants)
        case ast.JoinedStr(values=values):
            ways = _join([read_ways(value, constants) for value in values])
        case ast.FormattedValue(value=value):
            ways = read_ways(value, constants)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if _is_text(left) or _is_text(right):
            ways = _join([read_ways(left, constants), read_ways(right, constants)])
        case ast.IfExp(body=body, orelse=other):
            ways = [*read_ways(body, constants), *read_ways(other, constants)]
        case ast.BoolOp(op=ast.Or(), values=values):
            ways = [way for value in values for way in read_ways(value, constants)]
        case ast.Call(func=ast.Name(id="mark"), args=[text]):
            ways = read_ways(text, constants)
        case _:
            ways = [(Value(_name(node)),)]
    if len(ways) > _MOST_WAYS:
        raise ValueError(f"line {node.lineno}: this is {len(ways)} texts; write it more plainly")
    return ways


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.BinOp(left=left, right=right):
            return _is_text(left) or _is_text(right)
        case ast.IfExp(body=body, orelse=other):
            return _is_text(body) or _is_text(other)
    return False


def _join(parts: list[list[Text]]) -> list[Text]:
    ways: list[Text] = [()]
    for part in parts:
        ways = [(*way, *one) for way in ways for one in part]
    return ways


def _name(node: ast.expr) -> str:
    """What the value of an expression is called: the last name in it, of a call in its first argument."""
    match node:
        case ast.Name(id=name):
            return name.strip("_").lower()
        case ast.Attribute(value=value, attr=name):
            return _name(value) if name == "value" else name.strip("_").lower()
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.UnaryOp(operand=value):
            return _name(value)
        case ast.BinOp(left=left, op=operator, right=right):
            later = isinstance(operator, ast.Add | ast.Sub) and not isinstance(right, ast.Constant)
            return _name(right if later else left)
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=value)) if not isinstance(value, ast.Constant):
            return _name(value)
        case ast.GeneratorExp(elt=inner) | ast.NamedExpr(value=inner):
            return _name(inner)
    return "value"


def split_sentences(text: Text) -> Iterator[Text]:
    """Part a text where a value follows on a sentence's end without a space."""
    part: list[str | Value] = []
    for piece in text:
        said = part[-1] if part and isinstance(part[-1], str) else ""
        if isinstance(piece, Value) and isinstance(said, str) and said.endswith(SENTENCE_ENDS):
            yield tuple(part)
            part = []
        elif isinstance(piece, Value) and part and isinstance(part[-1], Value):
            part[-1] = Value(f"{part[-1].name}{IN_A_ROW}{piece.name}")
        elif isinstance(piece, str) and said:
            part[-1] = said + piece
        elif piece:
            part.append(piece)
    yield tuple(part)


def write_message(text: Text) -> str:
    """A template as the catalogue has it; empty where it says nothing by itself."""
    text = _without_subject(text)
    said = "".join(piece for piece in text if isinstance(piece, str))
    if not any(word.isalpha() and len(word) > 1 for word in _words(said)):
        return ""
    known: dict[str, int] = {}
    pieces = []
    for piece in text:
        if isinstance(piece, str):
            pieces.append(piece.replace("{", "{{").replace("}", "}}"))
        else:
            known[piece.name] = count = known.get(piece.name, 0) + 1
            pieces.append("{" + piece.name + (str(count) if count > 1 else "") + "}")
    return "".join(pieces).strip()


def _without_subject(text: Text) -> Text:
    """What is said, without what it is said of: a value, or the name of a field, before a colon."""
    first = text[0] if text else ""
    if isinstance(first, Value):
        second = text[1] if len(text) > 1 else ""
        cut = isinstance(second, str) and second.startswith(": ")
        return (str(second)[2:], *text[2:]) if cut else text
    subject, colon, rest = first.partition(": ")
    plain = subject.replace("_", "").isalpha() and subject.islower()
    return (rest, *text[1:]) if colon and plain and subject.isascii() else text


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text).split()
