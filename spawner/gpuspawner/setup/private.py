"""Keeping passwords from the other users of the host, and out of logs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import SetupError

LOGIN = re.compile(r"//[^/\s@'\"]*:[^/\s'\"]*@")
"""A name and a password in an address. Passwords may contain an ``@``."""


def mask_logins(text: str) -> str:
    """The text with names and passwords in addresses made unreadable."""
    return LOGIN.sub("//***@", text)


def has_login(text: str) -> bool:
    """Whether there is a name with a password in an address of the text."""
    return LOGIN.search(text) is not None


def make_private(folder: Path) -> None:
    """Make a directory, or close one that is there, to everybody else.

    Raises:
        SetupError: It belongs to somebody else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except PermissionError as error:
        raise SetupError(
            f"{folder} cannot be used ({error.strerror}): another user made it. Run the same command as that "
            "user (root, after sudo), or let that user run `make clean` first."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that was never readable for others, not for a moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
