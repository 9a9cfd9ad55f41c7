"""What all of the controller's handlers do: find out who asks, and answer errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated, UserNotAllowed
from tornado.web import HTTPError, RequestHandler

from gpuspawner.core.errors import GpuSpawnerError, LedgerError, SettingsError
from gpuspawner.core.words import mark

from .gate import Gate
from .identity import READ, Caller, read_caller
from .live import Watch
from .loop import Ticking
from .metrics import Metrics
from .services import Services
from .sshways import Ways

T = TypeVar("T")
log = logging.getLogger("gpuspawner.controller")

HUNG_SECONDS = 60
"""A controller whose tick has not ended for so long is not healthy."""
PRIVATE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class House:
    """What every handler needs."""

    auth: HubOAuth
    services: Services
    metrics: Metrics
    ticking: Ticking
    watch: Watch
    """Of all open pages."""
    gate: Gate = field(default_factory=Gate)
    """Before what keeps a processor busy: comparing a reservation with all others."""
    feeds: Gate = field(default_factory=lambda: Gate(4))
    """Before people's own calendars, for which the Hub is asked."""
    ways: Ways | None = None
    """To the gateway of SSH through port 443; None where there are none."""


class OurHandler(HubOAuthenticated, RequestHandler):  # type: ignore[misc]  # JupyterHub is untyped
    """A handler that knows who asks. Anonymous is an answer too: what that means is for others to say."""

    caller: Caller | None = None

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.house = house
        self.hub_auth = house.auth

    def set_default_headers(self) -> None:
        """Nothing here is for caches, or for frames of other sites."""
        for name, value in PRIVATE.items():
            self.set_header(name, value)

    async def find_caller(self) -> None:
        """Ask the Hub who this is, without blocking; cookies are believed only with their XSRF token.

        Raises:
            HTTPError: 503 when the Hub does not answer, 403 for somebody who may not come here at all.
        """
        try:
            model = await self.hub_auth.get_user(self, sync=False)
        except HTTPError as error:
            raise HTTPError(503, "The hub does not answer, so nobody can log in. Try again.") from error
        if model is None:
            return
        try:
            self.check_hub_user(model)
        except UserNotAllowed as error:
            raise HTTPError(403, "You may not use this service; ask the administrator.") from error
        self.current_user = model
        self.caller = read_caller(model)

    async def off_loop(self, work: Callable[[], T]) -> T:
        """Do what may block on the ledger or the Hub in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def in_turn(self, what: str, work: Callable[[], T]) -> T:
        """Do in a thread what takes long, few at a time.

        Args:
            what: Of this, one of each person is done at a time, and the newest of those that wait.
            work: What is done.

        Raises:
            Crowded: It was not done.
        """
        assert self.caller is not None  # noqa: S101 - prepare() has seen to it
        async with self.house.gate.turn(f"{what} {self.caller.actor}"):
            return await self.off_loop(work)

    def explain(self, status: int, kwargs: dict[str, Any]) -> str:
        """What an error page or answer says: our own sentences, and of bugs nothing."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        if isinstance(error, SettingsError):  # it names files of the host
            return mark("The policy cannot be read. The administrator should run `gpuspawner policy check`.")
        if isinstance(error, LedgerError):
            return mark("The ledger, which says who has what, is away. Try again; tell the administrator.")
        if isinstance(error, GpuSpawnerError):
            return str(error)
        if isinstance(error, HTTPError) and error.log_message and status < 600:
            return str(error.log_message % error.args)
        if status >= 500:
            return mark("Something went wrong here; the administrator finds it in the log.")
        return "No."


class HealthHandler(RequestHandler):
    """``health``: whether the process works. Open to all, and tells nothing else."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.house = house

    def get(self) -> None:
        """200, or 503 when ticks have stopped."""
        healthy = self.house.ticking.silent_seconds < HUNG_SECONDS
        self.set_status(200 if healthy else 503)
        self.set_header("Cache-Control", "no-store")
        self.write({"healthy": healthy})


class CallbackHandler(HubOAuthCallbackHandler):  # type: ignore[misc]  # JupyterHub is untyped
    """Where the Hub sends a browser back to after a login."""

    def initialize(self, house: House) -> None:
        """Tornado's constructor."""
        self.hub_auth = house.auth


class MetricsHandler(OurHandler):
    """``metrics``, for Prometheus."""

    async def get(self) -> None:
        """All metrics; for tokens and logins with the scope to read."""
        await self.find_caller()
        if self.caller is None or not self.caller.may(READ):
            raise HTTPError(401 if self.caller is None else 403, "A token with custom:gpu:read is needed.")
        text = await self.off_loop(self.house.metrics.render)
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(text)
