"""What SSH servers read: host keys, and the folder of each person that their servers get mounted.

All host keys come from one secret, so that nothing has to be stored for each, and a person's servers have
the same one for ever: a client that has seen it once knows it again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gpuspawner.core.keys import find_fingerprint

from .secret import ensure_secret

SSHD = "/usr/sbin/sshd"
"""OpenSSH's server, as Debian has it."""
GATEWAY = "gateway"
"""Whose host key that of the gateway is; people are told apart from it."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key by which clients know a host again."""

    private: str
    """The text of a private key file."""
    public: str
    """Kind and key."""

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it."""
        return find_fingerprint(self.public.split()[1])


class SshFiles:
    """The folder of an installation's SSH files.

    Args:
        folder: It is made, closed to all but its user, where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def socket(self) -> Path:
        """Where the controller answers the gateway."""
        return self._folder / "controller.sock"

    @property
    def has_secret(self) -> bool:
        """Whether the secret was made from which all host keys come."""
        return self.secret.exists()

    @property
    def secret(self) -> Path:
        """The file that all host keys come from."""
        return self._folder / "secret"

    def ensure(self) -> None:
        """Make the folder, and close it to others: people's host keys lie in it. Raises: OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.stat().st_mode & 0o077:
            self._folder.chmod(0o700)

    def gateway_key(self) -> HostKey:
        """The gateway's own host key. Raises: SettingsError, OSError."""
        return self._derive(GATEWAY)

    def person_key(self, owner: str) -> HostKey:
        """The host key of all servers of a person. Raises: SettingsError, OSError."""
        return self._derive(f"person {owner}")

    def ensure_person(self, owner: str, keys: Iterable[str]) -> Path:
        """The folder that a person's servers get mounted, with these keys in it.

        Args:
            owner: Whose.
            keys: Lines of ``authorized_keys``.

        Raises:
            SettingsError: The secret cannot be used.
            OSError: A file cannot be written.
        """
        self.ensure()
        folder = self._person(owner)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)
        # It is closed by the folder above, and the user of a server must be able to read it.
        _write(folder / "host_key", self.person_key(owner).private)
        self.put_keys(owner, keys)
        return folder

    def put_keys(self, owner: str, keys: Iterable[str]) -> None:
        """Change the keys that let a person in, also in servers that run; nothing where none ever ran.

        Raises:
            OSError: The file cannot be written.
        """
        folder = self._person(owner)
        if folder.is_dir():
            _write(folder / "authorized_keys", "".join(f"{key}\n" for key in keys))

    def _person(self, owner: str) -> Path:
        return self._folder / "people" / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _derive(self, purpose: str) -> HostKey:
        self.ensure()
        secret = ensure_secret(self.secret)
        seed = hmac.new(secret.encode(), f"host key of {purpose}".encode(), hashlib.sha256).digest()
        key = Ed25519PrivateKey.from_private_bytes(seed)
        return HostKey(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
            key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        )


def _write(path: Path, text: str) -> None:
    """Put a text into a file, whole or not at all; one that has it already is left alone."""
    try:
        if path.read_text() == text and path.stat().st_mode & 0o777 == 0o644:
            return
    except FileNotFoundError:
        pass
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
            file.write(text)
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
