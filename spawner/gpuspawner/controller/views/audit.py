"""The audit trail as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gpuspawner.controller.links import Links
from gpuspawner.core.model import Event
from gpuspawner.language import mark

KINDS = (
    ("", mark("Everything")),
    ("device.", mark("GPUs")),
    ("session.", mark("Sessions")),
    ("lease.", mark("Leases")),
    ("ticket.", mark("The line")),
    ("reservation.", mark("Reservations")),
    ("calendar.", mark("Addresses of calendars")),
    ("access.", mark("Denied")),
)
"""What kinds begin with, and what these are about."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the audit trail."""

    at: datetime
    kind: str
    actor: str
    reason: str
    device: str | None
    lease_id: str | None
    evidence: str
    """As JSON; empty for none."""


@dataclass(frozen=True, slots=True)
class KindLink:
    """Only the events of some kinds."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The page."""

    events: tuple[EventRow, ...]
    kind: str
    """What the kinds begin with, as somebody wrote it; hostile."""
    kinds: tuple[KindLink, ...]
    here: str
    back: str


def view_audit(events: Iterable[Event], kind: str, links: Links) -> AuditPage:
    """Make the page.

    Args:
        events: Of that kind, newest first.
        kind: What their kinds begin with; empty for all.
        links: Where things are.
    """
    return AuditPage(
        events=tuple(_show(event) for event in events),
        kind=kind,
        kinds=tuple(
            KindLink(label, links.page("audit", **({"kind": prefix} if prefix else {})), prefix == kind)
            for prefix, label in KINDS
        ),
        here=links.page("audit"),
        back=links.page("board"),
    )


def _show(event: Event) -> EventRow:
    return EventRow(
        at=event.at,
        kind=event.kind,
        actor=event.actor,
        reason=event.reason,
        device=event.device,
        lease_id=event.lease_id,
        evidence=json.dumps(event.data, ensure_ascii=False, indent=1) if event.data else "",
    )
