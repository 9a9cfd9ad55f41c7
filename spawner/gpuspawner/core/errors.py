"""The exception tree.

::

    GpuSpawnerError            anything of ours; ``str()`` is a sentence for people
    ├── InvalidRequest         what a person asked for is malformed (HTTP 400)
    │   └── RosterRefused      a roster that cannot be taken; carries what is wrong, by line
    ├── NotFound               what is named does not exist, or not for this person (HTTP 404)
    ├── Refused                well-formed, and not granted; carries a ``RefusalKind``
    │   └── InLine             not granted now, and it has a place in line
    ├── Conflict               it cannot be done as things are now (HTTP 409)
    │   └── ReservationConflict  a reservation collides with others; carries with what
    ├── LedgerError            the ledger cannot be used, so no GPU can be given out
    ├── EngineError            the Docker Engine gave no usable answer: proves nothing
    ├── HubError               the Hub or a server gave no usable answer: proves nothing
    ├── DeliveryError          a message to a person could not be delivered
    ├── IllegalTransition      a lease was asked to take a step that does not exist
    ├── SettingsError          a settings file is wrong; names file, key and fix
    ├── PassportError          an image's passport cannot be made, read or believed
    ├── CheckError             an image cannot be checked; the text says why
    └── RunLockHeld            another process of the same kind uses this ledger
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reservations import Conflict as Collision
    from .roster import RosterProblem


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


class RosterRefused(InvalidRequest):
    """A roster that cannot be taken; nothing of it was."""

    def __init__(self, message: str, problems: Sequence[RosterProblem]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotFound(GpuSpawnerError):
    """What is named does not exist, or not for this person."""


class Refused(GpuSpawnerError):
    """A well-formed request that is not granted."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Conflict(GpuSpawnerError):
    """It cannot be done as things are now; the text says what stands in the way."""


class ReservationConflict(Conflict):
    """A reservation that cannot have its devices."""

    def __init__(self, message: str, conflicts: Sequence[Collision]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


class InLine(Refused):
    """Not granted now; it has a place in line."""

    def __init__(self, message: str, *, ticket_id: str, ahead: int) -> None:
        super().__init__(RefusalKind.NOT_NOW, message)
        self.ticket_id = ticket_id
        self.ahead = ahead
        """How many come before it."""


class LedgerError(GpuSpawnerError):
    """The ledger cannot be read or written."""


class EngineError(GpuSpawnerError):
    """The Docker Engine gave no usable answer."""


class HubError(GpuSpawnerError):
    """The Hub, or a server of somebody's, gave no usable answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of its answer; None when there was none."""


class DeliveryError(GpuSpawnerError):
    """A mail server, or a webhook, did not take a message."""


class IllegalTransition(GpuSpawnerError):
    """A lease was asked to take a step that its life does not have."""


class SettingsError(GpuSpawnerError):
    """A settings file is wrong."""


class PassportError(GpuSpawnerError):
    """The passport of an image cannot be made, read or believed."""


class CheckError(GpuSpawnerError):
    """An image cannot be checked, or its result cannot be recorded."""


class RunLockHeld(GpuSpawnerError):
    """Another process of the same kind already works on this ledger."""
