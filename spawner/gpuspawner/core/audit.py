"""Looking for lines of the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Which events; each part that is said narrows it further."""

    kind: str = ""
    """What the kind begins with."""
    actor: str = ""
    """Who decided."""
    person: str = ""
    """Who decided, or whom it concerned."""
    card: str = ""
    """What the UUID of a device begins with that it was about, or that the session held."""
    text: str = ""
    """What stands somewhere in the reason."""
    since: datetime | None = None
    until: datetime | None = None
    """Before this time."""
    before: int | None = None
    """Older than the event of this id."""
    after: int | None = None
    """Newer than the event of this id."""
