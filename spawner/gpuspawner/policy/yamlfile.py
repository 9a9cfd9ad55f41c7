"""A YAML file that people write: read, checked against a model, and every error with its line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gpuspawner.core.errors import SettingsError
from gpuspawner.core.words import describe_duration

M = TypeVar("M", bound=BaseModel)
Key = str | int
"""A step into the file: a key, or a place in a list."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TIMEDELTA = re.compile(r"datetime\.timedelta\((\w+=\d+(?:, \w+=\d+)*)\)")
_LONGEST_SHOWN = 60
_DEEPEST = 100
"""Levels of a file. Python's own limit comes as a crash, in libyaml as that of the whole process."""
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_PRIVATE = frozenset({"password", "demo_users", "repository"})
"""Keys whose values no message repeats: what is written wrongly there may be or have a password."""


STRICT = ConfigDict(extra="forbid", frozen=True)
"""Of every part of a file: what it does not know is refused."""


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file that was read: its data, and where in it everything is."""

    path: Path
    kind: str
    """What it is, for messages: ``settings file``."""
    word: str
    """What one of its keys is, for messages: ``a setting``."""
    node: yaml.Node
    data: dict[str, Any]

    def check(self, model: type[M]) -> M:
        """Make a model of the data.

        Raises:
            SettingsError: With file, line, key and fix; for a key that does not exist the nearest one.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            found = error.errors(include_url=False)
            # A key that is misspelt is missing under its right name as well.
            first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
            raise self._explain(model, first) from None

    def error(self, keys: Iterable[Key], what: str) -> SettingsError:
        """The error of what is at these keys.

        Args:
            keys: The way to it from the top of the file.
            what: What is wrong and what to do; it follows on the dotted keys.
        """
        way = list(keys)
        return SettingsError(f"{self.path}, line {self.line(way)}: {_dotted(way)}{what}")

    def line(self, keys: Iterable[Key]) -> int:
        """The line, from 1, at which these keys are, or the last of them that exists."""
        node: yaml.Node | None = self.node
        line = self.node.start_mark.line + 1
        for key in keys:
            found = _step(node, key)
            if found is None:
                break
            line, node = found
        return line

    def _explain(self, model: type[BaseModel], first: ErrorDetails) -> SettingsError:
        keys = [part for part in first["loc"] if part != "[key]"]
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, keys[:-1])
            return self.error(keys, f" is not {self.word}; {suggest(str(keys[-1]), known, 'known keys are')}")
        if first["type"] == "missing":
            return self.error(keys, " is missing. Add it.")
        message = _in_words(first)
        if not _PRIVATE.isdisjoint(keys):
            return self.error(keys, f": {message}.")
        return self.error(keys, f": {message}; it is {str(first['input'])[:_LONGEST_SHOWN]!r}.")


def _in_words(error: ErrorDetails) -> str:
    """What pydantic says, with lengths of time as people write them."""
    return _TIMEDELTA.sub(_tell_length, error["msg"].removeprefix("Value error, "))


def _tell_length(found: re.Match[str]) -> str:
    parts = (part.partition("=") for part in found[1].split(", "))
    return describe_duration(timedelta(**{name: int(value) for name, _, value in parts}))


def read_yaml(path: Path, *, kind: str, word: str) -> YamlFile:
    """Read a file of keys and values.

    Args:
        path: The file.
        kind: What it is, for messages.
        word: What one of its keys is, for messages.

    Raises:
        SettingsError: It cannot be read, is not such a file, or has a key twice or one that is no plain text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The {kind} {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The {kind} {path} is not text in UTF-8.") from error
    try:
        _require_shallow(path, text)
        loader = _LOADER(text)
        node = loader.get_single_node()
        # Before anything is made of it, which puts what is merged (<<) beside what replaces it.
        _require_keys(path, node, set())
        data = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError) as error:  # YAML leaves it to Python to refuse 2030-13-45
        raise SettingsError(f"The {kind} {path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(data, Mapping):
        raise SettingsError(f"The {kind} {path} must hold keys and values.")
    return YamlFile(path, kind, word, node, dict(data))


def suggest(wrong: str, known: Collection[str], heading: str) -> str:
    """The nearest of the known words, or all of them under a heading."""
    near = get_close_matches(wrong, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{heading}: {', '.join(known) or 'none'}."


def _dotted(keys: Iterable[Key]) -> str:
    return ".".join(str(key) for key in keys)


def _step(node: yaml.Node | None, key: Key) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next(((k.start_mark.line + 1, v) for k, v in node.value if k.value == str(key)), None)
    return None


def _known_keys(model: type[BaseModel], keys: Iterable[Key]) -> list[str]:
    kind: Any = model
    for key in keys:
        # A section, or the values of a mapping or a list such as those of the logins.
        kind = kind.model_fields[key].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
        if get_origin(kind) in (Union, UnionType):
            kind = next(one for one in get_args(kind) if one is not type(None))
    return list(kind.model_fields)


def _require_shallow(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise SettingsError(f"{path}, line {line}: nothing has so many levels. Close some brackets.")


def _require_keys(path: Path, node: yaml.Node | None, done: set[int]) -> None:
    """Refuse keys that are no plain text, or there twice: YAML would take the last without a word."""
    if id(node) in done:  # an alias may even lead back to where it is
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _require_keys(path, item, done)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        wrong = _judge_key(key, seen)
        if wrong:
            raise SettingsError(f"{path}, line {key.start_mark.line + 1}: {wrong}")
        seen.add(str(key.value))
        _require_keys(path, value, done)


def _judge_key(key: yaml.Node, seen: Collection[str]) -> str:
    """What is wrong with a key and what to do; empty for nothing."""
    if not isinstance(key, yaml.ScalarNode):
        return "a list or a mapping is no key. Write a name."
    if key.value in seen:
        return f"{key.value} is there twice. Remove one."
    if key.tag not in (_TEXT, _MERGE):
        return (
            f"YAML takes the key {key.value} for something else than text. Write it in quotes: '{key.value}'."
        )
    if key.value != key.value.strip() or not key.value.isprintable():
        return f"the key {key.value!a} has characters in it that nobody sees. Remove them."
    return ""
