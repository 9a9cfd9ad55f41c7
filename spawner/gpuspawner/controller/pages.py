"""The one page that there must be: one's place in line. It needs no script, and looks again by itself."""

from __future__ import annotations

from html import escape

from tornado.web import HTTPError

from gpuspawner.allocator.line import Place
from gpuspawner.core.errors import GpuSpawnerError

from .base import OurHandler
from .identity import READ, Caller
from .services import Services

LOOK_AGAIN_SECONDS = 10
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{seconds}">
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;
color-scheme:light dark}}</style></head>
<body><h1>{title}</h1>{body}<p><a href="{home}">Your servers</a></p></body></html>
"""


class PageHandler(OurHandler):
    """A page for people: who is not logged in is sent to the Hub's login, and comes back."""

    async def prepare(self) -> None:
        """Find out who asks."""
        await self.find_caller()
        if self.caller is None:
            if self.request.method != "GET":
                raise HTTPError(403, "Log in first.")
            self.redirect(self.get_login_url())
        elif not self.caller.may(READ):
            raise HTTPError(403, f"This needs the scope {READ}.")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        """A page with one sentence."""
        self.finish(
            self.render_page(f"Error {status_code}", f"<p>{escape(self.explain(status_code, kwargs))}</p>")
        )

    def render_page(self, title: str, body: str) -> str:
        """The frame around a page; ``body`` is HTML."""
        home = escape(f"{self.hub_auth.hub_prefix}home")
        return _PAGE.format(title=escape(title), body=body, home=home, seconds=LOOK_AGAIN_SECONDS)


class RootHandler(PageHandler):
    """``/services/gpu/``: leads on to the line."""

    def get(self) -> None:
        """Redirect."""
        self.redirect(f"{self.hub_auth.base_url}queue")


class QueueHandler(PageHandler):
    """One's own places in line."""

    async def get(self) -> None:
        """The page."""
        caller, services = self.caller, self.house.services
        if caller is None:
            return
        _ = self.xsrf_token  # sets the cookie that scripts of this page need
        try:
            body = await self.off_loop(lambda: describe_places(services, caller))
        except GpuSpawnerError as error:
            self.set_status(503)
            body = f"<p>{escape(str(error))}</p>"
        self.write(self.render_page("Your place in line", body))


def describe_places(services: Services, caller: Caller) -> str:
    """The caller's places as HTML. Raises: LedgerError."""
    places = services.line.view().places
    mine = [_describe(place) for place in places if place.ticket.owner == caller.person]
    return "".join(mine) or f"<p>You are not in line. It has {len(places)} places now.</p>"


def _describe(place: Place) -> str:
    ticket = place.ticket
    server = f"server {ticket.server}" if ticket.server else "your default server"
    gpus = f"{ticket.request.gpus} GPU{'' if ticket.request.gpus == 1 else 's'}"
    if place.ahead is None:
        until = f" Open it by {ticket.claim_by:%H:%M} UTC." if ticket.claim_by else ""
        return f"<h2>It is your turn</h2><p>{escape(gpus)} for {escape(server)}.{until}</p>"
    lines = [f"Place {place.position}: {place.ahead} ahead of you. {place.reason}"]
    if place.estimate:
        latest = f" to {place.estimate.latest:%Y-%m-%d %H:%M}" if place.estimate.latest else " or later"
        lines.append(
            f"Expected {place.estimate.earliest:%Y-%m-%d %H:%M}{latest} UTC, by {place.estimate.basis}."
        )
    else:
        lines.append("When it will be cannot be said.")
    return f"<h2>{escape(gpus)} for {escape(server)}</h2>" + "".join(f"<p>{escape(one)}</p>" for one in lines)
