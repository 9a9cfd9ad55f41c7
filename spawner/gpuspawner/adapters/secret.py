"""A secret that two processes share through a private file."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from gpuspawner.core.errors import SettingsError

_SECRET = re.compile(r"[!-~]{32,64}")
"""JupyterHub cuts tokens that are longer than 64 characters short, without a word."""


def read_private(path: Path) -> str:
    """Read a secret that somebody else made, such as a login provider.

    Raises:
        SettingsError: It cannot be read, others may read it, or it is empty; with the fix.
    """
    try:
        _require_private(path)
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise SettingsError(f"The secret {path} is not text in UTF-8.") from error
    except OSError as error:
        raise SettingsError(f"The secret {path} cannot be read: {error.strerror}.") from error
    if not text:
        raise SettingsError(f"The file {path} is empty; it must hold the secret and nothing else.")
    return text


def _require_private(path: Path) -> None:
    if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SettingsError(f"Others may read or change the secret {path}; run: chmod 600 {path}")


def ensure_secret(path: Path) -> str:
    """Read the secret, making it if there is none. Whichever process comes first makes it, for both.

    Raises:
        SettingsError: It cannot be read or made, others may read it, or it is no secret; with the fix.
    """
    try:
        if not path.exists():
            _make(path)
        _require_private(path)
        text = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise SettingsError(
            f"The secret {path} cannot be read or made: {error.strerror}. Hub and controller must both be "
            "able to read it."
        ) from error
    if not _SECRET.fullmatch(text):
        raise SettingsError(f"{path} must hold 32 to 64 characters; delete it, and a new one is made.")
    return text


def _make(path: Path) -> None:
    """Make the file whole or not at all: the other process may look at the same moment."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(partial)
    finally:
        partial.unlink()
