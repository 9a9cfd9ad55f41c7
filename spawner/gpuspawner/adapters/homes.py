"""Making a home for a person who has none."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gpuspawner.core.errors import SettingsError
from gpuspawner.core.model import Home, HomeKind


def name_home(owner: str, kind: HomeKind, base: Path) -> Home:
    """Name a new home at random: nothing about it can be derived from the person's name.

    Args:
        owner: The person.
        kind: A Docker volume or a directory.
        base: Directory in which directories are made; unused for volumes.
    """
    name = f"gpuspawner-home-{secrets.token_hex(6)}"
    return Home(owner, kind, name if kind is HomeKind.VOLUME else str(base.absolute() / name))


def create_home_directory(home: Home, *, uid: int, gid: int) -> None:
    """Make the directory of a new home that is a directory; Docker makes volumes itself.

    Only ever called for a new home: where the directory of a known home is missing, a disk is not mounted,
    and an empty one in its place would look like loss.

    Raises:
        SettingsError: It cannot be made or given to the container's user.
    """
    if home.kind is not HomeKind.BIND:
        return
    path = Path(home.source)
    try:
        path.mkdir(mode=0o700, parents=True)
        os.chown(path, uid, gid)
    except OSError as error:
        raise SettingsError(
            f"The home directory {path} cannot be made: {error.strerror}. The hub must be able to create "
            f"directories there and to give them to user {uid}; or use volumes for homes."
        ) from error
