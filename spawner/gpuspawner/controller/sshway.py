"""The way to the gateway of SSH through port 443: a WebSocket, for networks that block all other ports.

What comes in goes to the gateway's port on this host and nowhere else: nothing that is sent chooses where to.
There the same is asked as of everybody, a key, and the same is open. Browsers are sent away, so that no page
of another site can use what somebody is logged in as.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from gpuspawner.core.errors import Conflict, GpuSpawnerError
from gpuspawner.core.words import mark
from gpuspawner.policy.settings import LOOPBACK

from .base import PRIVATE, House
from .denials import note_denied
from .identity import SSH, Caller
from .sshways import NOT_ALONE, Way, Ways

WAY = "ssh/way"
"""Below the controller's prefix."""
CHUNK = 64 * 1024
MOST_MESSAGE = 256 * 1024
"""Bytes of one message; ours are no longer than :data:`CHUNK`."""
PING_SECONDS = 30.0
"""So often something is sent, for proxies that close what is silent."""
CONNECT_SECONDS = 5.0
NORMAL, GOING_AWAY, UNSUPPORTED, POLICY = 1000, 1001, 1003, 1008
"""Codes of RFC 6455 for why a WebSocket is closed."""
MOST_REASON = 120
"""Bytes of the reason for it; no more fit."""
_BEARER = re.compile(r"(?:token|bearer) +([\x21-\x7e]{1,500})", re.IGNORECASE)
log = logging.getLogger("gpuspawner.controller")


class WayHandler(WebSocketHandler):
    """``GET ssh/way``: answers in one line of text where it opens none."""

    way: Way | None = None
    _far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _back: asyncio.Task[None] | None = None

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.house = house

    def set_default_headers(self) -> None:
        """Nothing here is for caches."""
        for name, value in PRIVATE.items():
            self.set_header(name, value)
        self.set_header("Content-Type", "text/plain; charset=utf-8")

    @property
    def ping_interval(self) -> float:
        """Tornado's; a client that does not answer is noticed by the gateway."""
        return PING_SECONDS

    @property
    def ping_timeout(self) -> float:
        """None: while what was sent cannot go on, answers wait behind it."""
        return 0

    @property
    def max_message_size(self) -> int:
        """Tornado's."""
        return MOST_MESSAGE

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Carry bytes until either side ends it. Raises: HTTPError: Nothing is opened, and why."""
        ways = self._require_program()
        token = read_bearer(self.request.headers)
        owner = await self._admit(ways, token)
        source = find_source(self.request.headers, self.request.remote_ip or "")
        try:
            way = self.way = ways.open(owner, token, source, self.end)
        except Conflict as error:
            raise HTTPError(429, "%s", str(error)) from None
        try:
            self._far = await connect(ways.port, way.address)
            log.info("%s comes through port 443 from %s", owner, source)
            await super().get(*args, **kwargs)
        finally:
            ways.close(way)
            if self._back is not None:
                self._back.cancel()
            if self._far is not None:
                self._far[1].close()
                log.info("%s has gone: %d bytes there, %d back", owner, way.sent, way.received)

    def _require_program(self) -> Ways:
        if self.house.ways is None:
            raise HTTPError(404, "This hub has no way for SSH through port 443.")
        headers = self.request.headers
        if "Origin" in headers or "Sec-Fetch-Site" in headers:
            raise HTTPError(403, "This is not for browsers.")
        if headers.get("Upgrade", "").lower() != "websocket":
            raise HTTPError(400, "This is for gpuspawner-session ssh-proxy, which opens a WebSocket here.")
        return self.house.ways

    async def _admit(self, ways: Ways, token: str) -> str:
        """The person who may come in. Raises: HTTPError."""
        loop, services = asyncio.get_running_loop(), self.house.services
        try:
            owner, wrong = await ways.identify(token)
        except HTTPError as error:
            raise HTTPError(503, "The hub does not answer, so nobody can come in. Try again.") from error
        if wrong == NOT_ALONE:
            caller = Caller(owner, owner or "somebody", frozenset(), frozenset())
            why = mark(f"the scope {SSH} is missing, or is not alone")
            await loop.run_in_executor(None, partial(note_denied, services, caller, WAY, why))
            raise HTTPError(403, "%s", NOT_ALONE)
        if wrong is not None or owner is None:
            raise HTTPError(401, "%s", wrong)
        try:
            refused = await loop.run_in_executor(None, ways.why_not, owner)
        except GpuSpawnerError as error:
            log.warning("Nobody comes in through port 443: %s", error)
            raise HTTPError(503, "It cannot be told now who may come in. Try again.") from error
        if refused is not None:
            raise HTTPError(403, "%s", refused)
        return owner

    def check_origin(self, origin: str) -> bool:
        """Whatever has one is a browser."""
        return False

    def open(self, *args: str, **kwargs: str) -> None:
        """Tornado has said yes."""
        self.set_nodelay(True)
        self._back = asyncio.get_running_loop().create_task(self._carry_back())

    async def on_message(self, message: str | bytes) -> None:
        """What the person sends; no more is taken until it has gone on."""
        if isinstance(message, str):
            self.close(UNSUPPORTED, mark("Only bytes are taken here."))
            return
        assert self.way is not None  # noqa: S101 - get() has seen to it
        assert self._far is not None  # noqa: S101
        self.way.sent += len(message)
        with suppress(OSError):  # it is told by the other direction
            self._far[1].write(message)
            await self._far[1].drain()

    async def _carry_back(self) -> None:
        assert self.way is not None  # noqa: S101 - get() has seen to it
        assert self._far is not None  # noqa: S101
        with suppress(OSError, WebSocketClosedError):
            while data := await self._far[0].read(CHUNK):
                self.way.received += len(data)
                await self.write_message(data, binary=True)
        self.close(NORMAL)

    def end(self, why: str, code: int = POLICY) -> None:
        """End it at once, and say why."""
        log.info("%s through port 443 must end: %s", self.way and self.way.owner, why)
        if self._far is not None:
            self._far[1].transport.abort()
        self.close(code, why.encode()[:MOST_REASON].decode(errors="ignore"))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """One line of text."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        said = mark("It does not work.")
        if isinstance(error, HTTPError) and error.log_message:
            said = error.log_message % error.args
        self.finish(f"{said}\n")


async def connect(port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reach the gateway, which sees it come from an address of this host. Raises: HTTPError."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(LOOPBACK, port, local_addr=(address, 0))
    except (OSError, TimeoutError) as error:
        log.warning("The gateway of SSH does not answer: %s", error or type(error).__name__)
        raise HTTPError(502, "The gateway of SSH does not run. Tell the administrator.") from error


def read_bearer(headers: HTTPHeaders) -> str:
    """The token; a cookie is none. Raises: HTTPError."""
    found = _BEARER.fullmatch(headers.get("Authorization", ""))
    if found is None:
        raise HTTPError(401, "A token is needed: Authorization: token …")
    return found[1]


def find_source(headers: HTTPHeaders, peer: str) -> str:
    """Where somebody is, as the proxies on this host say: the last that is not this host itself.

    What stands before that was sent by whoever is there, and may be anything.
    """
    for text in reversed(headers.get("X-Forwarded-For", "").split(",")):
        try:
            address: IPv4Address | IPv6Address = ip_address(text.strip())
            address = getattr(address, "ipv4_mapped", None) or address
        except ValueError:
            break
        if not address.is_loopback:
            return str(address)
    return peer
