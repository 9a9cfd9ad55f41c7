"""``gpuspawner-session sshd``: the SSH server of a session, reached through the hub's gateway.

It runs as the person, who may end it or run another in its place: what it lets in is checked by the gateway
before. Its host key and the keys that it lets in lie in a mount that cannot be written here.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

MOUNT = Path("/opt/gpuspawner/ssh")
"""Where the hub puts the host key and the keys that are let in."""
PROGRAM = "/usr/sbin/sshd"
PORT = 2222
PENALTIES = "PerSourcePenalties no\n"
"""For OpenSSH from 9.8 on, which would keep out the relay's address: all connections of the person."""
_SECRET = re.compile(
    # Words that end so, as PGPASSWORD and SECRETKEY do.
    r"(?:TOKEN|(?:API|AUTH|ACCESS)_?TOKENS|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?"
    r"|(?:API|ACCESS|PRIVATE|SECRET)_?KEYS?)\d*(?:_|$)"
    # Words that are no others: not PATH or MONKEY, nor the names of settings that git is given.
    r"|(?:^|_)(?<!GIT_CONFIG_)(?:KEY|PAT|PWD)\d*(?:_|$)",
    re.IGNORECASE,
)
"""Variables whose names have such a word are not handed on."""
_LOGIN = re.compile(r"://[^\s/:@]*:[^\s/@]+@")
"""An address with a password in it."""
_OF_ONE_PROCESS = frozenset({"_", "OLDPWD", "PWD", "SHLVL", "TERM", "HOSTNAME", "LINES", "COLUMNS"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def choose_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a session by SSH has of the environment of the server: all but secrets.

    A value of several lines has no place in the configuration, and is left out too.
    """
    return {
        name: value
        for name, value in sorted(environ.items())
        if _NAME.fullmatch(name)
        and not _SECRET.search(name)
        and not _LOGIN.search(value)
        and name not in _OF_ONE_PROCESS
        and not re.search(r"[\n\r\0]", value)
    }


def build_config(folder: Path, environ: Mapping[str, str], mount: Path = MOUNT) -> str:
    """The server's configuration.

    Args:
        folder: Where the copy of the host key is.
        environ: What sessions are given.
        mount: Where the keys are that are let in.
    """
    # OpenSSH takes only the first such line, so all are in one.
    variables = " ".join(f'"{name}={_escape(value)}"' for name, value in environ.items())
    return "\n".join(
        [
            f"Port {PORT}",
            "AddressFamily inet",
            f"HostKey {folder}/host_key",
            f"AuthorizedKeysFile {mount}/authorized_keys",
            # The mount belongs to the hub's user, and nobody here can write it.
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "AuthenticationMethods publickey",
            "PermitRootLogin no",
            "PermitUserEnvironment no",
            "AllowAgentForwarding no",
            "AllowTcpForwarding yes",
            "AllowStreamLocalForwarding yes",
            "GatewayPorts no",
            "X11Forwarding no",
            "PermitTunnel no",
            "PrintMotd no",
            "PrintLastLog no",
            "AcceptEnv LANG LC_* COLORTERM",
            "ClientAliveInterval 30",
            "ClientAliveCountMax 4",
            "MaxStartups 20:50:60",
            # More than the gateway's: whose agent has many keys passes there, and must not fail here.
            "MaxAuthTries 20",
            "LogLevel ERROR",
            "Subsystem sftp internal-sftp",
            *([f"SetEnv {variables}"] if variables else []),
            "",
        ]
    )


def write_config(path: Path, text: str, program: str) -> None:
    """Write the configuration; with the option that only newer versions of OpenSSH know, if this one does."""
    path.write_text(text + PENALTIES)
    done = subprocess.run([program, "-t", "-f", path], capture_output=True, text=True, check=False)
    if "Bad configuration option" in done.stderr:
        path.write_text(text)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("sshd", help="let the session's person in by SSH, through the hub's gateway")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where its own files are put [a new one]")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    why = _why_not()
    if why is not None:
        print(why, file=sys.stderr)
        return 2
    _serve(arguments.folder or Path(tempfile.mkdtemp(prefix="ssh.")))
    return 0


def _why_not() -> str | None:
    if not (MOUNT / "host_key").exists():
        return "This session is not reached by SSH: its hub has no gateway for that."
    return None if Path(PROGRAM).exists() else "This image has no SSH server."


def _serve(folder: Path) -> None:
    """Become the server."""
    # A key that belongs to who runs the server must be readable for nobody else: hence a copy.
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder / "host_key"
    key.touch(mode=0o600)
    shutil.copyfile(MOUNT / "host_key", key)
    config = folder / "config"
    write_config(config, build_config(folder, choose_environment(os.environ)), PROGRAM)
    os.execv(PROGRAM, [PROGRAM, "-D", "-e", "-f", str(config)])  # noqa: S606 - no shell is wanted
