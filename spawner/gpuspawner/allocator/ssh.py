"""What the gateway of SSH asks. All may block on the ledger."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import AddressValueError, IPv4Address

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.errors import HubError, SettingsError
from gpuspawner.core.model import Event
from gpuspawner.core.ssh import (
    FIRST_DOOR,
    GATEWAY_ENDED,
    HUB_SILENT,
    KEEP_SESSIONS,
    NOT_THEIR_WAY,
    POLICY_UNREAD,
    TOO_OFTEN,
    Cause,
    Grant,
    Pace,
    Refusal,
    SshKey,
    SshSession,
    judge_key,
    why_end,
    why_not_server,
)
from gpuspawner.core.words import mark

from .clock import utc_now
from .ssh_keys import choose_running, ensure_doors, find_running
from .ssh_rights import SshRights, WhyNot

NOTE_AGAIN = timedelta(seconds=20)
"""How exactly it is known when a key was last refused: who tries on and on must not keep the ledger busy."""

FORGET_EVERY = timedelta(hours=1)
ENDED = "ssh.ended"
"""The kind of the event of a connection that has ended."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where a connection goes on."""

    session: SshSession
    container_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the gateway says of one of its connections."""

    id: str
    sent: int
    received: int
    ended: str | None = None
    """Why it ended; None while it is open."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What the gateway must end."""

    sessions: dict[str, str]
    """Why, by the connection's id."""
    keys: list[str]
    """Fingerprints of keys that were let in and may not stay connected to the gateway."""


