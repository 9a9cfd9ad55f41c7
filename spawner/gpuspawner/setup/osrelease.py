"""Which system this host runs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

BASE_RELEASE = "trixie"
"""The Debian release of the images, and of the Docker Engine where the host's own is too old."""


@dataclass(frozen=True, slots=True)
class Release:
    """A system's name."""

    id: str
    codename: str
    name: str


def read_release(path: Path = Path("/etc/os-release")) -> Release:
    """This host's system; fields that the file lacks are empty."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        lines = []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    fields = {key: "".join(shlex.split(value)[:1]) for key, value in pairs}
    return Release(
        fields.get("ID", ""), fields.get("VERSION_CODENAME", ""), fields.get("PRETTY_NAME", "This system")
    )
