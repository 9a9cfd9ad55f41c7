"""Who may reach which server by SSH: values, and the decisions about them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from threading import Lock

from .policy import Limit
from .words import mark

SERVER_PORT = 2222
"""Where the SSH server in a container listens; only the host reaches it."""
RELAY_PORT = 2200
"""Where the gateway takes the connections that go on into a server."""
FIRST_DOOR = IPv4Address("127.64.0.0")
MOST_DOORS = 1 << 22
"""Addresses of the host itself, one for each server that anybody ever had: 127.64.0.0 to 127.127.255.255."""
FIRST_WAY = IPv4Address("127.128.0.1")
MOST_WAYS = 1 << 20
"""Addresses that connections through port 443 come from: one for each person in each place."""
MOST_RESTING = 10
"""Doors of servers that do not run, which are opened and shown all the same."""
MOST_KEYS = 50
"""Of one person."""
MOST_OPEN = 64
"""Connections that one person may have open at once."""
MOST_AT_ONCE = 100
"""Connections that one person may make one right after the other."""
MORE_EACH_SECOND = 2.0
"""Connections that they may make after that: each is written down, and none may fill the ledger."""
KEEP_SESSIONS = timedelta(days=90)
"""How long it is known who connected."""
CLOSED_HERE = mark("The person closed it.")
CLOSED_THERE = mark("The server closed it.")
GATEWAY_ENDED = mark("The gateway ended.")
NO_ANSWER = mark(
    "Nothing answers by SSH in this server: its image has no SSH server, or what runs in it has ended it. "
    "Start the server anew."
)
"""Why connections end, as the gateway tells it."""
_PLAIN = re.compile(r"[^a-z0-9-]+")


class Cause(StrEnum):
    """Why somebody was not let in, as it is counted."""

    UNKNOWN_KEY = "unknown_key"
    """Nobody here has added the key: strangers, and the other keys that a client offers."""
    NOT_ALLOWED = "not_allowed"
    NO_SERVER = "no_server"
    """None of theirs runs, or not the one that is meant."""
    NOT_THEIRS = "not_theirs"
    """There is no such server, or it is somebody else's."""
    TOO_OFTEN = "too_often"
    TOO_MANY = "too_many"
    NO_ANSWER = "no_answer"
    """Nothing answers in the server."""
    NOT_TOLD = "not_told"
    """It cannot be told whether they may: the Hub does not answer, or the policy cannot be read."""
    SHUT = "shut"
    """The gateway cannot take connections into the server."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody was not let in."""

    cause: Cause
    text: str
    """In words for its person."""

    def __str__(self) -> str:
        return self.text


TOO_OFTEN = Refusal(Cause.TOO_OFTEN, mark("You connect too often. Wait a minute, and connect again."))
TOO_MANY = Refusal(
    Cause.TOO_MANY, mark(f"You have {MOST_OPEN} connections open, and one person may have no more.")
)
NOT_THEIR_WAY = Refusal(
    Cause.NOT_THEIRS,
    mark("This key came through port 443 with somebody else's token. Use one of your own."),
)
HUB_SILENT = Refusal(
    Cause.NOT_TOLD,
    mark(
        "It could not be told just then whether you may come in: the hub did not answer. "
        "Try again in a minute."
    ),
)
POLICY_UNREAD = Refusal(
    Cause.NOT_TOLD,
    mark(
        "It could not be told just then whether you may come in: the policy cannot be read. "
        "Tell the administrator."
    ),
)


@dataclass(frozen=True, slots=True)
class SshKey:
    """A key that somebody has added."""

    id: int
    owner: str
    name: str
    text: str
    """Kind and key, as in ``authorized_keys``."""
    fingerprint: str
    """Of all keys of all people there is one with this."""
    added_at: datetime
    used_at: datetime | None = None
    """When a connection was last made with it; None for never."""
    refused_at: datetime | None = None
    """When it was last refused; None for never."""
    refused: str = ""
    """Why, in words."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway takes connections to one server of one person: always the same address."""

    number: int
    owner: str
    server: str
    """The server's name; empty for the default one."""

    @property
    def address(self) -> str:
        """An address that only the host itself has."""
        return str(FIRST_DOOR + self.number)


@dataclass(frozen=True, slots=True)
class SshSession:
    """One connection into a server."""

    id: str
    owner: str
    server: str
    lease_id: str
    fingerprint: str
    key_name: str
    source: str
    """The address that it came from; empty where it is not known."""
    gateway: str
    """The run of the gateway that carries it."""
    began_at: datetime
    seen_at: datetime
    """When the gateway last told of it."""
    ended_at: datetime | None = None
    reason: str = ""
    """Why it ended, in words."""
    sent: int = 0
    """Bytes from the person to the server."""
    received: int = 0
    """Bytes from the server to the person."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A key is let in, to these doors and to nothing else."""

    doors: tuple[Door, ...]

    def line(self, key: SshKey) -> str:
        """The line of ``authorized_keys`` that says so."""
        opens = ",".join(_permit(door.address) for door in self.doors)
        return f"restrict,port-forwarding,{opens} {key.text}"


