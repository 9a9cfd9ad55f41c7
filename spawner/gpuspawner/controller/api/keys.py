"""A person's own keys for SSH."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from gpuspawner.core.errors import NotFound
from gpuspawner.core.keys import MOST_CHARACTERS
from gpuspawner.core.ssh import SshKey

from .access import require_person
from .basics import Answer, Body, Time
from .routes import Call

_MOST_DIGITS = 15


class KeyInfo(Answer):
    """A public key that lets its person in by SSH."""

    id: int
    name: str
    key: Annotated[str, Field(description="Kind and key, as in a file that ends in .pub.")]
    fingerprint: Annotated[str, Field(description="As OpenSSH shows it: SHA256:…")]
    added_at: Time
    used_at: Annotated[Time | None, Field(description="When a connection was last made with it.")]
    refused_at: Annotated[Time | None, Field(description="When it was last refused.")]
    refused: Annotated[str, Field(description="Why it was last refused; empty for never.")]


class Keys(Answer):
    """Your keys."""

    at: datetime
    keys: list[KeyInfo]


class KeyBody(Body):
    """A key to be added."""

    key: Annotated[
        str, Field(max_length=4 * MOST_CHARACTERS, description="The text of a file that ends in .pub.")
    ]
    name: Annotated[
        str, Field(max_length=1000, description="What you call it; its comment unless given.")
    ] = ""


def list_keys(call: Call) -> Keys:
    """One's own."""
    found = call.services.keys.list(require_person(call))
    return Keys(at=call.services.clock(), keys=[_show(one) for one in found])


def add_key(call: Call) -> KeyInfo:
    """Add one."""
    person = require_person(call)
    return _show(call.services.keys.add(person, call.body.key, call.body.name, actor=call.caller.as_actor))


def remove_key(call: Call) -> KeyInfo:
    """Remove one; somebody else's does not exist for the caller."""
    number = call.path["key_id"]
    if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
        raise NotFound("There is no such key.")
    return _show(call.services.keys.remove(require_person(call), int(number), actor=call.caller.as_actor))


def _show(key: SshKey) -> KeyInfo:
    return KeyInfo(
        id=key.id,
        name=key.name,
        key=key.text,
        fingerprint=key.fingerprint,
        added_at=key.added_at,
        used_at=key.used_at,
        refused_at=key.refused_at,
        refused=key.refused,
    )
