"""What people need to reach their servers with programs of their own machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from gpuspawner.core.ssh import RELAY_PORT, Door, SshKey, SshSession, name_host

USER = "jovyan"
"""Who everybody is in a container."""
HOME = "/home/jovyan"
GATEWAY = "gpu-gateway"
"""What the gateway is called in a configuration."""
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes128-ctr"
"""Fastest first. What goes through the gateway is encrypted twice, to the gateway and to the server, and by
itself OpenSSH takes a slower one. All its versions since 6.2 know these, also in FIPS mode."""


@dataclass(frozen=True, slots=True)
class Known:
    """Public host keys, kind and key, and by what OpenSSH shows of them."""

    gateway: str
    gateway_fingerprint: str
    servers: str
    """The one of all servers of the person."""
    servers_fingerprint: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A server, as programs on one's own machine know it."""

    server: str
    host: str
    """What it is called there."""
    address: str
    runs: bool
    vscode: str
    """Opens it in VS Code."""
    start: str
    """The page that starts it."""


@dataclass(frozen=True, slots=True)
class SshPage:
    """The page."""

    refused: str | None
    """Why who looks may not use SSH."""
    keys: tuple[SshKey, ...]
    machines: tuple[Machine, ...]
    config: str
    """For ``~/.ssh/config``."""
    through: str
    """What is added there where the gateway's port is blocked; empty where nothing is."""
    client: str | None
    """How people install what port 443 takes; empty where nobody has said it, None where it leads nowhere."""
    token: str
    """The page that makes the token for it."""
    port: int
    """The gateway's own."""
    known_hosts: str
    """For ``~/.ssh/known_hosts``."""
    known: Known
    sessions: tuple[SshSession, ...]
    add: str
    remove: str
    """Where the buttons lead."""

    @property
    def last_refusal(self) -> SshKey | None:
        """The key that was refused last, unless it was let in since."""
        found = [one for one in self.keys if one.refused_at and (one.used_at or _NEVER) < one.refused_at]
        return max(found, key=lambda one: one.refused_at or _NEVER, default=None)


_NEVER = datetime.min.replace(tzinfo=UTC)


def view_machines(
    doors: Sequence[Door], running: Mapping[str, str], start: Mapping[str, str]
) -> tuple[Machine, ...]:
    """Every server of a person that has a way in; the default one first.

    Args:
        doors: Theirs.
        running: Leases of those that run, by the server's name.
        start: Pages that start them, by the server's name.
    """
    made: list[Machine] = []
    for door in sorted(doors, key=lambda one: (one.server != "", one.number)):
        host = name_host(door.server, {GATEWAY, *(one.host for one in made)})
        link = f"vscode://vscode-remote/ssh-remote+{quote(host)}{HOME}?windowId=_blank"
        made.append(
            Machine(door.server, host, door.address, door.server in running, link, start[door.server])
        )
    return tuple(made)


def write_gateway(host: str, port: int, account: str, way: str | None) -> list[str]:
    """The gateway, as it stands in ``~/.ssh/config``.

    Args:
        host: What people's machines find it by.
        port: Its port.
        account: What all come in as there.
        way: Where it is reached through port 443; None for its own port.
    """
    return [
        f"Host {GATEWAY}",
        f"    HostName {host}",
        *([f"    Port {port}"] if way is None else [_proxy(way)]),
        f"    User {account}",
        f"    HostKeyAlias {name_gateway(host)}",
    ]


def write_through(way: str) -> str:
    """What is added to ``~/.ssh/config`` where only port 443 is open: OpenSSH puts both blocks together."""
    return f"Host {GATEWAY}\n{_proxy(way)}\n"


def _proxy(way: str) -> str:
    return f"    ProxyCommand gpuspawner-session ssh-proxy {way}"


def write_config(machines: Sequence[Machine], host: str, gateway: Sequence[str], owner: str) -> str:
    """What belongs into ``~/.ssh/config``.

    Args:
        machines: The person's servers.
        host: What their machine finds the gateway by.
        gateway: The lines of that.
        owner: The person.
    """
    lines = list(gateway)
    for one in machines:
        lines += [
            "",
            f"Host {one.host}",
            f"    HostName {one.address}",
            f"    Port {RELAY_PORT}",
            f"    User {USER}",
            f"    ProxyJump {GATEWAY}",
            f"    HostKeyAlias {name_servers(owner, host)}",
        ]
    names = " ".join([GATEWAY, *(one.host for one in machines)])
    lines += [
        "",
        f"Host {names}",
        f"    Ciphers {CIPHERS}",
        "    ForwardAgent no",
        "    ForwardX11 no",
        "    ServerAliveInterval 30",
    ]
    return "\n".join(lines) + "\n"


def write_known_hosts(known: Known, host: str, owner: str) -> str:
    """What belongs into ``~/.ssh/known_hosts``, so that no client has to ask."""
    return f"{name_gateway(host)} {known.gateway}\n{name_servers(owner, host)} {known.servers}\n"


def name_gateway(host: str) -> str:
    """By what clients know the gateway's host key."""
    return f"{GATEWAY}.{host.replace(':', '-')}".lower()


def name_servers(owner: str, host: str) -> str:
    """By what clients know the host key of a person's servers; only plain characters, whoever they are."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in owner.lower())
    return f"gpu.{plain}.{host.replace(':', '-')}".lower()
