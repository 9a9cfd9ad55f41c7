"""The servers of people's sessions, asked for their notebooks and terminals: many at once, past the proxy.

Whoever works in a session may change what its server says, and how: an answer may be huge, never end, or send
one elsewhere. Nothing of that costs more than one place among those asked at once, for a few seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from gpuspawner.core.activity import Kernels
from gpuspawner.ports import Address

from .hub_api import read_time

MOST_BYTES = 128 * 1024
"""Of one answer; a kernel takes some 300 bytes."""
_NO_SUCH_PAGE = 404
_SLACK = 0.5
"""Seconds."""


class NotebookServers:
    """Implements :class:`gpuspawner.ports.Notebooks`.

    Args:
        timeout_seconds: How long one answer may take.
        at_once: How many servers are asked at the same time.
        deadline_seconds: After this, whoever has not answered is left out.
    """

    def __init__(
        self, timeout_seconds: float = 2.0, at_once: int = 100, deadline_seconds: float = 4.0
    ) -> None:
        self._timeout, self._at_once, self._deadline = timeout_seconds, at_once, deadline_seconds

    def ask(self, servers: Mapping[str, Address]) -> Mapping[str, Kernels]:
        """See :class:`gpuspawner.ports.Notebooks`. Never raises for what a server can do wrong."""
        return asyncio.run(self._ask_all(servers)) if servers else {}

    async def _ask_all(self, servers: Mapping[str, Address]) -> Mapping[str, Kernels]:
        # The name says that it is not pycurl's, which knows no limit of the size.
        client: AsyncHTTPClient = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=2 * self._at_once,
            max_body_size=MOST_BYTES,
            max_header_size=16 * 1024,
        )
        places = asyncio.Semaphore(self._at_once)
        found: dict[str, Kernels] = {}

        async def ask_one(name: str, address: Address) -> None:
            async with places:
                kernels = await self._ask(client, address)
            if kernels is not None:
                found[name] = kernels

        try:
            async with asyncio.timeout(self._deadline):
                await asyncio.gather(*(ask_one(name, address) for name, address in servers.items()))
        except TimeoutError:
            pass  # who has answered has answered
        finally:
            client.close()
        return found

    async def _ask(self, client: AsyncHTTPClient, address: Address) -> Kernels | None:
        try:
            # The client has its own time for each question; this is for what it does not see.
            async with asyncio.timeout(self._timeout + _SLACK):
                kernels, terminals = await asyncio.gather(
                    self._list(client, address, "kernels"), self._list(client, address, "terminals")
                )
                return _read(kernels, terminals)
        except Exception:  # whatever a server does: it has not answered
            return None

    async def _list(self, client: AsyncHTTPClient, address: Address, what: str) -> Sequence[Any]:
        """One list. Raises whatever goes wrong."""
        response = await client.fetch(
            HTTPRequest(
                f"{address.url.rstrip('/')}/api/{what}?no_track_activity=1",
                headers={"Authorization": f"token {address.token}"},
                follow_redirects=False,
                decompress_response=False,
                connect_timeout=self._timeout,
                request_timeout=self._timeout,
            ),
            raise_error=False,
        )
        if what == "terminals" and response.code == _NO_SUCH_PAGE:
            return ()  # a server without terminals
        response.rethrow()
        found = json.loads(response.body)
        if not isinstance(found, list):
            raise TypeError(what)
        return found


def _read(kernels: Sequence[Any], terminals: Sequence[Any]) -> Kernels:
    """Raises whatever makes no sense of it."""
    # One that starts, or is started anew, is as good as busy.
    idle = sum(one["execution_state"] in ("idle", "dead") for one in kernels)
    return Kernels(len(kernels) - idle, idle, len(terminals), _newest(kernels), _newest(terminals))


def _newest(found: Sequence[Any]) -> datetime | None:
    times = [read_time(one["last_activity"]) for one in found]
    return max((one for one in times if one is not None), default=None)
