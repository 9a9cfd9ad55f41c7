"""The image catalogue ``images/images.toml``, read and checked: for builds, hub settings and tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from .catalogue import ImageStatus, read_entries
from .errors import SetupError
from .paths import Paths
from .session import digest_sources
from .stamps import digest

REPOSITORY = "gpuspawner"
"""Every image is ``gpuspawner/<name>``."""
TAG_LENGTH = 12
PASSPORT = "passport.json"
SCRAP = {"__pycache__", ".mypy_cache", ".ruff_cache"}
"""What linters and Python leave beside their sources."""
FINISH = "finish"
"""The folder of the last steps of every image that people can choose."""
SESSION = "session"
"""The folder of gpuspawner-session, which goes into these."""
LAYER_RECIPE = "layer.Dockerfile"
"""The Dockerfile of images that have none of their own."""
LAYER_LOCK = "requirements.lock"
"""The lock file that it installs."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image."""

    name: str
    parent: str | None
    """The image it stands on; None for the one that is made from Debian packages."""
    title: str
    """What people choose by."""
    description: str
    inside: tuple[str, ...]
    """What is in it beside what its parents have, as people read it."""
    lock: str | None
    """Its lock file, relative to its folder."""
    tests: tuple[str, ...]
    """Its own tests after those of its parents: ``lab`` is ``tests/images/test_lab.py``."""
    status: ImageStatus
    until: date | None
    """The last day on which a frozen image can be chosen."""
    minimum_driver: str | None
    """The oldest NVIDIA driver it works with, its parents' unless it has its own; None: it brings no CUDA."""
    compute_capability: tuple[str, str] | None
    """Least and largest compute capability that it has code for, ``("7.0", "12.0")``; None: any."""
    folder: Path
    """Its build context."""
    chain: tuple[str, ...]
    """Names of the images it stands on and its own, parents first."""
    locks: tuple[Path, ...]
    """Lock files of the chain, parents first."""
    lock_hash: str
    """SHA-256 over these files, one after the other: ``cat LOCKS | sha256sum``."""
    packages: str
    """Reference of what others stand on: all of it but the last steps."""
    reference: str
    """Repository and tag. The tag is a hash of all that goes in, so other contents have another tag."""

    @property
    def offered(self) -> bool:
        """Whether anybody can choose it."""
        return self.status in (ImageStatus.CANDIDATE, ImageStatus.DEFAULT, ImageStatus.FROZEN)

    @property
    def on_demand(self) -> bool:
        """Whether it is built only when asked for: what brings CUDA has gigabytes."""
        return self.minimum_driver is not None

    @property
    def latest(self) -> str:
        """The tag that moves along, for people at a shell."""
        return f"{REPOSITORY}/{self.name}:latest"


def load_catalogue(path: Path | None = None, *, locked: bool = True) -> tuple[ImageEntry, ...]:
    """The images in the order in which they can be built; offered ones in the order of the file.

    Args:
        path: The catalogue; this checkout's own unless given.
        locked: Whether every lock file must be there; `make lock` makes those that are not.

    Raises:
        SetupError: It is missing, malformed or contradicts itself; names the key and the fix.
    """
    file = path or Paths().images / "images.toml"
    entries: dict[str, ImageEntry] = {}
    for raw in _in_build_order(file, read_entries(file)):
        parent = entries[raw["parent"]] if "parent" in raw else None
        entries[raw["name"]] = _make_entry(file, raw, parent, locked=locked)
    return tuple(entries.values())


def hash_locks(locks: Iterable[Path]) -> str:
    """SHA-256 over lock files, one after the other."""
    return sha256(b"".join(lock.read_bytes() for lock in locks if lock.exists())).hexdigest()


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
    _require_titles(file, [raw for raw in raws if raw["status"] != ImageStatus.LAYER])
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


def _require_titles(file: Path, raws: list[dict[str, Any]]) -> None:
    # People choose by titles, and settings name images by either.
    taken: dict[str, str] = {raw["name"]: raw["name"] for raw in raws}
    for raw in raws:
        if taken.setdefault(raw["title"], raw["name"]) != raw["name"]:
            raise SetupError(
                f"{file}, image {raw['name']!r}: its 'title' {raw['title']!r} is also what the image "
                f"{taken[raw['title']]!r} is called. Change one."
            )


