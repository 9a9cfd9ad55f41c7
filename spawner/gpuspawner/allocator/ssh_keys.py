"""People's keys for SSH, and the doors of their servers. All may block on the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.core.claims import Actor
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.keys import read_key_name, read_public_key
from gpuspawner.core.model import Event, Lease, LeaseState
from gpuspawner.core.ssh import MOST_KEYS, Door, SshKey, SshSession
from gpuspawner.core.words import mark

from .clock import utc_now
from .ssh_disputes import NOT_YOURS, note_dispute


class SshKeys:
    """Adds, shows and removes people's keys.

    Args:
        ledger: Where everything is kept.
        clock: Says the present.
        files: What the servers of people read; they learn of a change by :meth:`write_files` unless given.
    """

    def __init__(
        self, ledger: Ledger, clock: Callable[[], datetime] = utc_now, files: SshFiles | None = None
    ) -> None:
        self._ledger, self._clock, self._files = ledger, clock, files

    def add(self, owner: str, pasted: str, name: str = "", *, actor: Actor) -> SshKey:
        """Add a key for a person.

        Raises:
            InvalidRequest: What was pasted is no key that is taken.
            Conflict: The key is there already, or they have too many.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        key = read_public_key(pasted)
        called, now = read_key_name(name, key), self._clock()
        with self._ledger.write() as unit:
            mine = unit.ssh_keys(owner)
            if any(one.fingerprint == key.fingerprint for one in mine):
                raise Conflict("This key is there already.")
            if len(mine) >= MOST_KEYS:
                raise Conflict(f"There are {MOST_KEYS} keys, and one person may have no more. Remove one.")
            held = unit.ssh_key(key.fingerprint)
            if held is not None:
                note_dispute(unit, held, owner, actor=actor, now=now)
            else:
                found = unit.add_ssh_key(SshKey(0, owner, called, key.text, key.fingerprint, now))
                ensure_doors(unit, owner, ("",))
                text = mark(f"the key {key.fingerprint} was added")
                _note(unit, "ssh.key-added", text, found, actor=actor, now=now)
        if held is not None:
            raise Conflict(NOT_YOURS)
        self._write(owner)
        return found

    def remove(self, owner: str, number: int, *, actor: Actor) -> SshKey:
        """Remove one of a person's keys; what is open by it ends within a minute.

        Raises:
            NotFound: They have no such key.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        now = self._clock()
        with self._ledger.write() as unit:
            found = next((one for one in unit.ssh_keys(owner) if one.id == number), None)
            if found is None:
                raise NotFound("There is no such key.")
            unit.remove_ssh_key(number)
            text = mark(f"the key {found.fingerprint} was removed")
            _note(unit, "ssh.key-removed", text, found, actor=actor, now=now)
        self._write(owner)
        return found

    def write_files(self, host: str) -> None:
        """Let servers that run know of keys that were added or removed elsewhere.

        Raises:
            LedgerError: The ledger cannot be used.
            OSError: A file cannot be written.
        """
        with self._ledger.read() as unit:
            owners = {lease.owner for lease in unit.live_leases(host) if lease.state is LeaseState.ACTIVE}
        for owner in owners:
            self._write(owner)

    def _write(self, owner: str) -> None:
        if self._files is not None:
            self._files.put_keys(owner, [key.text for key in self.list(owner)])

    def list(self, owner: str | None = None) -> tuple[SshKey, ...]:
        """A person's keys, or everybody's. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.ssh_keys(owner)

    def doors(self, owner: str, servers: Sequence[str]) -> tuple[Door, ...]:
        """Where connections to a person's servers are taken, made where there is none.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            known = unit.ssh_doors(owner)
        if {door.server for door in known} >= set(servers):
            return known
        with self._ledger.write() as unit:
            return ensure_doors(unit, owner, servers)

    def running(self, owner: str, host: str) -> Mapping[str, str]:
        """Leases of a person's servers that run, by the server's name. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return {server: lease for server, (lease, _) in find_running(unit, host, owner).items()}

    def recent(self, owner: str, limit: int) -> tuple[SshSession, ...]:
        """A person's newest connections. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.recent_ssh_sessions(owner, limit)


def ensure_doors(unit: LedgerUnit, owner: str, servers: Sequence[str]) -> tuple[Door, ...]:
    """All doors of a person, those of these servers made where there is none."""
    known = {door.server for door in unit.ssh_doors(owner)}
    for server in dict.fromkeys(servers):
        if server not in known:
            unit.make_ssh_door(owner, server)
    return unit.ssh_doors(owner)


def find_running(unit: LedgerUnit, host: str, owner: str) -> Mapping[str, tuple[str, str]]:
    """Lease and container of a person's servers that run, by the server's name."""
    return choose_running(unit.live_leases(host), owner)


def choose_running(leases: Iterable[Lease], owner: str) -> Mapping[str, tuple[str, str]]:
    """The same, of leases that were read already."""
    return {
        lease.server: (lease.id, lease.container_id)
        for lease in leases
        if lease.owner == owner and lease.state is LeaseState.ACTIVE and lease.container_id is not None
    }


def _note(unit: LedgerUnit, kind: str, text: str, key: SshKey, *, actor: Actor, now: datetime) -> None:
    data: dict[str, object] = {"owner": key.owner, "name": key.name, "acted_as": actor.kind.value}
    unit.add_event(Event(now, kind, text, actor.name, data={**data, "fingerprint": key.fingerprint}))
