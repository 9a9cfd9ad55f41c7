"""Keys for SSH, and real clients that use them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.controller.services import SshPlace


def make_key(number: int) -> str:
    """A public key; the same number gives the same one."""
    private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


KEYS = tuple(make_key(number) for number in (1, 2, 3))


class Laptop:
    """A person's own machine: a key, and OpenSSH's programs with files of their own.

    Args:
        folder: Where its files are; the key is called like it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.key = folder / "id_ed25519"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", folder.name, "-f", self.key]
        subprocess.run(make, check=True)

    @property
    def public(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def write(self, config: str, known_hosts: str) -> None:
        """What a person has in ~/.ssh."""
        always = f"""
Host *
    IdentityFile {self.key}
    IdentitiesOnly yes
    IdentityAgent none
    BatchMode yes
    StrictHostKeyChecking yes
    UserKnownHostsFile {self.folder}/known_hosts
    GlobalKnownHostsFile none
    ConnectTimeout 20
"""
        (self.folder / "config").write_text(config + always)
        (self.folder / "known_hosts").write_text(known_hosts)

    def command(self, *words: str, program: str = "ssh") -> list[str]:
        return [program, "-F", str(self.folder / "config"), *words]

    def run(self, *words: str, program: str = "ssh", **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a client to its end."""
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120, "check": False}
        if "input" not in more:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(self.command(*words, program=program), **{**options, **more})  # noqa: PLW1510

    def open(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a client that goes on."""
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.command(*words), text=True, **{**pipes, **more})


INSTALL = "pip install https://hub.example.org/gpuspawner_session.whl"


def give_gateway(office: Any, folder: Path, ways: str = "both", client: str = INSTALL) -> None:
    """The installation behind an API has a gateway, as far as its pages know."""
    place = SshPlace("hub.example.org", 2222, "gpu-ssh", SshFiles(folder / "ssh"), ways, client)
    object.__setattr__(office.services, "ssh", place)
