"""The ways to the gateway of SSH through port 443: who has one open, how many, and when it must end.

Each person in each place has an address of this host of their own, which the gateway sees them come from. So
what OpenSSH does about an address that floods it or guesses concerns nobody else, and who came from where is
known although all come from this process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError

from gpuspawner.allocator.ssh_rights import SshRights
from gpuspawner.core.errors import Conflict, GpuSpawnerError
from gpuspawner.core.ssh import FIRST_WAY, MOST_OPEN, MOST_WAYS, TOO_MANY, TOO_OFTEN, Pace
from gpuspawner.core.words import mark

from .identity import SSH

LOOK_SECONDS = 20.0
"""How long a way stays open at most whose token was revoked or expired, or whose person lost the right."""
HUB_SECONDS = 10.0
"""How long the Hub may take to say whose a token is; its own program waits 5 min."""
AT_ONCE = 8
"""Tokens that the Hub is asked about at once."""
MOST_IN_ALL = 4096
"""Open at once, of everybody: each takes two of the files that this process may have open."""
CROWDED = mark("Too many connections are open here. Try again later.")
NOT_VALID = mark("The token is wrong, was revoked, or has expired.")
NOT_ALONE = mark(f"The token must have the scope {SSH} and no other.")
log = logging.getLogger("gpuspawner.controller")


@dataclass(slots=True)
class Way:
    """One way that is open, or that is being opened."""

    owner: str
    token: str = field(repr=False)
    source: str
    """Where its person is: an address, as the proxy says."""
    address: str
    """Where the gateway sees it come from."""
    end: Callable[[str], None] = field(repr=False)
    """Ends it, with a reason in words."""
    sent: int = 0
    """Bytes from the person."""
    received: int = 0
    """Bytes to the person."""

    @property
    def shown(self) -> str:
        """Where it comes from, as people read it."""
        return f"{self.source} (443)"


class Ways:
    """All that are open. Used by one event loop; :meth:`find` by any thread.

    Args:
        port: Of the gateway, on this host's loopback: the one place where ways lead to.
        auth: Asks the Hub whose a token is.
        rights: Says who may use SSH.
        clock: Says the present.
    """

    def __init__(self, port: int, auth: HubOAuth, rights: SshRights, clock: Callable[[], datetime]) -> None:
        self.port = port
        self._auth, self._rights, self._clock = auth, rights, clock
        self._pace = Pace()
        self._open: list[Way] = []
        self._by_address: dict[str, Way] = {}
        self._next = 0

    async def identify(self, token: str) -> tuple[str | None, str | None]:
        """Whose a token is, and why it opens nothing. The Hub is asked each time: none is known from before.

        Returns:
            The person, as far as there is one, and None for a token that opens a way.

        Raises:
            HTTPError: The Hub does not answer.
        """
        try:
            async with asyncio.timeout(HUB_SECONDS):
                model = await self._auth.user_for_token(token, use_cache=False, sync=False)
        except TimeoutError as error:
            raise HTTPError(503) from error
        return read_token(model)

    def why_not(self, owner: str) -> str | None:
        """Why somebody may not use SSH. Blocks. Raises: LedgerError, HubError, SettingsError."""
        return self._rights.why_not(owner)

    def open(self, owner: str, token: str, source: str, end: Callable[[str], None]) -> Way:
        """Open a way. Raises: Conflict: There are too many, or too many in a short time."""
        if sum(one.owner == owner for one in self._open) >= MOST_OPEN:
            raise Conflict(TOO_MANY.text)
        if len(self._open) >= MOST_IN_ALL:
            raise Conflict(CROWDED)
        if not self._pace.allows(owner, self._clock()):
            raise Conflict(TOO_OFTEN.text)
        way = Way(owner, token, source, self._choose_address(owner, source), end)
        self._open.append(way)
        self._by_address[way.address] = way
        return way

    def close(self, way: Way) -> None:
        """A way is not open any more."""
        self._open.remove(way)
        if not any(one.address == way.address for one in self._open):
            del self._by_address[way.address]

    def find(self, address: str) -> Way | None:
        """The way, or one of several of the same person in the same place, that comes from an address."""
        return self._by_address.get(address)

    def end_all(self, why: str) -> None:
        """End all of them."""
        for one in list(self._open):
            one.end(why)

    async def watch(self) -> None:
        """Look again and again which must end."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:
                log.exception("It could not be looked which connections through port 443 must end")

    async def look(self) -> None:
        """End those whose token opens nothing any more, and those of people who may not use SSH any more.

        While the Hub is away they go on, as with connections through the gateway's own port.
        """
        owners = {one.owner for one in self._open}
        with suppress(GpuSpawnerError):
            work = partial(self._rights.why_not_any_more, owners)
            refused = await asyncio.get_running_loop().run_in_executor(None, work)
            for one in list(self._open):
                if one.owner in refused:
                    one.end(refused[one.owner])
        bad = await self._find_bad()
        for one in list(self._open):
            if one.token in bad:
                one.end(bad[one.token])

    async def _find_bad(self) -> dict[str, str]:
        """Tokens that open nothing any more, and why. One that the Hub does not answer holds up no other."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def ask(token: str) -> str | None:
            async with turn:
                with suppress(HTTPError):
                    return (await self.identify(token))[1]
            return None

        tokens = list({one.token for one in self._open})
        found = await asyncio.gather(*map(ask, tokens))
        return {token: why for token, why in zip(tokens, found, strict=True) if why is not None}

    def _choose_address(self, owner: str, source: str) -> str:
        same = (one.address for one in self._open if (one.owner, one.source) == (owner, source))
        if (known := next(same, None)) is not None:
            return known
        while True:  # there are many more of them than ways
            self._next = (self._next + 1) % MOST_WAYS
            found = str(FIRST_WAY + self._next)
            if found not in self._by_address:
                return found


def read_token(model: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """The same as :meth:`Ways.identify`, from what the Hub says of a token.

    It must be one that can do nothing else: it lies in a file on somebody's laptop.
    """
    if model is None:
        return None, NOT_VALID
    if model.get("kind", "user") != "user":
        return None, NOT_ALONE
    name = str(model["name"])
    # All tokens may say whose they are.
    harmless = {f"read:users:{what}!user={name}" for what in ("name", "groups")}
    return name, None if set(model.get("scopes") or ()) - harmless == {SSH} else NOT_ALONE
