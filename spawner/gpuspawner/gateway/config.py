"""The configuration of the gateway's sshd: one account, no shell, no command, and no way but a key's own."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from gpuspawner.core.ssh import RELAY_PORT

BANNER = """\
This way leads to your own server and nowhere else. If you are refused, {page} says why.
"""
"""All that a client shows of it: through ProxyJump nothing else reaches a person."""


PENALTIES = "PerSourcePenalties authfail:1s noauth:1s grace-exceeded:5s refuseconnection:1s max:30s min:5s\n"
"""For OpenSSH from 9.8 on, which by itself keeps an address out for up to 10 min: a whole course may be
behind one, and who has no server that runs is refused like a stranger."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the configuration depends on."""

    folder: Path
    """Where its files are."""
    addresses: tuple[str, ...]
    port: int
    account: str
    python: Path
    """A Python that belongs to root: sshd runs nothing else."""
    ask: str
    """The text of the program that it runs."""
    socket: str
    """The name of the abstract socket where that asks."""


def build_config(setup: Setup) -> str:
    """The text of ``sshd_config``. Every option that opens something is named, so that no default does."""
    program = base64.b64encode(setup.ask.encode()).decode()
    command = f"{setup.python} -I -S -c \"import base64;exec(base64.b64decode('{program}'))\" "
    command += f"{setup.socket} %t %k"
    return "\n".join(
        [
            *(f"ListenAddress {_bracket(address)}:{setup.port}" for address in setup.addresses),
            f"HostKey {setup.folder}/host_key",
            f"Banner {setup.folder}/banner",
            "PidFile none",
            f"AllowUsers {setup.account}",
            "AuthenticationMethods publickey",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "HostbasedAuthentication no",
            "GSSAPIAuthentication no",
            "KerberosAuthentication no",
            "UsePAM no",
            "AuthorizedKeysFile none",
            f"AuthorizedKeysCommand {command}",
            f"AuthorizedKeysCommandUser {setup.account}",
            # No session of any kind: no shell, no command, no file transfer. What is left is one forward.
            "MaxSessions 0",
            "ForceCommand /usr/sbin/nologin",
            "PermitTTY no",
            "PermitUserRC no",
            "PermitUserEnvironment no",
            "AllowTcpForwarding local",
            f"PermitOpen *:{RELAY_PORT}",
            "PermitListen none",
            "GatewayPorts no",
            "AllowStreamLocalForwarding no",
            "AllowAgentForwarding no",
            "X11Forwarding no",
            "PermitTunnel no",
            "LoginGraceTime 30",
            "MaxAuthTries 10",
            "MaxStartups 50:30:100",
            "PerSourceMaxStartups 30",
            # A network at home has a /64 of version 6, and with it addresses without end.
            "PerSourceNetBlockSize 32:64",
            "ClientAliveInterval 30",
            "ClientAliveCountMax 4",
            "UseDNS no",
            "PrintMotd no",
            "PrintLastLog no",
            "LogLevel INFO",
            "",
        ]
    )


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address
