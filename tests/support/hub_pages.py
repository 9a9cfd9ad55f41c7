"""The Hub's own pages without a Hub: its real templates and ours, with what its handlers give them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gpuspawner.core.endings import LastEnd
from gpuspawner.hubconfig import HUB_TEMPLATES, HUB_WORDS
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from tornado.web import Application, RequestHandler

from support.controller import with_hub_files

STOCK = Path(sys.prefix) / "share" / "jupyterhub" / "templates"
SERVICE = SimpleNamespace(name="gpu", href="/services/gpu/")
OTHER_SERVICE = SimpleNamespace(name="docs", href="/services/docs/")


@dataclass
class HubPages:
    """What is shown to whoever looks, and what they sent."""

    form: Callable[[], str]
    """Makes the start page's form."""
    name: str = "ada"
    services: list[Any] = field(default_factory=lambda: [SERVICE])
    scopes: tuple[str, ...] = ()
    error: tuple[str | None, str | None] = (None, None)
    """Plain and HTML message of the last start."""
    ended: LastEnd | None = None
    """How the last server ended."""
    posted: list[dict[str, list[str]]] = field(default_factory=list)
    looks: int = 0
    """How often the start page was fetched."""
    away: bool = False
    runs: bool = False
    """Whether the server runs: then the start page leads on to it."""
    url: str = ""

    def app(self) -> Application:
        handlers: list[Any] = [
            (r"/hub/spawn(?:/.*)?", SpawnPage, {"pages": self}),
            (r"/hub/(not_running|spawn_pending|login|token)", OtherPage, {"pages": self}),
            (r"/hub/api/.*", Silent),
        ]
        return with_hub_files(Application(handlers))

    async def render(self, handler: HubHandler, template: str, **values: Any) -> str:
        """A page, with what JupyterHub 6 gives to all of them and to this one."""
        spawner = SimpleNamespace(name="", user=SimpleNamespace(name=self.name), options_form=True)
        spawner.find_last_end = lambda: self.ended
        user = SimpleNamespace(
            name=self.name, json_escaped_name=self.name, spawner=spawner, spawners={"": spawner}
        )
        usual = {
            "base_url": "/hub/",
            "prefix": "/",
            "user": user,
            "login_url": "/hub/login",
            "logout_url": "/hub/logout",
            "static_url": handler.static_url,
            "services": self.services,
            "parsed_scopes": self.scopes,
            "xsrf_token": "x",
            "server_name": "",
            "spawner": spawner,
            "url": "/hub/spawn?_xsrf=x",
            "for_user": user,
        }
        return await ENVIRONMENT.get_template(template).render_async(usual | values)


ENVIRONMENT = Environment(
    loader=ChoiceLoader(
        [
            PrefixLoader({"templates": FileSystemLoader([STOCK])}, "/"),
            FileSystemLoader([HUB_TEMPLATES, STOCK]),
        ]
    ),
    autoescape=True,
    enable_async=True,
    extensions=[HUB_WORDS],
)
"""As JupyterHub's own (app.py, init_tornado_settings)."""


class HubHandler(RequestHandler):
    """A handler as the Hub's are: pages get its own method for links to files."""

    def static_url(self, path: str, include_host: bool | None = None, **kwargs: Any) -> str:
        return f"/hub/static/{path}"


class SpawnPage(HubHandler):
    """``/hub/spawn``: the form, and after it was sent the form with a refusal."""

    def initialize(self, pages: HubPages) -> None:
        self.pages = pages

    async def get(self) -> None:
        self.pages.looks += 1
        if self.pages.away:
            self.send_error(503)
            return
        if self.pages.runs:
            self.redirect("/hub/spawn_pending")
            return
        self.write(await self.pages.render(self, "spawn.html", spawner_options_form=self.pages.form()))

    async def post(self) -> None:
        sent = {
            name: [one.decode() for one in values] for name, values in self.request.body_arguments.items()
        }
        self.pages.posted.append(sent)
        plain, html = self.pages.error
        self.set_status(409)
        values = {"error_message": plain, "html_error_message": html}
        self.write(
            await self.pages.render(self, "spawn.html", spawner_options_form=self.pages.form(), **values)
        )


class OtherPage(HubHandler):
    """Pages that show what became of a start."""

    def initialize(self, pages: HubPages) -> None:
        self.pages = pages

    async def get(self, name: str) -> None:
        plain, html = self.pages.error
        failed = plain is not None
        values = {"failed": failed, "failed_message": plain, "failed_html_message": html}
        if name == "login":
            values |= {"user": None, "authenticator": SimpleNamespace(request_otp=False)}
        if name == "token":
            options = '<option value="3600">1 Hour</option><option value="2592000">1 Month</option>'
            never = '<option value="" selected="selected">Never</option>'
            values |= {
                "api_tokens": [],
                "oauth_clients": [],
                "token_expires_in_options_html": options + never,
            }
        self.write(
            await self.pages.render(
                self, f"{name}.html", spawn_url="/hub/spawn/ada/", progress_url="/hub/api/x", **values
            )
        )


class Silent(RequestHandler):
    """The progress of a start of which nothing is heard."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write('data: {"progress": 30, "message": "Creating your server"}\n\n')
