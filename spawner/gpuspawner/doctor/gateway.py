"""The gateway of SSH: what it needs on this host, and whether it answers."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuspawner.adapters.ssh_files import SSHD, SshFiles
from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.settings import load_settings

from .findings import Finding, Level

if TYPE_CHECKING:
    from .facts import Facts

PATIENCE_SECONDS = 3.0
CHECK = "ssh-gateway"


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What was found of the gateway."""

    address: str
    """Where this host itself reaches it."""
    port: int
    secret: str
    """Path of the secret that host keys come from."""
    error: str = ""
    """Why it is not the gateway that answers; empty when it is."""
    has_program: bool = True
    """Whether OpenSSH's server is installed."""
    secret_mode: int | None = None
    """Permission bits of the secret; None when there is none, or when that cannot be seen."""
    secret_unseen: bool = False
    """Whether it cannot be seen: only the hub's user and root may."""
    filtered: bool = False
    """Whether ufw filters, and does not let people come to the port."""


def read_gateway(settings_file: Path | None) -> GatewayFacts | None:
    """Look at it; None where SSH is not switched on."""
    if settings_file is None:
        return None
    try:
        settings = load_settings(settings_file)
    except SettingsError:  # the check of the policy says so
        return None
    if not settings.ssh.enabled:
        return None
    address, port, secret = settings.ssh.reached_at, settings.ssh.port, SshFiles(settings.ssh_folder).secret
    mode, unseen = _read_mode(secret)
    return GatewayFacts(
        address,
        port,
        str(secret),
        error=greet(address, port),
        has_program=Path(SSHD).exists(),
        secret_mode=mode,
        secret_unseen=unseen,
        filtered=is_filtered(_ask_ufw(), port),
    )


def greet(address: str, port: int) -> str:
    """Why no SSH server answers there; empty when one does, which says so first and unasked."""
    try:
        with socket.create_connection((address, port), timeout=PATIENCE_SECONDS) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            with connection.makefile("rb") as said:
                line = said.readline(256)
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return "" if line.startswith(b"SSH-2.0-") else "another program answers there"


def _read_mode(path: Path) -> tuple[int | None, bool]:
    try:
        return stat.S_IMODE(path.stat().st_mode), False
    except FileNotFoundError:
        return None, False
    except OSError:
        return None, True


def _ask_ufw() -> str:
    """What ufw says of itself; empty where it is not there, or where only root is told."""
    command = shutil.which("ufw", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if command is None:
        return ""
    try:
        return subprocess.run(
            [command, "status"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def is_filtered(status: str, port: int) -> bool:
    """Whether ufw filters and names the port nowhere among what it lets in."""
    if "Status: active" not in status:
        return False
    allowed = [line.split()[0] for line in status.splitlines() if "ALLOW" in line]
    return not {f"{port}", f"{port}/tcp"} & set(allowed)


def check_gateway(facts: Facts) -> Iterator[Finding]:
    """People's own programs reach the gateway, where it is switched on."""
    gateway = facts.gateway
    if gateway is None:
        return
    wrong = [*_check_needs(gateway), *_check_answer(gateway)]
    yield from wrong
    if not wrong:
        text = f"The gateway of SSH answers at {gateway.address}:{gateway.port}"
        yield Finding(CHECK, Level.OK, text)


def _check_needs(gateway: GatewayFacts) -> Iterator[Finding]:
    if not gateway.has_program:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"SSH is switched on, and {SSHD} is missing.",
            "The gateway is OpenSSH's server with a configuration of its own.",
            "apt-get install openssh-server",
        )
    if gateway.secret_unseen:
        return
    if gateway.secret_mode is None:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"There is no secret {gateway.secret} that host keys come from.",
            "The controller makes it when it starts, and the gateway waits for it.",
            "systemctl restart gpuspawner-controller  # or: gpuspawner controller --settings PATH",
        )
    elif gateway.secret_mode & (stat.S_IRWXO | stat.S_IWGRP):
        yield Finding(
            CHECK,
            Level.ERROR,
            f"The secret {gateway.secret} has mode {gateway.secret_mode:04o}.",
            "Who has it can pretend to be the gateway and every server; gateway and controller refuse it.",
            f"chmod 600 {gateway.secret}",
        )


def _check_answer(gateway: GatewayFacts) -> Iterator[Finding]:
    where = f"{gateway.address}:{gateway.port}"
    if gateway.error:
        yield Finding(
            CHECK,
            Level.ERROR,
            f"SSH is switched on, and the gateway does not answer at {where}: {gateway.error}.",
            "Nobody comes into their server by SSH or with their editor; JupyterLab is not touched by it.",
            "systemctl restart gpuspawner-ssh; journalctl -u gpuspawner-ssh -n 20  "
            "# or, as root: gpuspawner ssh-gateway --settings PATH",
        )
    if gateway.filtered:
        yield Finding(
            CHECK,
            Level.WARNING,
            f"ufw filters, and lets nobody come to port {gateway.port}.",
            "The gateway answers this host alone.",
            f"ufw allow {gateway.port}/tcp comment gpuspawner-ssh",
        )
