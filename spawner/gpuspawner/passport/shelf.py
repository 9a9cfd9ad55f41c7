"""Where passports are kept: one file for each image, named by the image's id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gpuspawner.core.errors import PassportError

from .model import Passport, parse_passport
from .whole import write_whole

MOST_BYTES = 16 * 2**20
"""A passport of an image with a thousand packages has 100 KiB."""
_NAME = re.compile(r"[0-9a-f]{64}")


def read_passport(path: Path) -> Passport | None:
    """The passport in a file; None when there is no such file.

    Raises:
        PassportError: It cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PassportError(f"The passport {path} cannot be read: {error.strerror}.") from error
    if len(text) > MOST_BYTES:
        raise PassportError(f"The passport {path} has more than {MOST_BYTES // 2**20} MiB; it is none.")
    return parse_passport(text, str(path))


def write_passport(passport: Passport, path: Path) -> None:
    """Put a passport into a file, whole or not at all, making the directory.

    Raises:
        PassportError: It cannot be written; what was there is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, passport.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise PassportError(f"The passport {path} cannot be written: {error.strerror}.") from error


class Shelf:
    """A directory of passports.

    Args:
        directory: It need not exist, and then holds none.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._read: dict[str, tuple[tuple[int, int, int], Passport]] = {}
        """By id, what was read last and of which state of its file."""

    def path_of(self, digest: str) -> Path:
        """Where the passport of an image is, or would be. Raises: PassportError: That is no id."""
        sha256 = digest.removeprefix("sha256:")
        if not _NAME.fullmatch(sha256):
            raise PassportError(f"{digest!r} is not the id of an image, sha256:…")
        return self.directory / f"{sha256}.json"

    def find(self, digest: str) -> Passport | None:
        """The passport of an image, read again when its file has changed; None when it has none.

        Raises:
            PassportError: It cannot be read, or is that of another image.
        """
        path = self.path_of(digest)
        try:
            about = path.stat()
        except OSError:
            self._read.pop(digest, None)
            return read_passport(path)
        state = (about.st_mtime_ns, about.st_ino, about.st_size)
        known = self._read.get(digest)
        if known is not None and known[0] == state:
            return known[1]
        passport = read_passport(path)
        if passport is not None:
            if path != self.path_of(passport.digest):
                raise PassportError(
                    f"The passport {path} is that of another image, {passport.digest}. "
                    "Make it anew: gpuspawner passport make IMAGE"
                )
            self._read[digest] = (state, passport)
        return passport

    def put(self, passport: Passport) -> Path:
        """Keep a passport, in place of the one before. Raises: PassportError."""
        path = self.path_of(passport.digest)
        write_passport(passport, path)
        return path

    def all(self) -> Iterator[Passport | PassportError]:
        """Every passport, or why it cannot be read; in the order of the ids."""
        for path in sorted(self.directory.glob("*.json")) if self.directory.is_dir() else ():
            if _NAME.fullmatch(path.stem):
                try:
                    passport = self.find(path.stem)
                except PassportError as error:
                    yield error
                else:
                    if passport is not None:
                        yield passport
