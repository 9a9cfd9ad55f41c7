"""Public keys that people paste, good and bad."""

from __future__ import annotations

import base64
import struct
import subprocess
from contextlib import suppress
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.keys import KINDS, MOST_CHARACTERS, read_key_name, read_public_key
from hypothesis import example, given, settings
from hypothesis import strategies as st


def part(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@cache
def make(kind: str, bits: int = 3072) -> str:
    """A public key of a kind."""
    if kind in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com"):
        raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        blob = part(kind.encode()) + part(raw) + (part(b"ssh:") if kind.startswith("sk-") else b"")
        return f"{kind} {base64.b64encode(blob).decode()}"
    if kind == "sk-ecdsa-sha2-nistp256@openssh.com":
        point = ec.generate_private_key(ec.SECP256R1()).public_key()
        raw = point.public_bytes(ser.Encoding.X962, ser.PublicFormat.UncompressedPoint)
        blob = part(kind.encode()) + part(b"nistp256") + part(raw) + part(b"ssh:")
        return f"{kind} {base64.b64encode(blob).decode()}"
    private: object
    if kind == "ssh-rsa":
        private = rsa.generate_private_key(65537, bits)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    return private.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_key_is_taken_as_openssh_knows_it(kind: str) -> None:
    text = make(kind)
    key = read_public_key(f"  {text} ada@laptop\n")
    assert (key.text, key.comment) == (text, "ada@laptop")
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=text, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] == key.fingerprint
    assert read_key_name("", key) == "ada@laptop"


ED = make("ssh-ed25519")
BAD = {
    "nothing": ("  \n", "Paste a public key"),
    "dsa": ("ssh-dss AAAAB3NzaC1kc3M=", "DSA keys are broken"),
    "ecdsa": (make("ecdsa-sha2-nistp256"), "only from security keys"),
    "short": (make("ssh-rsa", 2048), "has 2048 bits"),
    "private": ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n", "This is a private key"),
    "putty": ("PuTTY-User-Key-File-3: ssh-ed25519\n", "This is a private key"),
    "other form": ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "another form"),
    "options": (f'command="rm -rf ~" {ED}', "in front of the key"),
    "one option": (f"no-pty {ED}", "in front of the key"),
    "two": (f"{ED}\n{ED}", "one line"),
    "return": (f"{ED} a\rssh-rsa AAAA", "one line"),
    "huge": (f"{ED} {'x' * MOST_CHARACTERS}", "characters at most"),
    "control": (f"{ED} a\x1b[2Jb", "cannot be seen"),
    "hidden": (f"{ED} a\u202eb", "cannot be seen"),
    "zero": (f"{ED} a\0b", "cannot be seen"),
    "cut": (ED[:-12], "damaged"),
    "longer": (ED + "AAAA", "damaged"),
    "other kind": (ED.replace("ssh-ed25519 ", "ssh-rsa "), "damaged"),
    "no key": ("ssh-ed25519", "damaged"),
    "certificate": ("ssh-ed25519-cert-v01@openssh.com AAAA", "certificate"),
    "words": ("please let me in", "no kind of key"),
}


@pytest.mark.parametrize("which", BAD)
def test_what_is_no_good_key_is_refused_with_its_reason(which: str) -> None:
    pasted, reason = BAD[which]
    with pytest.raises(InvalidRequest, match=reason):
        read_public_key(pasted)


def test_a_private_key_in_front_of_a_good_one_is_not_taken() -> None:
    with pytest.raises(InvalidRequest, match="private"):
        read_public_key(f"{ED} BEGIN OPENSSH PRIVATE KEY")


PARTS = [b"", b"\0", b"\x01", b"\x01\x00\x01", b"k" * 32, b"\x04" + b"p" * 64, b"\0" + b"\xff" * 384]
PARTS += [b"nistp256", b"ssh:"]
"""Of what keys are put together, and what they must not be."""


@settings(deadline=None)
@given(st.one_of(st.text(), st.text().map(lambda tail: f"{ED} {tail}"), st.text().map(lambda a: f"{a}{ED}")))
def test_whatever_is_pasted_comes_out_as_one_plain_line_or_not_at_all(pasted: str) -> None:
    try:
        key = read_public_key(pasted)
    except InvalidRequest:
        return
    assert key.text == ED
    assert key.comment.isprintable()
    assert len(key.comment) <= 60


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_the_place_of_the_key_are_refused_or_the_key(raw: bytes) -> None:
    text = f"ssh-ed25519 {base64.b64encode(part(b'ssh-ed25519') + raw).decode()}"
    try:
        key = read_public_key(text)
    except InvalidRequest:
        return
    assert key.text == text


def test_a_name_is_short_and_plain() -> None:
    key = read_public_key(ED)
    assert read_key_name(" laptop ", key) == "laptop"
    assert read_key_name("", key) == "ED25519"
    for name in ("x" * 61, "a\nb", "a\x1bb"):
        with pytest.raises(InvalidRequest):
            read_key_name(name, key)


@given(st.sampled_from(sorted(KINDS)), st.lists(st.sampled_from(PARTS), max_size=5))
@settings(deadline=None)
@example("sk-ecdsa-sha2-nistp256@openssh.com", [b"nistp256", b"nistp256", b"ssh:"])
def test_what_is_built_like_a_key_and_is_none_is_refused(kind: str, parts: list[bytes]) -> None:
    blob = b"".join(part(one) for one in (kind.encode(), *parts))
    text = f"{kind} {base64.b64encode(blob).decode()}"
    with suppress(InvalidRequest):
        assert read_public_key(text).text == text
