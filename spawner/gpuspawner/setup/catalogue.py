"""Reading ``images/images.toml``: each key is checked here, and a mistake is told with its fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import SetupError


class ImageStatus(StrEnum):
    """What an image is for."""

    LAYER = "layer"
    """Only other images stand on it."""
    CANDIDATE = "candidate"
    """They can choose it whose policy names it."""
    DEFAULT = "default"
    """Everybody can choose it; the first one in the file is what a start takes unless told otherwise."""
    FROZEN = "frozen"
    """Everybody can choose it until a date; its locks and those of its parents are left as they are."""
    RETIRED = "retired"
    """Nobody can choose it any more; servers that run go on."""


RENAMED = {"current": "default"}
"""What a status was called before."""
REQUIRED = frozenset({"name", "title", "description", "status"})
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
"""Docker's rule for repositories, without slashes."""
RESERVED = ("finish", "session")
DRIVER = re.compile(r"\d{3,4}(\.\d{1,4}){0,2}")
CAPABILITY = re.compile(r"\d{1,2}\.\d")


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The images of the file, each key of them checked by itself.

    Raises:
        SetupError: It is missing or malformed; names the image, the key and the fix.
    """
    try:
        data = tomllib.loads(file.read_text())
    except OSError as error:
        raise SetupError(f"The image catalogue {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{file} is not TOML: {error}") from error
    if set(data) != {"image"} or not isinstance(data["image"], list) or not data["image"]:
        raise SetupError(
            f"{file} must hold [[image]] tables, and nothing else; it holds: {', '.join(data) or 'nothing'}."
        )
    for number, raw in enumerate(data["image"], 1):
        if not isinstance(raw, dict):
            raise SetupError(f"{file}: 'image' must be [[image]] tables; number {number} is {raw!r}.")
        _check_entry(f"{file}, image {raw.get('name', number)!r}", raw)
    return list(data["image"])


def _check_entry(where: str, raw: Mapping[str, object]) -> None:
    for key, value in raw.items():
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are: {', '.join(sorted(KEYS))}."
            raise SetupError(f"{where}: {key!r} is not a key of an image; {hint}")
        problem = KEYS[key](value)
        if problem:
            raise SetupError(f"{where}: {key!r} {problem}.")
    for key in sorted(REQUIRED - set(raw)):
        raise SetupError(f"{where}: {key!r} is missing. Add it.")
    _check_together(where, raw)


def _check_together(where: str, raw: Mapping[str, object]) -> None:
    frozen = raw["status"] == "frozen"
    if frozen and "until" not in raw:
        raise SetupError(
            f"{where}: 'until' is missing: the last day of a frozen image. Add until = 2027-07-31."
        )
    if "until" in raw and not frozen:
        raise SetupError(
            f"{where}: 'until' belongs to status \"frozen\", and the status is {raw['status']!r}. Remove it."
        )
    if "compute_capability" in raw and "minimum_driver" not in raw:
        raise SetupError(f"{where}: 'minimum_driver' is missing beside 'compute_capability'. Add it.")
    if "lock" in raw and "parent" not in raw:
        raise SetupError(
            f"{where}: 'lock' needs a 'parent': an image made from Debian packages has no Python. Remove it."
        )


def _text(value: object) -> str | None:
    good = isinstance(value, str) and value and value == value.strip() and value.isprintable()
    return None if good else f"must be a text of one line, not {value!r}"


def _name(value: object) -> str | None:
    if value in RESERVED:
        return f"must be another than {value!r}: that folder has a part of all images"
    if isinstance(value, str) and NAME.fullmatch(value):
        return None
    return f"must be lower-case letters and digits, with . _ - between them, not {value!r}"


def _texts(value: object) -> str | None:
    if isinstance(value, list) and value and all(_text(one) is None for one in value):
        return None
    return f'must be a list of texts, such as ["NumPy"], not {value!r}'


def _file_name(value: object) -> str | None:
    if isinstance(value, str) and value.endswith(".lock") and "/" not in value and value != ".lock":
        return None
    return f'must be the name of a file in the image\'s folder, such as "requirements.lock", not {value!r}'


def _status(value: object) -> str | None:
    if value in list(ImageStatus):
        return None
    near = [RENAMED[value]] if isinstance(value, str) and value in RENAMED else []
    near = near or get_close_matches(str(value), [str(one) for one in ImageStatus], n=1)
    hint = f"did you mean {near[0]!r}? It" if near else "it"
    return f"is {value!r}; {hint} must be one of: {', '.join(ImageStatus)}"


def _day(value: object) -> str | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return None
    return f"must be a day without quotes, such as 2027-07-31, not {value!r}"


def _driver(value: object) -> str | None:
    if isinstance(value, str) and DRIVER.fullmatch(value):
        return None
    return f'must be a driver version, such as "525.60.13", not {value!r}'


def _capabilities(value: object) -> str | None:
    problem = f'must be the least and the largest one, such as ["7.0", "12.0"], not {value!r}'
    if not isinstance(value, list) or len(value) != 2:
        return problem
    if not all(isinstance(one, str) and CAPABILITY.fullmatch(one) for one in value):
        return problem
    least, largest = ([int(part) for part in one.split(".")] for one in value)
    return None if least <= largest else f"names the larger one first: {value!r}. Swap them"


KEYS: dict[str, Callable[[object], str | None]] = {
    "name": _name,
    "parent": _name,
    "title": _text,
    "description": _text,
    "inside": _texts,
    "lock": _file_name,
    "tests": _texts,
    "status": _status,
    "until": _day,
    "minimum_driver": _driver,
    "compute_capability": _capabilities,
}
"""Every key, with what is wrong with a value of it, or None."""
