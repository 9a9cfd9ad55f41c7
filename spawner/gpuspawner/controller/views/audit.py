"""The audit trail as a page shows it: what is looked for, a page of what was found, and all of it as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gpuspawner.controller.links import Links
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Event
from gpuspawner.core.undo import Undoing
from gpuspawner.core.words import guard_cell, mark

from .boardundo import link_undo
from .periods import begin_of, read_day

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
FIELDS = ("person", "card", "kind", "text", "since", "until")
"""What can be looked for, as the address names it."""
MOST_TYPED = 255
"""Characters of each."""
SHOWN = 50
"""Lines of a page."""
MOST_IN_A_FILE = 10_000
COLUMNS = ("line", "time", "what", "who", "why", "gpu", "session", "evidence")


@dataclass(frozen=True, slots=True)
class EventRow:
    """A line of the audit trail."""

    id: int
    at: datetime
    kind: str
    actor: str
    reason: str
    device: str | None
    lease_id: str | None
    evidence: str
    """As JSON; empty for none."""
    undo: str
    """Where it can be taken back; empty where it cannot, or not any more."""


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
    typed: Mapping[str, str]
    """What is looked for, by field, as somebody wrote it; hostile."""
    problem: str
    """Why it cannot be looked for; empty where it can."""
    kinds: tuple[KindLink, ...]
    here: str
    newest: str
    """Where the newest of what was found are; empty on that page itself."""
    older: str
    """Where the next page is; empty where there is none."""
    file: str
    """Where all that was found is a file."""
    back: str


def read_search(query: Mapping[str, str]) -> EventSearch:
    """What somebody looks for.

    Args:
        query: What stands in the address; hostile.

    Raises:
        InvalidRequest: Something is no day, or no line.
    """
    typed = _read_typed(query)
    since, until = read_day(typed["since"], "first day"), read_day(typed["until"], "last day")
    if since and until and until < since:
        raise InvalidRequest(f"The last day, {until}, is before the first, {since}. Exchange them.")
    before = query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 18):
        raise InvalidRequest("There is no such page. Look again from the newest on.")
    return EventSearch(
        kind=typed["kind"],
        person=typed["person"],
        card=typed["card"],
        text=typed["text"],
        since=begin_of(since) if since else None,
        until=begin_of(until + timedelta(days=1)) if until else None,
        before=int(before) if before else None,
    )


def view_audit(
    events: Sequence[Event],
    query: Mapping[str, str],
    links: Links,
    *,
    undoings: Mapping[int, Undoing] | None = None,
    problem: str = "",
) -> AuditPage:
    """Make the page.

    Args:
        events: What was found, newest first; one more than a page where there is another page.
        query: What is looked for, as the address says; hostile.
        links: Where things are.
        undoings: By id, what taking them back would come to, for those of which it may be possible.
        problem: Why nothing could be looked for.
    """
    typed, page = _read_typed(query), events[:SHOWN]
    said = {name: value for name, value in typed.items() if value}
    bare = {name: value for name, value in said.items() if name != "kind"}
    more = len(events) > SHOWN
    return AuditPage(
        events=tuple(_show(event, undoings or {}, links) for event in page),
        typed=typed,
        problem=problem,
        kinds=tuple(
            KindLink(
                label,
                links.page("audit", **bare, **({"kind": prefix} if prefix else {})),
                prefix == typed["kind"],
            )
            for prefix, label in KINDS
        ),
        here=links.page("audit"),
        newest=links.page("audit", **said) if query.get("before") else "",
        older=links.page("audit", **said, before=str(page[-1].id)) if more else "",
        file=links.page("audit.csv", **said),
        back=links.page("board"),
    )


def write_events(events: Iterable[Event]) -> str:
    """Lines of the trail as CSV; what people wrote is no formula there."""
    file = io.StringIO()
    table = csv.writer(file)
    table.writerow(COLUMNS)
    for event in events:
        texts = (
            event.kind,
            event.actor,
            event.reason,
            event.device or "",
            event.lease_id or "",
            json.dumps(event.data, ensure_ascii=False) if event.data else "",
        )
        at = f"{event.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        table.writerow((event.id, at, *map(guard_cell, texts)))
    return file.getvalue()


def _read_typed(query: Mapping[str, str]) -> dict[str, str]:
    """What stands in the fields: of one line, without what could not be seen."""
    plain = {name: query.get(name, "")[:MOST_TYPED] for name in FIELDS}
    return {
        name: "".join(c if c.isprintable() else " " for c in text).strip() for name, text in plain.items()
    }


def _show(event: Event, undoings: Mapping[int, Undoing], links: Links) -> EventRow:
    undoing = undoings.get(event.id or 0)
    link = link_undo(undoing, links) if undoing else None
    return EventRow(
        id=event.id or 0,
        at=event.at,
        kind=event.kind,
        actor=event.actor,
        reason=event.reason,
        device=event.device,
        lease_id=event.lease_id,
        evidence=json.dumps(event.data, ensure_ascii=False, indent=1) if event.data else "",
        undo=link.href if link else "",
    )
