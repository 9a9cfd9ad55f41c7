"""The door for servers: what containers reach of the controller, which is a few requests and nothing else."""

from __future__ import annotations

import secrets
from collections import defaultdict
from weakref import WeakSet

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from .api.handler import ApiHandler
from .api.table import ROUTES
from .base import House
from .identity import SESSION

MOST_SENT = 4096
"""Bytes of what a server may send."""
MOST_OPEN = 16
"""Connections that one address, which is one container, may have open; JupyterLab needs one for a moment."""
IDLE_SECONDS, BODY_SECONDS = 30.0, 10.0
"""How long a connection may be silent, and a body take to come."""


class InsideHandler(ApiHandler):
    """What servers may ask, each about its own session."""

    routes = tuple(route for route in ROUTES if route.scope == SESSION)


class InsideDoor(HTTPServer):
    """Serves the containers; one that opens connections without end gets no more of them."""

    def initialize(self, app: Application) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(
            app,
            max_body_size=MOST_SENT,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
        )
        self._streams: defaultdict[str, WeakSet[IOStream]] = defaultdict(WeakSet)

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """A new connection."""
        known = self._streams[address[0]]
        for one in [one for one in known if one.closed()]:
            known.discard(one)
        if len(known) >= MOST_OPEN:
            stream.close()
            return
        known.add(stream)
        super().handle_stream(stream, address)


def make_inside_door(house: House) -> InsideDoor:
    """The server; it listens nowhere yet."""
    prefix = house.auth.base_url.rstrip("/")
    app = Application(
        [(rf"{prefix}/api/(.*)", InsideHandler, {"house": house})],
        cookie_secret=secrets.token_hex(32),  # no login by cookie works here
        log_function=lambda _: None,
    )
    return InsideDoor(app)
