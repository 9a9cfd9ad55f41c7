"""Two people who say that the same key is theirs. A public key is no secret, so that either may be right.

A key lets one person in, and who added it first keeps it. Whose it is, an administrator finds out.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor
from gpuspawner.core.model import Event
from gpuspawner.core.ssh import SshKey
from gpuspawner.core.words import mark

DISPUTED = "ssh.key-disputed"
TOLD_FOR = timedelta(days=1)
"""How long administrators see it, and after which it is told again."""
MOST_TOLD = 1000
NOT_YOURS = mark(
    "Somebody else here has added this key. If it is yours, tell the administrator, who sees who that is "
    "and can remove it there; or make another key."
)


def note_dispute(unit: LedgerUnit, held: SshKey, owner: str, *, actor: Actor, now: datetime) -> None:
    """Write down that somebody wants to add a key that is another's; the same once in :data:`TOLD_FOR`."""
    search = EventSearch(kind=DISPUTED, text=held.fingerprint, since=now - TOLD_FOR)
    if any(one.data.get("owner") == owner for one in unit.find_events(search, MOST_TOLD)):
        return
    text = mark(f"{owner} wants to add the key {held.fingerprint}, and {held.owner} has it")
    data: dict[str, object] = {
        "owner": owner,
        "held_by": held.owner,
        "fingerprint": held.fingerprint,
        "key": held.id,
        "added_at": held.added_at.isoformat(),
        "used_at": held.used_at.isoformat() if held.used_at else None,
        "acted_as": actor.kind.value,
    }
    unit.add_event(Event(now, DISPUTED, text, actor.name, data=data))


def count_disputes(unit: LedgerUnit, now: datetime) -> int:
    """How often somebody wanted to add a key of another's, in the last day."""
    return len(unit.find_events(EventSearch(kind=DISPUTED, since=now - TOLD_FOR), MOST_TOLD))
