"""What people are told where they look at no page: in terminals, by mail, by a webhook. All pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from .model import Lease, Message

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,250}")
_MOST_LINE = 600
"""Characters in a terminal."""
_MOST_SUBJECT = 90


class Channel(StrEnum):
    """A way on which messages reach people."""

    TERMINALS = "terminals"
    MAIL = "mail"
    WEBHOOK = "webhook"


HOLDS_FOR = {
    Channel.TERMINALS: timedelta(minutes=2),
    Channel.MAIL: timedelta(minutes=30),
    Channel.WEBHOOK: timedelta(minutes=30),
}
"""A message that could not be delivered for so long is not delivered any more: it would only mislead."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is to be delivered."""

    id: int
    """Its number in the ledger."""
    message: Message
    lease: Lease | None
    """The session that it is about; None for none."""
    tries: int = 0
    """How often this was tried in vain."""
    address: str | None = None
    """The person's address as their login service has checked it; empty where it has not, and None where they
    log in otherwise."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail."""

    to: str
    subject: str
    text: str


def write_line(message: Message, servers: str) -> str:
    """A message as one line for terminals; nothing in it moves a cursor.

    Args:
        message: Anybody may have written what is in it.
        servers: Where its person can do something about it.
    """
    text = clean(message.text)
    text = text if len(text) <= _MOST_LINE else f"{text[:_MOST_LINE]}…"
    return f"*** {text} (See {clean(servers)}) ***"


def write_letter(notice: Notice, domain: str, servers: str) -> Letter | None:
    """A message as a mail; None where its person has no address.

    Args:
        notice: Anybody may have written what is in its message.
        domain: What follows the ``@`` of everybody whose name is not an address itself.
        servers: Where its person can do something about it.
    """
    message, to = notice.message, notice.address
    if to is None:
        to = message.owner if "@" in message.owner else f"{message.owner}@{domain}"
    if not _ADDRESS.fullmatch(to):
        return None
    first = clean(message.text)
    subject = first if len(first) <= _MOST_SUBJECT else f"{first[:_MOST_SUBJECT]}…"
    text = f"{message.text}\n\nYour servers, and what you can do: {servers}\n"
    return Letter(to, subject, text)


def write_call(notice: Notice, servers: str) -> dict[str, object]:
    """A message for a program."""
    message, lease = notice.message, notice.lease
    return {
        "id": notice.id,
        "at": message.at.isoformat(),
        "user": message.owner,
        "actor": message.actor,
        "text": message.text,
        "lease": message.lease_id,
        "server": lease.server if lease else None,
        "devices": list(lease.devices) if lease else [],
        "servers": servers,
    }


def clean(text: str) -> str:
    """A text on one line, without what could move a cursor, hide a word, or turn the line around."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
