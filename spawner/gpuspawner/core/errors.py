"""The exception tree.

::

    GpuSpawnerError            anything of ours; ``str()`` is a sentence for people
    ├── InvalidRequest         what a person asked for is malformed (HTTP 400)
    ├── Refused                well-formed, and not granted; carries a ``RefusalKind``
    ├── ReservationConflict    a reservation collides with others; carries with what (HTTP 409)
    ├── LedgerError            the ledger cannot be used, so no GPU can be given out
    ├── EngineError            the Docker Engine gave no usable answer: proves nothing
    ├── ProbeError             NVML gave no usable answer: proves nothing
    ├── IllegalTransition      a lease was asked to take a step that does not exist
    ├── SettingsError          a settings file is wrong; names file, key and fix
    └── RunLockHeld            another process of the same kind uses this ledger
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reservations import Conflict


class RefusalKind(StrEnum):
    """Why a well-formed request was refused. A small fixed set: it becomes a metrics label."""

    NEVER = "never_possible"
    """No card of this installation could ever satisfy it."""
    NOT_ALLOWED = "not_allowed"
    """A limit forbids it to this person."""
    NOT_NOW = "not_free_now"
    """Possible and allowed, but the cards are held by others at the moment."""
    NO_INVENTORY = "no_inventory"
    """The state of the cards is not known, so none is given out."""


class GpuSpawnerError(Exception):
    """Root of the tree; its text is a plain sentence that names the thing and the fix."""


class InvalidRequest(GpuSpawnerError):
    """What a person asked for is malformed."""


class Refused(GpuSpawnerError):
    """A well-formed request that is not granted."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ReservationConflict(GpuSpawnerError):
    """A reservation that cannot have its devices."""

    def __init__(self, message: str, conflicts: Sequence[Conflict]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


class LedgerError(GpuSpawnerError):
    """The ledger cannot be read or written."""


class EngineError(GpuSpawnerError):
    """The Docker Engine gave no usable answer."""


class ProbeError(GpuSpawnerError):
    """NVML gave no usable answer."""


class IllegalTransition(GpuSpawnerError):
    """A lease was asked to take a step that its life does not have."""


class SettingsError(GpuSpawnerError):
    """A settings file is wrong."""


class RunLockHeld(GpuSpawnerError):
    """Another process of the same kind already works on this ledger."""
