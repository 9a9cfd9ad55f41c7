"""The image catalogue ``images/images.toml``, read and checked: for builds, hub settings and tests."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import SetupError
from .paths import Paths
from .session import digest_sources
from .stamps import digest

REPOSITORY = "gpuspawner"
"""Every image is ``gpuspawner/<name>``."""
TAG_LENGTH = 12
SESSION_CONTEXT = "session"
"""What Dockerfiles call the folder with the wheel of gpuspawner-session."""


class ImageStatus(StrEnum):
    """What an image is for."""

    LAYER = "layer"
    """Only other images stand on it."""
    CURRENT = "current"
    """People can choose it."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image."""

    name: str
    parent: str | None
    """The image it stands on; None for the one that is made from Debian packages."""
    title: str
    """What people choose by."""
    description: str
    lock: str | None
    """Its lock file, relative to its folder."""
    status: ImageStatus
    folder: Path
    """Its build context."""
    reference: str
    """Repository and tag. The tag is a hash of all that goes in, so other contents have another tag."""
    takes_session: bool = False
    """Whether the wheel of gpuspawner-session goes in."""

    @property
    def offered(self) -> bool:
        """Whether people can choose it."""
        return self.status is ImageStatus.CURRENT

    @property
    def latest(self) -> str:
        """The tag that moves along, for people at a shell."""
        return f"{REPOSITORY}/{self.name}:latest"


REQUIRED = {"name", "title", "description", "status"}
KNOWN = REQUIRED | {"parent", "lock"}


def load_catalogue(path: Path | None = None) -> tuple[ImageEntry, ...]:
    """The images in the order in which they can be built; offered ones in the order of the file.

    Args:
        path: The catalogue; this checkout's own unless given.

    Raises:
        SetupError: It is missing, malformed or contradicts itself; names the key and the fix.
    """
    file = path or Paths().images / "images.toml"
    entries: dict[str, ImageEntry] = {}
    for raw in _in_build_order(file, _read(file)):
        parent = entries[raw["parent"]] if "parent" in raw else None
        entries[raw["name"]] = _make_entry(file, raw, parent)
    return tuple(entries.values())


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        data = tomllib.loads(file.read_text())
    except OSError as error:
        raise SetupError(f"The image catalogue {file} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{file} is not TOML: {error}") from error
    if set(data) != {"image"} or not isinstance(data["image"], list) or not data["image"]:
        raise SetupError(
            f"{file} must hold [[image]] tables, and nothing else; it holds: {', '.join(data) or 'nothing'}."
        )
    for number, raw in enumerate(data["image"], 1):
        _check_keys(f"{file}, image {raw.get('name', number)!r}", raw)
    return list(data["image"])


def _check_keys(where: str, raw: Mapping[str, object]) -> None:
    for key, value in raw.items():
        if key not in KNOWN:
            near = get_close_matches(key, KNOWN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are: {', '.join(sorted(KNOWN))}."
            raise SetupError(f"{where}: {key!r} is not a key of an image; {hint}")
        if not isinstance(value, str) or not value:
            raise SetupError(f"{where}: {key!r} must be a text, not {value!r}.")
    for key in sorted(REQUIRED - set(raw)):
        raise SetupError(f"{where}: {key!r} is missing. Add it.")
    if raw["status"] not in list(ImageStatus):
        raise SetupError(
            f"{where}: 'status' is {raw['status']!r}; it must be one of: {', '.join(ImageStatus)}."
        )


def _in_build_order(file: Path, raws: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = [raw["name"] for raw in raws]
    for raw in raws:
        if names.count(raw["name"]) > 1:
            raise SetupError(f"{file}: two images are called {raw['name']!r}. Rename one.")
        if raw.get("parent", raw["name"]) not in names:
            raise SetupError(
                f"{file}, image {raw['name']!r}: its 'parent' {raw['parent']!r} is not in the file. "
                f"Images are: {', '.join(names)}."
            )
    ordered: list[dict[str, Any]] = []
    done: set[str] = set()
    waiting = list(raws)
    while waiting:
        ready = next((raw for raw in waiting if raw.get("parent") in {None, *done}), None)
        if ready is None:
            names = [raw["name"] for raw in waiting]
            raise SetupError(
                f"{file}: the 'parent' keys of these go in a circle: {', '.join(names)}. Break it."
            )
        ordered.append(ready)
        done.add(ready["name"])
        waiting.remove(ready)
    return ordered


def _make_entry(file: Path, raw: Mapping[str, Any], parent: ImageEntry | None) -> ImageEntry:
    folder = file.parent / raw["name"]
    lock = raw.get("lock")
    if not folder.is_dir() or (lock and not (folder / lock).is_file()):
        missing = folder / lock if lock and folder.is_dir() else folder
        raise SetupError(
            f"{file}, image {raw['name']!r}: {missing} does not exist. Create it, or correct the name."
        )
    takes_session = _takes_session(folder)
    session = digest_sources(file.parent / "session") if takes_session else b""
    tag = _hash_inputs(folder, parent, session)
    return ImageEntry(
        name=raw["name"],
        parent=raw.get("parent"),
        title=raw["title"],
        description=raw["description"],
        lock=lock,
        status=ImageStatus(raw["status"]),
        folder=folder,
        reference=f"{REPOSITORY}/{raw['name']}:{tag}",
        takes_session=takes_session,
    )


def _takes_session(folder: Path) -> bool:
    dockerfile = folder / "Dockerfile"
    return dockerfile.is_file() and f"from={SESSION_CONTEXT}" in dockerfile.read_text()


def _hash_inputs(folder: Path, parent: ImageEntry | None, session: bytes) -> str:
    parts = [parent.reference.encode() if parent else b"", *([session] if session else [])]
    for path in sorted(folder.rglob("*")):
        # What is only read by people or by `make lock` does not change the image.
        if path.is_file() and path.suffix not in {".in", ".md"}:
            parts += [
                str(path.relative_to(folder)).encode(),
                oct(path.stat().st_mode & 0o111).encode(),
                path.read_bytes(),
            ]
    return digest(parts)[:TAG_LENGTH]
