"""The one page that there must be: one's place in line. It needs no script, and looks again by itself."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError

from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.core.model import Lease, LeaseState

from .api.handler import judge_error
from .base import PRIVATE, OurHandler
from .identity import READ, Caller
from .markup import SCRIPT_SOURCE, Links, describe_place, describe_session, render_page
from .services import Services

LOOK_AGAIN_SECONDS = 10
SOON_SECONDS = 3
"""How soon the page looks again while something happens."""


class PageHandler(OurHandler):
    """A page for people: who is not logged in is sent to the Hub's login, and comes back."""

    def set_default_headers(self) -> None:
        """Our own script may run, and nothing else."""
        super().set_default_headers()
        policy = PRIVATE["Content-Security-Policy"]
        self.set_header("Content-Security-Policy", f"{policy}; script-src {SCRIPT_SOURCE}; base-uri 'none'")

    async def prepare(self) -> None:
        """Find out who asks."""
        await self.find_caller()
        if self.caller is None:
            if self.request.method != "GET":
                raise HTTPError(403, "This page is too old, or you are not logged in. Load it again.")
            self.redirect(self.get_login_url())
        elif not self.caller.may(READ):
            raise HTTPError(403, f"This needs the scope {READ}.")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A page with one sentence, and the way back."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, GpuSpawnerError):
            status_code, _ = judge_error(error)
            self.set_status(status_code)
        title = HTTPStatus(status_code).phrase
        self.finish(render_page(title, [self.explain(status_code, kwargs)], self.links))

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """What is ours is an answer and no fault."""
        if not isinstance(value, GpuSpawnerError):
            super().log_exception(kind, value, trace)

    @property
    def links(self) -> Links:
        """Where the pages are."""
        return Links(hub=self.hub_auth.hub_prefix, service=self.hub_auth.base_url)


class RootHandler(PageHandler):
    """``/services/gpu/``: leads on to the line."""

    def get(self) -> None:
        """Redirect."""
        self.redirect(self.links.queue)


class QueueHandler(PageHandler):
    """One's own places in line."""

    async def get(self) -> None:
        """The page."""
        caller, services = self.caller, self.house.services
        if caller is None:
            return
        token = self.xsrf_token.decode()  # sets its cookie as well
        links = self.links
        parts, soon = await self.off_loop(lambda: list_places(services, caller, links, token))
        seconds = SOON_SECONDS if soon else LOOK_AGAIN_SECONDS
        self.write(render_page("Your place in line", parts, links, html=True, again=seconds))


class PressHandler(PageHandler):
    """What a button below a place does, and where it leads.

    Args (of the route):
        press: Does it; what to show then.
    """

    def initialize(self, house: object, press: Callable[[Services, Ticket, Links], str]) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(house)  # type: ignore[arg-type]
        self._press = press

    async def post(self, ticket_id: str) -> None:
        """Do it and redirect."""
        caller, services, links = self.caller, self.house.services, self.links

        def press() -> str:
            return self._press(services, find_own(services, caller, ticket_id), links)

        self.redirect(await self.off_loop(press), status=303)


def press_claim(services: Services, ticket: Ticket, links: Links) -> str:
    """*Open my server* and *Switch now*: claims the turn; leads to the server, or back until there is one."""
    claimed = services.line.claim(ticket.id, actor=ticket.owner)
    if claimed.state is not TicketState.CLAIMED:
        return links.queue
    lease = services.sessions.find(claimed.lease_id or "")
    running = lease.state is LeaseState.ACTIVE
    return links.server(ticket) if running else links.pending(ticket)


def press_leave(services: Services, ticket: Ticket, links: Links) -> str:
    """*Leave the line*."""
    services.line.leave(ticket.id, actor=ticket.owner)
    return links.queue


def find_own(services: Services, caller: Caller | None, ticket_id: str) -> Ticket:
    """The caller's own place in line; others' are not there. Raises: HTTPError 404, LedgerError."""
    with services.ledger.read() as unit:
        ticket = unit.ticket(ticket_id)
    mine = ticket is not None and caller is not None and ticket.owner == caller.person
    if ticket is None or not mine or not ticket.state.live or ticket.host != services.host:
        raise HTTPError(404, "There is no such place in line, or not any more.")
    return ticket


def list_places(services: Services, caller: Caller, links: Links, token: str) -> tuple[list[str], bool]:
    """The caller's places and sessions as HTML, and whether something happens now. Raises: LedgerError."""
    view = services.see_line()
    mine = [place for place in view.places if place.ticket.owner == caller.person]
    sessions = [lease for lease in services.sessions.live() if _is_session(lease, caller)]
    parts = [describe_place(place, view.at, links, token) for place in mine]
    if not mine:
        others = len(view.places)
        wait = "Nobody is in line" if not others else f"{others} {'is' if others == 1 else 'are'} in line"
        parts.append(f"<p>You are not in line. {wait} now.</p>")
    parts += [describe_session(lease, view.at, links) for lease in sessions]
    return parts, any(place.ahead is None for place in mine)


def _is_session(lease: Lease, caller: Caller) -> bool:
    return bool(lease.devices) and lease.owner == caller.person and lease.state is LeaseState.ACTIVE
