"""What an action of the board comes to, in the one shape that its page shows and its press goes by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from gpuspawner.core.model import Lease


class Fate(StrEnum):
    """What becomes of the sessions that an action is about."""

    ENDS = "ends"
    GOES_ON = "goes on"
    TOLD = "told"
    """Its person reads a message."""


class Asks(StrEnum):
    """What must be filled in beside the reason."""

    NOTHING = "nothing"
    END = "end"
    """For how long from now; nothing is: until somebody ends it."""
    NEW_END = "new end"
    """For how long from now; something must stand there."""
    GRACE = "grace"
    """How long it goes on before it ends; nothing is: at once."""
    HOLDER = "holder"
    TEXT = "text"
    """A message, in place of a reason."""


@dataclass(frozen=True, slots=True)
class Affected:
    """A session that the action is about."""

    id: str
    owner: str
    server: str
    """Name; empty for the default server."""
    devices: tuple[str, ...]
    """UUIDs."""
    ends_at: datetime | None
    """Its end as things are."""
    then: tuple[datetime | None] | None = None
    """The end that it gets (None: none), where the action says so; None where it keeps its own."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action will do."""

    action: str
    """Its name in addresses."""
    what: str
    """The id of what it is done to: a card, a session, a place in line, the host."""
    title: str
    """Marked for translation, as is :attr:`says` and :attr:`button`."""
    subject: str
    """What it is done to, for people."""
    says: tuple[str, ...]
    """What comes of it."""
    button: str
    undo: str
    """Whether it can be taken back, and until when; marked for translation."""
    rests_on: tuple[str, ...] = ()
    """What it changes, as it is now: a press does nothing when that has become something else."""
    facts: tuple[str, ...] = ()
    """What others wrote or the system found that matters here."""
    moment: tuple[str, datetime] | None = None
    """A time that matters here, after what it is."""
    fate: Fate = Fate.GOES_ON
    sessions: tuple[Affected, ...] = ()
    asks: Asks = Asks.NOTHING
    possible: bool = True
    """Whether it can be done at all; :attr:`says` says why not."""
    instead: tuple[str, str] | None = None
    """Another action that may be meant: what it is called, and its name."""

    @property
    def people(self) -> int:
        """How many people the sessions are of."""
        return len({session.owner for session in self.sessions})

    @property
    def seen(self) -> str:
        """What it rests on in short, for a press to say what it was shown."""
        return sha256("\0".join(self.rests_on).encode()).hexdigest()[:16]

    @property
    def ids(self) -> str:
        """The sessions that end, so that a press ends no other than those that were shown."""
        return " ".join(one.id for one in self.sessions) if self.fate is Fate.ENDS else ""


def show_sessions(leases: Iterable[Lease]) -> tuple[Affected, ...]:
    """Those of the sessions that do not end already, as a page shows them."""
    return tuple(
        Affected(lease.id, lease.owner, lease.server, lease.devices, lease.ends_at)
        for lease in leases
        if not lease.state.ending
    )
