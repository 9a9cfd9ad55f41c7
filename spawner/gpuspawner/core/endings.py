"""How a server ended, in words for the person whose it was."""

from __future__ import annotations

from .model import Lease
from .words import describe_bytes, mark


def describe_end(lease: Lease | None) -> str | None:
    """Say what happened to a person's last server, if it did not end because they wished it.

    Args:
        lease: The newest lease of that server, or None.

    Returns:
        One or two sentences, or None when there is nothing to tell.
    """
    if lease is None or not lease.state.ending or lease.outcome is None:
        return None
    outcome = lease.outcome
    if outcome.oom_killed:
        limit = outcome.memory_limit_bytes
        allowed = mark(f" It may use {describe_bytes(limit)}.") if limit else ""
        return mark(
            f"Your last server was ended because its memory ran out.{allowed} "
            "Files that were saved are still there; what was only in memory is lost."
        )
    if lease.reason.startswith("the server ended by itself"):
        return mark(f"Your last server is gone: {lease.reason}. Files that were saved are still there.")
    return None
