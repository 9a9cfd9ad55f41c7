"""Handlers of pages: who asks, in which language, what went wrong, and what was just done."""

from __future__ import annotations

import re
import time
from functools import partial
from http import HTTPStatus
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from gpuspawner.allocator.places import LineView
from gpuspawner.controller.api.handler import judge_error
from gpuspawner.controller.api.routes import Forbidden
from gpuspawner.controller.base import House, OurHandler, log
from gpuspawner.controller.denials import note_denied
from gpuspawner.controller.gate import Crowded
from gpuspawner.controller.identity import READ
from gpuspawner.controller.links import Links
from gpuspawner.core.errors import (
    Conflict,
    GpuSpawnerError,
    HubError,
    InvalidRequest,
    LedgerError,
    NotFound,
    Refused,
    SettingsError,
)
from gpuspawner.language import LANGUAGES, choose_language

from .navigation import list_places_to_go
from .news import News
from .page import Download, Page, Press, Visit
from .rendering import render

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Our scripts and styles and the Hub's, and nothing inline: what people wrote can never run."""
STREAM_SECONDS = 120.0
"""A stream ends after so long, and the page asks for another: a login that was withdrawn sees no more."""
QUIET_SECONDS = 10.0
"""After so long without news a page is told that somebody is there; 25 s of silence it does not believe."""
MOST_STREAMS = 20
"""Pages that one person may have open and told of news; more wait until they are loaded again."""
LANGUAGE, SAID = "gpu-language", "gpu-said"
SAID_SECONDS = 60
_PLAIN_PATH = re.compile(r"(/[\w.~%@+-]+)*/?")
MOST_SAID = 2700
"""Bytes of what is said: as a signed cookie they are a third more."""
TOLD_ON_THE_PAGE = (Conflict, Crowded, InvalidRequest, Refused, HubError)
"""What cannot be done as things are; all else is an error of its own."""


class PageHandler(OurHandler):
    """A page for people: who is not logged in is sent to the Hub's login, and comes back."""

    menu = ""
    """What the navigation bar shows as the present page."""
    scope: str

    def set_default_headers(self) -> None:
        """Nothing that is not ours may run."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", CONTENT_POLICY)

    async def prepare(self) -> None:
        """Find out who asks, and whether they may."""
        await self.find_caller()
        if self.caller is None:
            if self.request.method != "GET":
                raise HTTPError(403, "This page is too old, or you are not logged in. Load it again.")
            self.redirect(self.get_login_url())
        elif not self.caller.may(self.scope):
            await self.deny(f"the scope {self.scope} is missing")
            raise HTTPError(403, f"This needs the scope {self.scope}.")

    async def deny(self, why: str) -> None:
        """Write down that somebody tried."""
        caller, services, path = self.caller, self.house.services, self.request.path
        if caller is not None:
            await self.off_loop(lambda: note_denied(services, caller, path[:200], why))

    @property
    def links(self) -> Links:
        """Where the pages are."""
        return Links(hub=self.hub_auth.hub_prefix, service=self.hub_auth.base_url)

    @property
    def language(self) -> str:
        """The language of who reads."""
        return choose_language(self.get_cookie(LANGUAGE), self.request.headers.get("Accept-Language", ""))

    def visit(self, parts: dict[str, str], seen: LineView | None = None) -> Visit:
        """What a page is given."""
        assert self.caller is not None  # noqa: S101 - prepare() has seen to it
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        form = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        query.pop("_xsrf", None)
        form.pop("_xsrf", None)
        files = {name: sent[0].body for name, sent in self.request.files.items()}
        origin = f"{self.request.protocol}://{self.request.host}"
        return Visit(self.house.services, self.caller, self.links, parts, query, form, files, seen, origin)

    def render_page(self, template: str, **values: Any) -> str:
        """A template, with what all pages show."""
        absent = () if self.house.services.ssh else ("ssh",)
        site = {
            "links": self.links,
            "person": self.caller.actor if self.caller else "",
            "xsrf": self.xsrf_token.decode(),
            "places": list_places_to_go(self.caller, self.links, self.menu, absent) if self.caller else (),
            "languages": LANGUAGES,
            "here": self.request.path if self.request.method == "GET" else self.links.queue,
        }
        return render(template, self.language, {"site": site, "said": self._take_said(), **values})

    def say(self, text: str, *, good: bool = True) -> None:
        """What the next page says first; a long text is cut, for browsers keep no cookie above 4 KiB."""
        short = text.encode()[:MOST_SAID].decode(errors="ignore")
        value = f"{'good' if good else 'bad'} {short}"
        self.set_signed_cookie(
            SAID, value, expires_days=None, path=self.links.service, httponly=True, samesite="Lax"
        )

    def _take_said(self) -> tuple[bool, str] | None:
        value = self.get_signed_cookie(SAID, max_age_days=SAID_SECONDS / 86400)
        if value is None:
            return None
        self.clear_cookie(SAID, path=self.links.service)
        kind, _, text = value.decode(errors="replace").partition(" ")
        return kind == "good", text

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """A page with one sentence, and the ways on."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, GpuSpawnerError):
            status_code, _ = judge_error(error)
            self.set_status(status_code)
        title, text = HTTPStatus(status_code).phrase, self.explain(status_code, kwargs)
        self.finish(self.render_page("error.html", title=title, text=text))

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """What is ours is an answer and no fault; the log has what a page does not tell."""
        if isinstance(value, LedgerError | SettingsError):
            log.warning("%s %s: %s", self.request.method, self.request.path, value)
        elif not isinstance(value, GpuSpawnerError):
            super().log_exception(kind, value, trace)


