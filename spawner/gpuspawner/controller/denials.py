"""Somebody tried what they may not do: it is written down."""

from __future__ import annotations

import logging

from gpuspawner.allocator import SAME_REFUSAL_AGAIN as SAME_AGAIN
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import Event

from .identity import Caller
from .services import Services

MOST_A_MINUTE = 20

log = logging.getLogger("gpuspawner.controller")


def note_denied(services: Services, caller: Caller, what: str, why: str) -> None:
    """Write down that somebody tried, once a minute for the same; without a ledger only in the log.

    Who tries one thing after the other does not fill the trail: there are so many lines a minute of theirs.

    Args:
        services: The use cases.
        caller: Who tried.
        what: What they tried, in one word: an operation of the API, or a path.
        why: Why they may not.
    """
    event = Event(services.clock(), "access.denied", f"{what}: {why}", caller.actor)
    log.warning("Denied to %s: %s", caller.actor, event.reason)
    since = event.at - SAME_AGAIN
    try:
        with services.ledger.read() as unit:
            # Writers are not held up by who does nothing but try.
            if unit.count_events(event.kind, event.actor, since) >= MOST_A_MINUTE:
                return
        with services.ledger.write() as unit:
            if not unit.has_event_since(since, event):
                unit.add_event(event)
    except LedgerError as error:
        log.warning("%s", error)
