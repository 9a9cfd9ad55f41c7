"""How a server ended, in words for the person whose it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .claims import Ticket
from .model import Event, Lease
from .words import describe_bytes, mark

LEFT = mark("its person left the line")
"""Why a place in line is over that its person gave up."""
STOPPING = "session.stopping"
"""Kind of the event: somebody stops a session at once."""


@dataclass(frozen=True, slots=True)
class LastEnd:
    """What became of a person's last server, or of its place in line, that they did not wish for."""

    at: datetime
    text: str
    """One or two sentences."""
    again: str | None
    """What asks for the same again: the id of the lease or of the ticket; None where it is not known what
    was asked for."""


def describe_end(lease: Lease | None, stopped: Event | None = None) -> str | None:
    """Say what happened to a person's last server, if it did not end because they wished it.

    Args:
        lease: The newest lease of that server, or None.
        stopped: The newest event of the kind :data:`STOPPING` about it.

    Returns:
        One or two sentences, or None when there is nothing to tell.
    """
    if lease is None or not lease.state.ending:
        return None
    outcome = lease.outcome
    if outcome is not None and outcome.oom_killed:
        limit = outcome.memory_limit_bytes
        allowed = mark(f" It may use {describe_bytes(limit)}.") if limit else ""
        return mark(
            f"Your last server was ended because its memory ran out.{allowed} "
            "Files that were saved are still there; what was only in memory is lost."
        )
    if lease.warned == 0:
        why = _close(lease.end_reason or mark("its time is over"))
        return mark(f"Your last server was stopped: {why} Files that were saved are still there.")
    if stopped is not None and stopped.actor != lease.owner:
        why = _close(stopped.reason)
        return mark(f"{stopped.actor} stopped your last server: {why} Files that were saved are still there.")
    if lease.reason.startswith(("the server ended by itself", "the container was removed")):
        return mark(f"Your last server is gone: {lease.reason}. Files that were saved are still there.")
    return None


def describe_lost(ticket: Ticket) -> str:
    """Say that a place in line is over that its person did not leave."""
    return mark(f"You have lost your place in line: {_close(ticket.reason)}")


def _close(reason: str) -> str:
    """A reason as the end of a sentence."""
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
