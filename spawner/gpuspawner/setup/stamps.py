"""Stamps: proof that a step was finished with these inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def digest(parts: Iterable[bytes]) -> str:
    """Hash of parts in order; the borders between them count."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.hexdigest()


def digest_files(files: Iterable[Path]) -> str:
    """Hash of the contents of files, in the order given."""
    return digest(file.read_bytes() for file in files)


def read_stamp(path: Path) -> dict[str, str]:
    """What was finished; empty if nothing was, or if the stamp is damaged."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def write_stamp(path: Path, stamp: dict[str, str]) -> None:
    """Record, in one step, that something is finished. Write it last."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(stamp, indent=1, sort_keys=True))
    partial.replace(path)


def drop_stamp(path: Path) -> None:
    """Forget that something was finished. Do it before changing anything."""
    path.unlink(missing_ok=True)
