"""What the controller's page looks like: values in, HTML out. What people wrote is escaped here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from gpuspawner.allocator.places import Place
from gpuspawner.core.claims import Ticket
from gpuspawner.core.model import Lease

_SCRIPT = """
for (const one of document.querySelectorAll("time")) {
  const at = new Date(one.dateTime);
  const today = at.toDateString() === new Date().toDateString();
  one.textContent = today
    ? at.toLocaleTimeString([], { timeStyle: "short" })
    : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
"""
"""Times in the viewer's zone; they are in UTC without it."""
SCRIPT_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
"""The script, as the page's content security policy names it."""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
{again}<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;
color-scheme:light dark}}form{{display:inline}}button{{font:inherit;padding:.3rem .8rem}}</style></head>
<body><h1>{title}</h1>
{body}
<p><a href="{queue}">Your place in line</a> · <a href="{home}">Your servers</a></p>
<script>{script}</script></body></html>
"""
_KERNELS_END = (
    "Switch now stops the server that you have and starts it again with the GPU: the kernels that run there "
    "end, what is saved stays."
)


@dataclass(frozen=True, slots=True)
class Links:
    """Where things are, as paths."""

    hub: str
    """The Hub's own pages, ending in a slash."""
    service: str
    """The controller's, ending in a slash."""

    @property
    def queue(self) -> str:
        """The page."""
        return f"{self.service}queue"

    def press(self, ticket: Ticket, what: str) -> str:
        """Where the button of a place leads."""
        return f"{self.queue}/{quote(ticket.id, safe='')}/{what}"

    def server(self, of: Ticket | Lease) -> str:
        """A server."""
        return f"{self.hub.removesuffix('hub/')}user/{_path(of)}"

    def pending(self, of: Ticket | Lease) -> str:
        """The Hub's page on a server that is starting."""
        return f"{self.hub}spawn-pending/{_path(of)}"


def _path(of: Ticket | Lease) -> str:
    return "/".join(quote(part, safe="@~") for part in (of.owner, of.server) if part)


def render_page(
    title: str, parts: Sequence[str], links: Links, *, html: bool = False, again: int | None = None
) -> str:
    """A whole page.

    Args:
        title: Its title.
        parts: Paragraphs.
        links: Where it leads.
        html: Whether the parts are HTML already.
        again: Seconds after which it loads itself anew.
    """
    refresh = "" if again is None else f'<meta http-equiv="refresh" content="{again}">\n'
    return _PAGE.format(
        title=escape(title),
        body="\n".join(parts if html else [f"<p>{escape(part)}</p>" for part in parts]),
        queue=escape(links.queue),
        home=escape(f"{links.hub}home"),
        again=refresh,
        script=_SCRIPT,
    )


def tell_time(moment: datetime, now: datetime) -> str:
    """A time as HTML."""
    utc = moment.astimezone(UTC)
    text = f"{utc:%H:%M} UTC" if utc.date() == now.astimezone(UTC).date() else f"{utc:%Y-%m-%d %H:%M} UTC"
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{text}</time>'


def describe_place(place: Place, now: datetime, links: Links, token: str) -> str:
    """One place in line, with its buttons.

    Args:
        place: The place.
        now: The present.
        links: Where the buttons lead.
        token: The XSRF token of who sees it.
    """
    ticket = place.ticket
    name = f"server {ticket.server}" if ticket.server else "your default server"
    what = f"{_describe_request(ticket)} for {name}"
    said = _describe_turn(place, now) if place.ahead is None else _describe_wait(place, now)
    buttons = []
    if place.ahead is None and ticket.switch_at is None:
        label = "Open my server" if place.other is None else "Switch now"
        buttons.append(_button(label, links.press(ticket, "claim"), token))
    buttons.append(_button("Leave the line", links.press(ticket, "leave"), token))
    paragraphs = "".join(f"<p>{one}</p>" for one in said)
    return f"<section><h2>{escape(what)}</h2>{paragraphs}<p>{' '.join(buttons)}</p></section>"


def describe_session(lease: Lease, now: datetime, links: Links) -> str:
    """A session that runs."""
    name = f"Your server {lease.server}" if lease.server else "Your default server"
    until = f" until {tell_time(lease.ends_at, now)}" if lease.ends_at else ""
    count = _count(len(lease.devices))
    return (
        f'<p>{escape(name)} runs with {count}{until}. <a href="{escape(links.server(lease))}">Open it</a></p>'
    )


def _describe_turn(place: Place, now: datetime) -> list[str]:
    ticket = place.ticket
    if ticket.switch_at is not None:
        again = " anew" if place.other is not None else ""
        return [f"It is your turn. Your server is being started{again}; it takes a moment."]
    said = ["<strong>It is your turn.</strong>"]
    if ticket.claim_by:
        said[0] += f" Take it by {tell_time(ticket.claim_by, now)}; then the next in line gets it."
    if place.ends_at:
        said.append(f"The session would last until {tell_time(place.ends_at, now)}.")
    if place.other is not None:
        said.append(_KERNELS_END)
    return said


def _describe_wait(place: Place, now: datetime) -> list[str]:
    said = [f"Place {place.position}: {place.ahead} ahead of you. {escape(place.reason)}"]
    if place.estimate is None:
        return [*said, "When it will be cannot be said."]
    earliest, latest = place.estimate.earliest, place.estimate.latest
    end = f" to {tell_time(latest, now)}" if latest else " or later"
    return [*said, f"Expected {tell_time(earliest, now)}{end}, by {escape(place.estimate.basis)}."]


def _describe_request(ticket: Ticket) -> str:
    request = ticket.request
    if request.slice_bytes is not None:
        return f"A slice of at least {request.slice_bytes / 1024**3:.3g} GiB"
    return _count(request.gpus) + (f" {request.model}" if request.model else "")


def _count(gpus: int) -> str:
    return f"{gpus} GPU{'' if gpus == 1 else 's'}"


def _button(label: str, action: str, token: str) -> str:
    return (
        f'<form method="post" action="{escape(action)}"><input type="hidden" name="_xsrf" '
        f'value="{escape(token)}"><button>{escape(label)}</button></form>'
    )