def count_open(ledger: Ledger) -> Mapping[str, int]:
    """Open connections, by the lease's id.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    with ledger.read() as unit:
        found = unit.open_ssh_sessions()
    return Counter(one.lease_id for one in found)


class SshDesk:
    """Answers the gateway.

    Args:
        ledger: Where everything is kept.
        host: Whose servers these are.
        why_not: Why somebody may not use SSH at all.
        clock: Says the present.
        count: Is told of each refusal.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: str,
        why_not: WhyNot,
        clock: Callable[[], datetime] = utc_now,
        count: Callable[[Cause], None] = lambda _: None,
    ) -> None:
        self._ledger, self._host, self._clock, self._count = ledger, host, clock, count
        self._rights = SshRights(ledger, why_not)
        self._pace = Pace()
        self._forgot_at: datetime | None = None
        self._hurried = False
        """Whether the last report was answered without the Hub."""

    def ask(self, fingerprint: str) -> tuple[SshKey, Grant] | None:
        """What a key opens; None for nothing, and why is written down where its person reads it.

        Raises:
            LedgerError: The ledger cannot be used.
            HubError, SettingsError: It cannot be told; that is written down as well.
        """
        with self._ledger.read() as unit:
            key = unit.ssh_key(fingerprint)
        if key is None:
            self._count(Cause.UNKNOWN_KEY)
            return None
        refused = self._why_not(key)
        with self._ledger.read() as unit:
            running = find_running(unit, self._host, key.owner)
            doors = unit.ssh_doors(key.owner)
        if missing := set(running) - {door.server for door in doors}:
            with self._ledger.write() as unit:
                doors = ensure_doors(unit, key.owner, sorted(missing))
        found = judge_key(key, doors, running.keys(), refused)
        if isinstance(found, Grant):
            return key, found
        self._refuse(key, found)
        return None

    def enter(
        self, fingerprint: str, address: str, source: str, gateway: str, holder: str | None = None
    ) -> Entrance | str:
        """A connection that was let in goes on into a server, or why it does not.

        Args:
            fingerprint: Of the key that it was let in by.
            address: Of the door.
            source: Where it comes from.
            gateway: The run of the gateway.
            holder: Whose token opened the way, where it comes through port 443.

        Raises:
            LedgerError: The ledger cannot be used.
            HubError, SettingsError: It cannot be told whether it may; that is written down.
        """
        with self._ledger.read() as unit:
            key = unit.ssh_key(fingerprint)
        now = self._clock()
        if key is not None and holder not in (None, key.owner):
            self._refuse(key, NOT_THEIR_WAY)
            return NOT_THEIR_WAY.text
        if key is not None and not self._pace.allows(key.owner, now):
            self._refuse(key, TOO_OFTEN)
            return TOO_OFTEN.text
        refused = self._why_not(key) if key else None
        with self._ledger.write() as unit:
            key, door = unit.ssh_key(fingerprint), unit.ssh_door(_read_number(address))
            owner = key.owner if key else ""
            running = find_running(unit, self._host, owner)
            count = len(unit.open_ssh_sessions(owner))
            why = why_not_server(
                door, key, {name: lease for name, (lease, _) in running.items()}, refused, count
            )
            if why is not None or key is None or door is None:
                if key is not None and why is not None:
                    unit.note_ssh_refusal(fingerprint, now, why.text)
                self._count(why.cause if why else Cause.UNKNOWN_KEY)
                return str(why or "")
            lease, container = running[door.server]
            session = SshSession(
                secrets.token_hex(8),
                owner,
                door.server,
                lease,
                fingerprint,
                key.name,
                source,
                gateway,
                now,
                now,
            )
            unit.put_ssh_session(session)
            unit.note_ssh_use(fingerprint, now)
        return Entrance(session, container)

    def fail(self, session_id: str, why: str) -> None:
        """A connection could not go on after all. Raises: LedgerError."""
        now = self._clock()
        self._count(Cause.NO_ANSWER)
        with self._ledger.write() as unit:
            session = unit.ssh_session(session_id)
            if session is not None and session.ended_at is None:
                unit.put_ssh_session(replace(session, ended_at=now, seen_at=now, reason=why))
                unit.note_ssh_refusal(session.fingerprint, now, why)

    def shut(self, fingerprint: str, address: str, why: str) -> None:
        """The gateway cannot take connections at a door; its person is told, if that server runs.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            key, door = unit.ssh_key(fingerprint), unit.ssh_door(_read_number(address))
            running = find_running(unit, self._host, key.owner) if key else {}
        if key is not None and door is not None and door.owner == key.owner and door.server in running:
            text = mark(f"The gateway cannot take connections to this server: {why}. Tell the administrator.")
            self._refuse(key, Refusal(Cause.SHUT, text))

    def report(self, gateway: str, told: Sequence[Told], fingerprints: Collection[str] = ()) -> Ends:
        """Take in what the gateway says of its connections, and say what must end.

        What another run of the gateway had open has ended with it. The end of what the ledger alone forbids,
        by a removed key say, waits for no Hub: then that is asked with the next report.

        Args:
            gateway: The run of the gateway.
            told: All of its connections that are open, and those that have ended since the last time.
            fingerprints: Of the keys that are connected to it.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        must_end, going_on = self._take_in(gateway, told, now)
        with self._ledger.read() as unit:
            owners = {one: key.owner for one in fingerprints if (key := unit.ssh_key(one)) is not None}
        bad = [one for one in fingerprints if one not in owners]
        self._forget_old(now)
        self._hurried = bool(must_end or bad) and not self._hurried
        if self._hurried:
            return Ends(must_end, bad)
        refused = self._rights.why_not_any_more({*going_on.values(), *owners.values()})
        must_end |= {id_: refused[owner] for id_, owner in going_on.items() if owner in refused}
        return Ends(must_end, [one for one in fingerprints if one in bad or owners[one] in refused])

    def _take_in(
        self, gateway: str, told: Sequence[Told], now: datetime
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Why connections must end, and whose those are that may go on as far as the ledger knows."""
        by_id = {one.id: one for one in told}
        must_end: dict[str, str] = {}
        going_on: dict[str, str] = {}
        with self._ledger.write() as unit:
            keys: dict[str, set[str]] = {}
            for key in unit.ssh_keys():
                keys.setdefault(key.owner, set()).add(key.fingerprint)
            live = unit.live_leases(self._host)
            for session in unit.open_ssh_sessions():
                said = by_id.get(session.id)
                if said is None:
                    # One that began after the gateway looked is not among what it says.
                    if session.gateway != gateway or now - session.began_at > timedelta(minutes=1):
                        _end(unit, session, GATEWAY_ENDED, now)
                    continue
                seen = replace(session, seen_at=now, sent=said.sent, received=said.received)
                if said.ended is not None:
                    _end(unit, seen, said.ended, now)
                    continue
                unit.put_ssh_session(seen)
                running = {k: v for k, (v, _) in choose_running(live, session.owner).items()}
                why = why_end(session, keys.get(session.owner, ()), running)
                if why is not None:
                    must_end[session.id] = why
                else:
                    going_on[session.id] = session.owner
        return must_end, going_on

    def _forget_old(self, now: datetime) -> None:
        """Forget who connected long ago: seldom, for all that are known are looked at for it."""
        if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
            with self._ledger.write() as unit:
                unit.drop_ssh_sessions(now - KEEP_SESSIONS)
                unit.drop_events(ENDED, now - KEEP_SESSIONS)
            self._forgot_at = now

    def _why_not(self, key: SshKey) -> str | None:
        """Why a key's person may not use SSH; where that cannot be told, they read it."""
        try:
            return self._rights.why_not(key.owner)
        except HubError:
            self._refuse(key, HUB_SILENT)
            raise
        except SettingsError:
            self._refuse(key, POLICY_UNREAD)
            raise

    def _refuse(self, key: SshKey, refusal: Refusal) -> None:
        self._count(refusal.cause)
        now, why = self._clock(), refusal.text
        again = key.refused == why and key.refused_at is not None and now - key.refused_at < NOTE_AGAIN
        if not again:
            with self._ledger.write() as unit:
                unit.note_ssh_refusal(key.fingerprint, now, why)


def _end(unit: LedgerUnit, session: SshSession, why: str, now: datetime) -> None:
    unit.put_ssh_session(replace(session, ended_at=now, reason=why))
    unit.add_event(
        Event(
            now,
            ENDED,
            mark(f"a connection by SSH has ended: {why}"),
            session.owner,
            session.lease_id,
            data={
                "owner": session.owner,
                "server": session.server,
                "key": session.fingerprint,
                "key_name": session.key_name,
                "source": session.source,
                "began": session.began_at.isoformat(),
                "sent": session.sent,
                "received": session.received,
            },
        )
    )


def _read_number(address: str) -> int:
    try:
        return int(IPv4Address(address)) - int(FIRST_DOOR)
    except AddressValueError:
        return -1
