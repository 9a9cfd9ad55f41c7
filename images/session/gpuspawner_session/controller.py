"""Asking the controller about the session that this server runs in, with the server's own token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

URL_VARIABLE = "GPUSPAWNER_SESSION_URL"
"""Where the controller answers; the spawner sets it where there is one."""
TOKEN_VARIABLE = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - its name, not a token
ACTIONS = ("keep", "finish", "stop")
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
"""A stop waits for the Hub, which may take ten seconds for it."""
MOST_ANSWER = 256 * 1024
"""Bytes of an answer."""
TOLD = frozenset({400, 403, 404, 409, 429})
"""What the controller says no with, for the person; everything else is that it is away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser is told."""

    status: int
    body: dict[str, Any]


NO_CONTROLLER = Answer(404, {"error": {"kind": "no_controller", "message": "This hub has no controller."}})
AWAY = Answer(503, {"error": {"kind": "away", "message": "The controller does not answer at the moment."}})


class Controller:
    """The controller, as far as a server may ask it.

    Args:
        environment: Of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._url = environment.get(URL_VARIABLE, "").rstrip("/")
        self._token = environment.get(TOKEN_VARIABLE, "")

    async def look(self) -> Answer:
        """What the session's GPUs do, and what stops it."""
        return await self._ask("GET", "")

    async def act(self, action: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Do one of :data:`ACTIONS`."""
        return await self._ask("POST", f"/{action}", dict(body or {}))

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        if not self._url or not self._token:
            return NO_CONTROLLER
        request = HTTPRequest(
            f"{self._url}{path}",
            method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            follow_redirects=False,  # the token is for the controller alone
            connect_timeout=CONNECT_SECONDS,
            request_timeout=ANSWER_SECONDS,
        )
        client: AsyncHTTPClient = SimpleAsyncHTTPClient(force_instance=True, max_body_size=MOST_ANSWER)
        try:
            found = await client.fetch(request, raise_error=False)
            answer = json.loads(found.body)
        except (HTTPClientError, OSError, ValueError):
            return AWAY
        finally:
            client.close()
        if not isinstance(answer, dict) or (found.code != HTTPStatus.OK and found.code not in TOLD):
            return AWAY
        return Answer(found.code, answer)
