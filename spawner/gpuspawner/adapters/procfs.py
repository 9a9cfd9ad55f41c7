"""Which container a process of the host runs in, told by its control groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_CONTAINER = re.compile(r"(?:^|/)(?:docker[-/])?(?P<id>[0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""Docker names the group ``/docker/<id>`` (cgroupfs driver) or ``docker-<id>.scope`` (systemd driver);
a ``--cgroup-parent`` may stand in front of it, and the container may make groups of its own below it."""


def find_container(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return the full id of the container that a process runs in.

    Args:
        pid: Process id in the host's namespace.
        proc: Where procfs is mounted.

    Returns:
        64 hexadecimal digits; None for a process of the host itself, and for one that is gone or hidden.
    """
    # A host that is a container itself: what this process runs in is no container of its Engine's.
    around = frozenset(_find_ids(_read(proc / "self" / "cgroup")))
    return next((one for one in _find_ids(_read(proc / str(pid) / "cgroup")) if one not in around), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _find_ids(text: str) -> Iterator[str]:
    """Ids of containers in the text of ``/proc/<pid>/cgroup``, the outermost of each line first.

    Every line is ``hierarchy:controllers:path``; version 2 has one line, version 1 one for each controller.
    With Docker inside a container the first id of a path is the host's own container, which is what the
    host's Engine knows.
    """
    for line in text.splitlines():
        for found in _CONTAINER.finditer(line.split(":", 2)[-1]):
            yield found["id"]
