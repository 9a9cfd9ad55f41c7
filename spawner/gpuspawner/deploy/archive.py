"""A release: the part of a checkout that a server needs, in one file that is named by its contents."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpuspawner.setup.paths import RELEASE_MARK
from gpuspawner.setup.session import MADE
from gpuspawner.setup.stamps import digest

PARTS = (
    *("LICENSE", "Makefile", "README.md", "jupyterhub_config.py", "pyproject.toml"),
    *("images", "spawner"),
)
"""Files and directories at the top of a checkout that belong to a release."""
LEFTOVERS = MADE | {".mypy_cache", "gpuspawner.egg-info"}
"""What running, building and installing leave between them."""
NAME_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Release:
    """One release."""

    name: str
    """A hash of all that is in it: other contents have another name, and the same contents the same."""
    archive: Path


def pack(checkout: Path, folder: Path) -> Release:
    """Put a release into an archive; one that is there already is taken.

    Args:
        checkout: Where the files are. What is not committed goes along: its name tells the difference.
        folder: Where the archive goes, as ``<name>.tar.gz``.

    Raises:
        OSError: A part is missing, or the archive cannot be written.
    """
    files = list(_files(checkout))
    name = digest(part for path in files for part in _describe(checkout, path))[:NAME_LENGTH]
    release = Release(name, folder / f"{name}.tar.gz")
    if not release.archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = release.archive.with_suffix(f".{os.getpid()}")
        partial.write_bytes(_compress(checkout, files, name))
        partial.replace(release.archive)
    return release


def _files(checkout: Path) -> Iterator[Path]:
    for part in PARTS:
        path = checkout / part
        if path.is_dir():
            yield from sorted(
                p for p in path.rglob("*") if p.is_file() and not _is_leftover(p.relative_to(checkout))
            )
        else:
            yield path


def _is_leftover(path: Path) -> bool:
    return not LEFTOVERS.isdisjoint(path.parts)


def _describe(checkout: Path, path: Path) -> tuple[bytes, bytes, bytes]:
    return str(path.relative_to(checkout)).encode(), oct(_mode(path)).encode(), path.read_bytes()


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _compress(checkout: Path, files: list[Path], name: str) -> bytes:
    """The archive. Whose the files were, and when they were written, is not in it."""
    target = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files:
            _add(tar, str(path.relative_to(checkout)), path.read_bytes(), _mode(path))
        _add(tar, RELEASE_MARK, f"{name}\n".encode(), 0o644)
    return target.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