def _make_entry(file: Path, raw: Mapping[str, Any], parent: ImageEntry | None, *, locked: bool) -> ImageEntry:
    folder, lock = file.parent / raw["name"], raw.get("lock")
    _require_files(file, raw, folder, locked=locked)
    locks = (*(parent.locks if parent else ()), *((folder / lock,) if lock else ()))
    chain = (*(parent.chain if parent else ()), raw["name"])
    packages = _hash_packages(folder, file.parent, parent)
    status = ImageStatus(raw["status"])
    layer = status is ImageStatus.LAYER
    finished = packages if layer else _hash_finish(file.parent, packages, chain, raw["title"])
    return ImageEntry(
        name=raw["name"],
        parent=raw.get("parent"),
        title=raw["title"],
        description=raw["description"],
        inside=tuple(raw.get("inside", ())),
        lock=lock,
        tests=(*(parent.tests if parent else ()), *raw.get("tests", ())),
        status=status,
        until=raw.get("until"),
        minimum_driver=raw.get("minimum_driver", parent.minimum_driver if parent else None),
        compute_capability=_find_capability(raw, parent),
        folder=folder,
        chain=chain,
        locks=locks,
        lock_hash=hash_locks(locks),
        packages=f"{REPOSITORY}/{raw['name']}:{packages}{'' if layer else '-packages'}",
        reference=f"{REPOSITORY}/{raw['name']}:{finished}",
    )


def _require_files(file: Path, raw: Mapping[str, Any], folder: Path, *, locked: bool) -> None:
    where, lock = f"{file}, image {raw['name']!r}", raw.get("lock")
    if not folder.is_dir():
        raise SetupError(f"{where}: {folder} does not exist. Create it, or correct the name.")
    if lock and not (folder / lock).is_file():
        source = (folder / lock).with_suffix(".in")
        if not source.is_file():
            raise SetupError(f"{where}: {folder / lock} does not exist. Write {source}, or correct the name.")
        if locked:
            raise SetupError(
                f"{where}: {folder / lock} does not exist. Make it from {source.name}: make lock"
            )
    if "parent" in raw and lock != LAYER_LOCK and not (folder / "Dockerfile").is_file():
        raise SetupError(
            f"{where}: {folder} has no Dockerfile, so the image is its parent with the packages of its lock. "
            f'Write requirements.in there, add lock = "{LAYER_LOCK}" and run make lock.'
        )


def _find_capability(raw: Mapping[str, Any], parent: ImageEntry | None) -> tuple[str, str] | None:
    if "compute_capability" in raw:
        least, largest = raw["compute_capability"]
        return least, largest
    return parent.compute_capability if parent else None


def _hash_packages(folder: Path, images: Path, parent: ImageEntry | None) -> str:
    parts = [parent.packages.encode() if parent else b"", *_read_folder(folder)]
    recipe = find_recipe(folder, images)
    if recipe.parent != folder and recipe.is_file():
        parts.append(recipe.read_bytes())
    return digest(parts)[:TAG_LENGTH]


def _hash_finish(images: Path, packages: str, chain: Iterable[str], title: str) -> str:
    said = [packages, *chain, title]
    parts = [*(one.encode() for one in said), *_read_folder(images / FINISH)]
    return digest([*parts, digest_sources(images / SESSION)])[:TAG_LENGTH]


def _read_folder(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        # What people or `make lock` read, or what was written after the build, does not change the image.
        unread = path.suffix in {".in", ".md"} or path.name == PASSPORT
        if path.is_file() and not unread and SCRAP.isdisjoint(path.relative_to(folder).parts):
            yield str(path.relative_to(folder)).encode()
            # Whoever made this checkout may run it; who else may is a matter of their umask.
            yield oct(0o111 if path.stat().st_mode & 0o100 else 0).encode()
            yield path.read_bytes()


def find_recipe(folder: Path, images: Path) -> Path:
    """The Dockerfile of an image: its own, else the one that installs a lock on top of the parent."""
    own = folder / "Dockerfile"
    return own if own.is_file() else images / LAYER_RECIPE


def list_statuses(entries: Iterable[ImageEntry]) -> dict[str, Any]:
    """The hub's settings that say which of these images are candidates, and until when others are frozen."""
    offered = list(entries)
    return {
        "candidates": [one.title for one in offered if one.status is ImageStatus.CANDIDATE],
        "frozen": {one.title: one.until for one in offered if one.until},
    }