def without_doors(line: str, addresses: Collection[str]) -> str:
    """A line of ``authorized_keys`` that a grant made, without some of its doors; empty where none is left.

    Without any ``permitopen`` a line would open everything that the gateway's configuration leaves open.
    """
    options, _, key = line.partition(" ")
    shut = {_permit(address) for address in addresses}
    left = [one for one in options.split(",") if one not in shut]
    return f"{','.join(left)} {key}" if any(one.startswith("permitopen=") for one in left) else ""


def _permit(address: str) -> str:
    return f'permitopen="{address}:{RELAY_PORT}"'


class Pace:
    """How often people connect. Any thread may ask."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, datetime]] = {}
        self._turn = Lock()

    def allows(self, owner: str, now: datetime) -> bool:
        """Whether somebody may connect once more now; if so, it counts."""
        with self._turn:
            level, at = self._levels.get(owner, (0.0, now))
            level = max(0.0, level - max(0.0, (now - at).total_seconds()) * MORE_EACH_SECOND)
            allowed = level + 1 <= MOST_AT_ONCE
            self._levels[owner] = (level + allowed, now)
            return allowed


def choose_doors(doors: Sequence[Door], running: Collection[str]) -> tuple[Door, ...]:
    """The doors that somebody has a use for: of servers that run, of the default one, and some of the newest.

    Servers come and go by name, and their doors stay.

    Args:
        doors: All of a person's.
        running: Names of their servers that run.
    """
    newest = set(sorted(one.number for one in doors)[-MOST_RESTING:])
    return tuple(one for one in doors if not one.server or one.server in running or one.number in newest)


def why_not_person(allowed: Limit[bool], groups: Collection[str] | None) -> str | None:
    """Why somebody may not use SSH at all; None where they may.

    Args:
        allowed: What the policy says.
        groups: Their groups; None for somebody whom the hub does not know any more.
    """
    if groups is None:
        return mark("The hub knows nobody of this name any more.")
    if allowed.value is False:
        return mark(f"SSH is not allowed for you{allowed.because}. Ask the administrator.")
    return None


def judge_key(
    key: SshKey, doors: Sequence[Door], running: Collection[str], refused: str | None
) -> Grant | Refusal:
    """Whether a key opens anything now, or why not.

    Args:
        key: The key.
        doors: Of its person.
        running: Names of their servers that run.
        refused: Why they may not use SSH at all.
    """
    if refused is not None:
        return Refusal(Cause.NOT_ALLOWED, refused)
    mine = tuple(door for door in doors if door.owner == key.owner)
    if not any(door.server in running for door in mine):
        text = mark("No server of yours runs. Start one in the browser, then connect again.")
        return Refusal(Cause.NO_SERVER, text)
    return Grant(choose_doors(mine, running))


def why_not_server(
    door: Door | None, key: SshKey | None, running: Mapping[str, str], refused: str | None, open_already: int
) -> Refusal | None:
    """Why a connection does not go on into a server; None where it does.

    Args:
        door: Where it came in.
        key: What it was let in by, if that is still there.
        running: Leases of the person's servers that run, by the server's name.
        refused: Why the person may not use SSH at all.
        open_already: Connections that they have open.
    """
    if key is None:
        return Refusal(Cause.UNKNOWN_KEY, mark("The key was removed."))
    if door is None or door.owner != key.owner:
        return Refusal(Cause.NOT_THEIRS, mark("There is no such server of yours."))
    if refused is not None:
        return Refusal(Cause.NOT_ALLOWED, refused)
    if door.server not in running:
        name = door.server
        text = mark(f"The server {name} does not run.") if name else mark("Your server does not run.")
        return Refusal(Cause.NO_SERVER, text)
    if open_already >= MOST_OPEN:
        return TOO_MANY
    return None


def why_end(session: SshSession, keys: Collection[str], running: Mapping[str, str]) -> str | None:
    """Why a connection that is open must end, whatever its person may; None where it may go on.

    Args:
        session: The connection.
        keys: Fingerprints of its person's keys.
        running: Leases of the person's servers that run, by the server's name.
    """
    if session.fingerprint not in keys:
        return mark("The key was removed.")
    if running.get(session.server) != session.lease_id:
        return mark("The server was stopped.")
    return None


def name_host(server: str, taken: Collection[str] = ()) -> str:
    """What a server is called in ``~/.ssh/config``: ``gpu``, and for named servers ``gpu-NAME``."""
    plain = _PLAIN.sub("-", server.lower()).strip("-")[:40]
    name = f"gpu-{plain or 'server'}" if server else "gpu"
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found
