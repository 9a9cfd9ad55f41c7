"""Public keys for SSH: reading what somebody pasted, and refusing what is no key of theirs to be let in by.

A key is taken apart and put together again from its parts, so that nothing else of what was pasted, such as
an option in front of it, comes into a file that an SSH server reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from .errors import InvalidRequest
from .words import mark

LEAST_RSA_BITS = 3072
MOST_RSA_BITS = 16384
"""OpenSSH takes no longer ones."""
MOST_CHARACTERS = 8192
"""Of what is pasted; an RSA key of 16384 bits has 2800."""
LONGEST_NAME = 60
"""Characters of a key's name."""
KINDS = {
    "ssh-ed25519": "ED25519",
    "ssh-rsa": "RSA",
    "sk-ssh-ed25519@openssh.com": "ED25519 (security key)",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA (security key)",
}
"""What is taken, and what people call it."""
_HOW = mark("Make one with: ssh-keygen -t ed25519")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may be used."""

    kind: str
    """One of :data:`KINDS`."""
    blob: str
    """The key itself, base64."""
    comment: str
    """What stood behind it, such as ``ada@laptop``; plain and short."""
    bits: int | None = None
    """Of an RSA key."""

    @property
    def text(self) -> str:
        """As it stands in ``authorized_keys``, without the comment."""
        return f"{self.kind} {self.blob}"

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it."""
        return find_fingerprint(self.blob)


def find_fingerprint(blob: str) -> str:
    """What OpenSSH calls a key by: ``SHA256:`` and 43 characters.

    Args:
        blob: The key, base64.

    Raises:
        ValueError: It is not base64.
    """
    digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def read_public_key(pasted: str) -> PublicKey:
    """Read one public key, such as the text of ``id_ed25519.pub``.

    Raises:
        InvalidRequest: It is none, or one that is not taken; with the fix.
    """
    if len(pasted) > MOST_CHARACTERS:
        raise InvalidRequest(
            f"A public key has {MOST_CHARACTERS} characters at most; paste one file that ends in .pub."
        )
    text = pasted.strip(" \t\r\n")
    _refuse_other_things(text)
    kind, _, rest = text.partition(" ")
    blob, _, comment = rest.strip().partition(" ")
    if kind not in KINDS:
        raise InvalidRequest(_why_not_kind(kind, rest))
    bits = _check(kind, blob)
    return PublicKey(kind, blob, _clean(comment), bits)


def read_key_name(given: str, key: PublicKey) -> str:
    """The name that somebody gives a key; its comment, or its kind, where they give none.

    Raises:
        InvalidRequest: It is too long, or has characters that cannot be seen.
    """
    name = given.strip() or key.comment or KINDS[key.kind]
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidRequest(f"The name of a key is a text of at most {LONGEST_NAME} plain characters.")
    return name


def _refuse_other_things(text: str) -> None:
    """What people paste by mistake, and what must not come into a file that a server reads."""
    if not text:
        raise InvalidRequest(mark("Paste a public key: the text of a file that ends in .pub.") + f" {_HOW}")
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise InvalidRequest(
            "This is a private key, which nobody else should ever see. It was not stored. If others could "
            "have seen it, make a new one. Paste the file that ends in .pub."
        )
    if text.startswith("---- BEGIN SSH2 PUBLIC KEY"):
        raise InvalidRequest(
            "This is a key in another form. Turn it into one line with: ssh-keygen -i -f FILE"
        )
    if "\n" in text or "\r" in text:
        raise InvalidRequest("A public key is one line, and one key is added at a time.")
    if not text.replace("\t", " ").isprintable():
        raise InvalidRequest("The key has characters that cannot be seen. Copy it again from its file.")


def _why_not_kind(kind: str, rest: str) -> str:
    shown = kind[:40]
    if kind == "ssh-dss":
        return mark("DSA keys are broken and are not taken.") + f" {_HOW}"
    if kind.startswith("ecdsa-sha2-"):
        return mark("ECDSA keys are taken only from security keys (FIDO).") + f" {_HOW}"
    if "-cert-v01@" in kind:
        return mark("This is a certificate. Paste the public key that it was made for.")
    if any(f"{known} " in f"{kind} {rest}" for known in (*KINDS, "ssh-dss")):
        return mark(
            "Something stands in front of the key, such as options. Paste the key alone, beginning with "
            "its kind, such as ssh-ed25519."
        )
    return mark(f"{shown!r} is no kind of key that is taken; these are ED25519, RSA and security keys.")


def _check(kind: str, blob: str) -> int | None:
    """Check the key itself; its bits if it is RSA. Raises: InvalidRequest."""
    broken = InvalidRequest("The key is damaged or incomplete. Copy the whole line from the file again.")
    try:
        raw = base64.b64decode(blob, validate=True)
        if base64.b64encode(raw).decode() != blob:
            raise broken
        key = load_ssh_public_key(f"{kind} {blob}".encode("ascii"))
    except (binascii.Error, ValueError, UnsupportedAlgorithm, NotImplementedError):
        raise broken from None
    if not isinstance(key, RSAPublicKey):
        return None
    if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
        raise InvalidRequest(
            f"This RSA key has {key.key_size} bits; keys of {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits are "
            f"taken. {_HOW}"
        )
    return key.key_size


def _clean(comment: str) -> str:
    return " ".join(comment.split())[:LONGEST_NAME].strip()
