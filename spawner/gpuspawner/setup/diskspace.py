"""Whether the disk has room for what is to be built."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .console import capture
from .errors import SetupError
from .images import ImageEntry

GIB = 2**30
FINISH = GIB // 10
"""What the last steps of an image take, where its packages are there already."""
SMALL = 2 * GIB
"""What an image without CUDA of its own takes at most, with the files that pip keeps."""
CUDA = 12 * GIB
"""What PyTorch with its CUDA takes: its layer, and the files that pip keeps (measured: docs/images.md)."""
PIN = re.compile(r"^([a-z0-9._-]+)==", re.M)


def require_space(
    entries: Sequence[ImageEntry],
    free_at: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    there: Callable[[str], bool] = lambda reference: False,
) -> None:
    """Refuse to begin what would end with a full disk.

    Args:
        entries: What is to be built.
        free_at: Free room in bytes where a path is.
        there: Whether the Engine has an image of that name, which is then not built again.

    Raises:
        SetupError: There is too little room; names what is needed, what is there and how to make room.
    """
    root = (capture(["docker", "info", "--format", "{{.DockerRootDir}}"]) or "").strip()
    # An Engine on another machine has its disk there.
    if not root or not Path(root).is_dir():
        return
    need = sum(FINISH if there(entry.packages) else estimate_need(entry) for entry in entries)
    free = free_at(Path(root))
    if free < need:
        raise SetupError(
            f"Building {', '.join(entry.name for entry in entries)} needs {need / GIB:.0f} GiB in {root}; "
            f"{free / GIB:.1f} GiB are free. Nothing was changed. Make room, then run again: "
            "`docker system df` shows what is used, `docker image prune` and `docker builder prune` free it."
        )


def estimate_need(entry: ImageEntry) -> int:
    """Room that building an image on top of its parents takes, in bytes."""
    if entry.lock is None:
        return SMALL
    *above, own = (set(PIN.findall(lock.read_text())) for lock in entry.locks)
    # A course's lock names all that its packages need, also what the parent has already.
    return (
        CUDA if "nvidia-cublas-cu12" in own.difference(*above) or "torch" in own.difference(*above) else SMALL
    )
