"""The end of keys for SSH with the person whose they were: who comes to a name later has none of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Actor
from gpuspawner.core.model import Event
from gpuspawner.core.words import mark

from .clock import utc_now


def end_keys(unit: LedgerUnit, owner: str, *, actor: Actor, now: datetime) -> None:
    """Remove all keys of a name, each with a line in the audit trail.

    What is open by them ends when the gateway next tells of it.

    Args:
        unit: The transaction.
        owner: The name.
        actor: Who brought the end about.
        now: When.
    """
    for key in unit.ssh_keys(owner):
        unit.remove_ssh_key(key.id)
        reason = mark(f"the key {key.fingerprint} was removed: it was of whoever was called {owner} before")
        data: dict[str, object] = {"owner": owner, "name": key.name, "acted_as": actor.kind.value}
        unit.add_event(Event(now, "ssh.key-removed", reason, actor.name, data=data))


def end_keys_of(ledger: Ledger, owner: str, *, actor: Actor, clock: Callable[[], datetime] = utc_now) -> None:
    """Remove all keys of a name, in a transaction of its own. Raises: LedgerError."""
    with ledger.read() as unit:
        if not unit.ssh_keys(owner):
            return
    with ledger.write() as unit:
        end_keys(unit, owner, actor=actor, now=clock())
