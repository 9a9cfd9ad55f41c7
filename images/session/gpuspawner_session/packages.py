"""Which Python packages this session sees, and which of them its person added."""

from __future__ import annotations

import json
import re
import site
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .image import FOLDER


@dataclass(frozen=True, slots=True)
class Package:
    """One package that is found first, so that it is the one that is imported."""

    name: str
    """Normalised, as indexes write it."""
    version: str
    user: bool
    """Whether the person added it; it is not the image's."""
    replaces: str | None = None
    """Version of the image's package of that name, which is not seen any more."""
    source: str | None = None
    """Where it was installed from when that was no index: an address without its login, or ``local``."""


def find_packages() -> tuple[Package, ...]:
    """All packages, by name.

    Those of the person are found even where this process does not look at them.
    """
    home = site.getusersitepackages()
    path = [home, *(part for part in sys.path if part != home)]
    return list_packages(distributions(path=path), own=(sys.prefix, sys.base_prefix, str(FOLDER)))


def list_packages(found: Iterable[Distribution], own: Sequence[str]) -> tuple[Package, ...]:
    """Say of each package whose it is.

    Args:
        found: In the order in which they are looked for.
        own: Folders whose packages are the image's.
    """
    packages: dict[str, Package] = {}
    for one in found:
        said, version = _read_name(one)
        name = re.sub(r"[-_.]+", "-", said).lower()
        if not name:
            continue  # a folder that is left of a package
        where = Path(str(one.locate_file("")))
        user = not any(where.is_relative_to(folder) for folder in own)
        first = packages.get(name)
        if first is None:
            packages[name] = Package(
                name, version, user, source=read_source(_read_text(one, "direct_url.json"))
            )
        elif first.user and not user and first.replaces is None:
            packages[name] = Package(name, first.version, True, version, first.source)
    return tuple(packages[name] for name in sorted(packages))


def _read_name(one: Distribution) -> tuple[str, str]:
    try:
        return str(one.metadata["Name"] or ""), str(one.version)
    except (UnicodeDecodeError, OSError):
        # Its folder says both, as NAME-VERSION.dist-info.
        name, _, version = Path(str(getattr(one, "_path", ""))).stem.partition("-")
        return name, version or "unknown"


def _read_text(one: Distribution, file: str) -> str | None:
    try:
        return one.read_text(file)
    except (UnicodeDecodeError, OSError):
        return "unreadable"


def read_source(text: str | None) -> str | None:
    """Where a package comes from, by its ``direct_url.json``, without logins and parameters of addresses.

    See https://packaging.python.org/en/latest/specifications/direct-url/
    """
    if not text:
        return None
    try:
        data = json.loads(text)
        parts = urlsplit(str(data["url"]))
        commit = data.get("vcs_info", {}).get("commit_id")
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "unknown"
    if parts.scheme == "file":
        return "local"
    address = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return f"{address}@{commit}" if commit else address


def to_json(packages: Iterable[Package]) -> list[dict[str, object]]:
    """For the stamp: what is not so is left out."""
    return [
        dict[str, object](name=one.name, version=one.version)
        | ({"user": True} if one.user else {})
        | ({"replaces": one.replaces} if one.replaces else {})
        | ({"source": one.source} if one.source else {})
        for one in packages
    ]