class ShowHandler(PageHandler):
    """``GET`` of a page."""

    def initialize(self, house: House, page: Page) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(house)
        self.page, self.scope, self.name, self.menu = page, page.scope, page.name, page.menu or page.name

    async def get(self, **parts: str) -> None:
        """The page."""
        visit = self.visit(parts)
        try:
            model = await self.off_loop(lambda: self.page.load(visit))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        stream = self.request.uri.replace(self.links.service, f"{self.links.service}live/", 1)
        self.write(self.render_page(f"{self.name}.html", page=model, part=self.name, stream=stream))


class StreamHandler(ShowHandler):
    """``GET`` of a page's news: what is new in its part that changes, as server-sent events."""

    closed = False
    known: tuple[int, Any] | None = None
    """The model that was made last, of a page that knows what it rests on, and the newest event before it."""

    async def prepare(self) -> None:
        """A stream cannot be sent to a login."""
        await self.find_caller()
        if self.caller is None:
            raise HTTPError(401)
        if not self.caller.may(self.scope):
            await self.deny(f"the scope {self.scope} is missing")
            raise HTTPError(403)

    def on_connection_close(self) -> None:
        """The page was closed."""
        self.closed = True

    async def get(self, **parts: str) -> None:
        """What is new each time that the part's model is another one."""
        assert self.caller is not None  # noqa: S101 - prepare() has seen to it
        with self.house.watch.open_page(self.caller.actor) as number:
            if number > MOST_STREAMS:
                raise HTTPError(429, "Too many pages are open.")
            self.set_header("Content-Type", "text/event-stream")
            await self._tell(parts)

    async def _tell(self, parts: dict[str, str]) -> None:
        site = {"links": self.links, "xsrf": self.xsrf_token.decode()}  # sets its cookie, so before all else
        ends = time.monotonic() + STREAM_SECONDS
        shown, told, news = None, time.monotonic(), News()
        async for seen in self.house.watch.follow():
            if self.closed:
                return
            try:
                model = None if seen is None else await self._load(parts, seen)
                if model is None:
                    self.write("event: away\ndata:\n\n")
                elif model != shown:
                    event, text = await self.off_loop(partial(self._render_news, site, model, news))
                    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
                    self.write(f"event: {event}\n{lines}\n")
                    shown = model
                elif time.monotonic() - told > QUIET_SECONDS:
                    self.write("event: still\ndata:\n\n")
                else:
                    continue
                told = time.monotonic()
                await self.flush()
            except (Forbidden, NotFound, HTTPError) as error:
                if shown is None:
                    if isinstance(error, Forbidden):
                        await self.deny(str(error))
                    raise
                # It is not theirs any more, or not there: the page is loaded again and says so.
                self.write("event: gone\ndata:\n\n")
                return
            except StreamClosedError:
                return
            if told > ends:
                return

    async def _load(self, parts: dict[str, str], seen: LineView) -> Any:
        visit = self.visit(parts, seen)
        try:
            return await self.off_loop(partial(self._look, visit))
        except LedgerError:
            return None

    def _look(self, visit: Visit) -> Any:
        """The page's model, made anew only where it may be another one."""
        if not self.page.rests_on:
            return self.page.load(visit)
        with visit.services.ledger.read() as unit:
            newest = unit.last_event_id()
            old = self.known is not None and unit.has_event_after(self.known[0], self.page.rests_on)
        if self.known is not None and not old and visit.services.clock() < self.known[1].changes_at:
            return self.known[1]
        self.known = newest, self.page.load(visit)
        return self.known[1]

    def _render_news(self, site: dict[str, Any], model: Any, news: News) -> tuple[str, str]:
        part = render(f"parts/{self.name}.html", self.language, {"page": model, "site": site})
        return news.tell(part)


class DownloadHandler(PageHandler):
    """``GET`` of a file to save."""

    def initialize(self, house: House, download: Download) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(house)
        self.download, self.scope = download, download.scope

    async def get(self, **parts: str) -> None:
        """The file."""
        visit = self.visit(parts)
        try:
            made = await self.off_loop(lambda: self.download.make(visit))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        self.set_header("Content-Type", f"{made.media}; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{made.name}"')
        self.write(made.text)


class PressHandler(PageHandler):
    """What a button does, and where it leads."""

    def initialize(self, house: House, press: Press) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(house)
        self.press, self.scope = press, press.scope

    async def post(self, **parts: str) -> None:
        """Do it and redirect."""
        visit = self.visit(parts)
        try:
            work = partial(self.press.do, visit)
            outcome = await (self.in_turn("press", work) if self.press.slow else self.off_loop(work))
        except Forbidden as error:
            await self.deny(str(error))
            raise
        except TOLD_ON_THE_PAGE as error:
            self.say(str(error), good=False)
            self.redirect(self.press.back(visit), status=303)
            return
        if outcome.said:
            self.say(outcome.said)
        self.redirect(outcome.leads_to, status=303)


class LanguageHandler(PageHandler):
    """``POST language``: the reader chooses a language."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        super().initialize(house)
        self.scope = READ

    async def post(self) -> None:
        """Remember it, and go back."""
        chosen, here = self.get_body_argument("language"), self.get_body_argument("here", "")
        if chosen in LANGUAGES:
            self.set_cookie(LANGUAGE, chosen, path=self.links.service, expires_days=365, samesite="Lax")
        # Only back to a page of ours: anything else would lead people wherever a link says.
        ours = here.startswith(self.links.service) and _PLAIN_PATH.fullmatch(here)
        self.redirect(here if ours else self.links.queue, status=303)


class NothingHandler(PageHandler):
    """Whatever is not there."""

    scope = READ

    async def get(self) -> None:
        """Say so."""
        raise HTTPError(404, "There is no such page.")
