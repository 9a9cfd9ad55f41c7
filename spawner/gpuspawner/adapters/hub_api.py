"""The Hub's REST API, and what a server says of itself.

Calls block, and are made in threads. They are bounded in time and size as a whole: a server is its user's,
who may let it answer a byte a minute.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from gpuspawner.core.errors import HubError
from gpuspawner.core.words import mark
from gpuspawner.ports import HubServer, SessionActivity

PAGE = 200
"""People that are asked for at once."""
_MOST_PAGES = 500
_HUB_BYTES = 16 * 1024**2
_SERVER_BYTES = 64 * 1024


class HttpHubApi:
    """The port over HTTP.

    Args:
        url: The API's, such as ``http://172.17.0.1:8081/hub/api``.
        token: The controller's own.
        timeout_seconds: For every call as a whole. A start takes the Hub 10 s to answer when it is slow.
        server_seconds: For asking a server.
    """

    def __init__(
        self, url: str, token: str, *, timeout_seconds: float = 20, server_seconds: float = 3
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout = timeout_seconds
        self._server_timeout = server_seconds

    def start_server(self, user: str, server: str, options: Mapping[str, object]) -> None:
        """Ask for a start. Raises: HubError: with the Hub's own sentence where it refuses."""
        self._call("POST", _server_path(user, server), {"user_options": dict(options)})

    def stop_server(self, user: str, server: str) -> None:
        """Ask for a stop. Raises: HubError."""
        self._call("DELETE", _server_path(user, server), missing=(404,))

    def server(self, user: str, server: str) -> HubServer | None:
        """What there is of a server. Raises: HubError."""
        model = self._call("GET", _server_path(user, server), missing=(404,))
        return None if model is None else _understood(_read_server, model)

    def groups_of(self, user: str) -> frozenset[str] | None:
        """The groups of a person. Raises: HubError."""
        model = self._call("GET", f"/users/{_quote(user)}", missing=(404,))
        return None if model is None else _understood(_read_groups, model)

    def servers_of(self, user: str) -> frozenset[str] | None:
        """Names of all servers of a person. Raises: HubError."""
        model = self._call("GET", f"/users/{_quote(user)}?include_stopped_servers=1", missing=(404,))
        return None if model is None else _understood(lambda m: frozenset(map(str, m["servers"])), model)

    def users(self) -> Mapping[str, frozenset[str]]:
        """Everybody, with their groups. Raises: HubError."""
        found: dict[str, frozenset[str]] = {}
        for page in range(_MOST_PAGES):
            models = self._call("GET", f"/users?offset={page * PAGE}&limit={PAGE}")
            found |= _understood(lambda m: {one["name"]: _read_groups(one) for one in m}, models)
            if len(models) < PAGE:
                return found
        raise HubError(f"The Hub knows more than {PAGE * _MOST_PAGES} people.")

    def remove_user(self, user: str) -> None:
        """Forget a person, with their logins and API tokens. Raises: HubError."""
        self._call("DELETE", f"/users/{_quote(user)}", missing=(404,))

    def session_activity(self, address: str, token: str) -> SessionActivity | None:
        """Ask a server itself when it was last active. Raises: HubError: It does not answer."""
        request = HTTPRequest(
            f"{address.rstrip('/')}/api/status?no_track_activity=1",
            headers={"Authorization": f"token {token}"},
            follow_redirects=False,
            decompress_response=False,
            connect_timeout=self._server_timeout,
            request_timeout=self._server_timeout,
        )
        response = _fetch(request, _SERVER_BYTES, mark(f"The server at {urlsplit(address).netloc}"))
        if response.code != 200:
            raise HubError(f"The server at {urlsplit(address).netloc} answers HTTP {response.code}.")
        try:
            status = json.loads(response.body)
            active = read_time(status["last_activity"])
            return None if active is None else SessionActivity(read_time(status.get("started")), active)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def _call(self, method: str, path: str, body: object = None, missing: tuple[int, ...] = ()) -> Any:
        """One call; its JSON, or None for an empty answer and for a status that means *not there*."""
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={"Authorization": f"token {self._token}", "Accept": "application/json"},
            body=None if body is None else json.dumps(body),
            follow_redirects=False,
            connect_timeout=5,
            request_timeout=self._timeout,
        )
        response = _fetch(request, _HUB_BYTES, mark("The Hub"))
        if response.code in missing:
            return None
        if not 200 <= response.code < 300:
            raise HubError(_complaint(response, method, path), response.code)
        if not response.body:
            return None
        try:
            return json.loads(response.body)
        except ValueError:
            raise HubError(f"The Hub's answer to {method} {path} is not JSON.", response.code) from None


def _fetch(request: HTTPRequest, most_bytes: int, what: str) -> HTTPResponse:
    """Make a request in an event loop of its own. Raises: HubError: There is no answer."""

    async def fetch() -> HTTPResponse:
        # The name says that it is not pycurl's, which knows no limit of the size.
        client: AsyncHTTPClient = SimpleAsyncHTTPClient(
            force_instance=True, max_body_size=most_bytes, max_header_size=64 * 1024
        )
        try:
            async with asyncio.timeout((request.request_timeout or 0) + 1):
                return await client.fetch(request, raise_error=False)
        finally:
            client.close()

    try:
        response = asyncio.run(fetch())
    except (HTTPError, OSError, TimeoutError, ValueError) as error:
        raise HubError(f"{what} gives no answer: {error or 'it takes too long'}.") from error
    if response.code == 599:
        raise HubError(f"{what} gives no answer: {response.error}.")
    return response


def _complaint(response: HTTPResponse, method: str, path: str) -> str:
    try:
        said = str(json.loads(response.body)["message"])
    except (ValueError, KeyError, TypeError):
        said = response.reason
    return mark(f"The Hub does not do {method} {path.partition('?')[0]} (HTTP {response.code}): {said}")


def _understood(read: Any, model: Any) -> Any:
    try:
        return read(model)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HubError(f"The Hub's answer cannot be understood ({type(error).__name__}: {error}).") from error


def _read_server(model: Mapping[str, Any]) -> HubServer:
    options = model.get("user_options")
    return HubServer(
        ready=bool(model["ready"]),
        pending=model["pending"],
        started=read_time(model["started"]),
        last_activity=read_time(model["last_activity"]),
        user_options=options if isinstance(options, dict) else {},
    )


def _read_groups(model: Mapping[str, Any]) -> frozenset[str]:
    # A Hub that leaves them out has not given the controller the right to see them: unknown is not none.
    return frozenset(str(group) for group in model["groups"])


def read_time(text: str | None) -> datetime | None:
    """A time as JupyterHub and Jupyter Server write it. Raises: ValueError, TypeError."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _server_path(user: str, server: str) -> str:
    return f"/users/{_quote(user)}/" + (f"servers/{_quote(server)}" if server else "server")


def _quote(name: str) -> str:
    return quote(name, safe="")
