"""Directories of the host in people's servers: which may be there at all, and what nobody may be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .words import mark


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host in a container."""

    path: str
    """Absolute, on the host."""
    target: str
    """Absolute, in the container."""
    read_only: bool = True


SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin",
    "/sys", "/usr", "/var/backups", "/var/cache", "/var/lib/containerd", "/var/lib/docker",
    "/var/lib/gpuspawner", "/var/log", "/var/run", "/var/spool",
)  # fmt: skip
"""What belongs to the host itself: no server sees any of it, nor what it lies in."""
OWN_TARGETS = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt/gpuspawner", "/opt/jupyter",
    "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var",  # noqa: S108 - no file of ours
)  # fmt: skip
"""Where an image has what makes it run: nothing can be put there."""


@dataclass(frozen=True, slots=True)
class Places:
    """What the settings of an installation say about directories, which a policy must fit to."""

    private: Mapping[str, str]
    """Directories that are not for servers, and what each holds, as ``people's homes``."""
    courses: bool
    """Whether there is a directory in which folders of courses are made."""


def lies_in(path: str, directory: str) -> bool:
    """Whether an absolute path is a directory, or lies in it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def overlap(one: str, other: str) -> bool:
    """Whether one of two absolute paths is the other, or lies in it."""
    return lies_in(one, other) or lies_in(other, one)


def why_not_shared(path: str, private: Mapping[str, str]) -> str | None:
    """Say why a directory of the host may not be in a server; None if it may.

    Args:
        path: Absolute; of a path with links in it, where they lead.
        private: As in :class:`Places`.
    """
    if any(overlap(path, one) for one in SYSTEM):
        return mark(f"{path} belongs to the host itself, or holds what does")
    for directory, what in private.items():
        if overlap(path, directory):
            return mark(f"{path} is, holds or lies in {directory}, where {what} are")
    return None


def why_not_target(target: str) -> str | None:
    """Say why nothing may be put at a place in a server; None if something may."""
    taken = next((one for one in OWN_TARGETS if overlap(target, one)), None)
    return None if taken is None else mark(f"{target} would hide what the image itself has in {taken}")


def find_planted(path: str, writable: Iterable[str]) -> str | None:
    """The directory below which people can write and in which another one that is shared lies, if any.

    Whoever can write there could put a link in its place, and see whatever it leads to.
    """
    return next((one for one in writable if path != one and lies_in(path, one)), None)
