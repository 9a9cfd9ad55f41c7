"""A Hub that keeps people and servers in dictionaries, and a small web server in front of one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from gpuspawner.core.errors import HubError
from gpuspawner.ports import HubServer, SessionActivity
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from .build import NOW

POINTS = (
    "start_server",
    "stop_server",
    "server",
    "groups_of",
    "servers_of",
    "users",
    "session_activity",
    "remove_user",
)
TOKEN = "the-controller-s-own-token"


@dataclass
class FakeHub:
    """Implements the port. It refuses what it does not know, and fails where it is told to.

    Attributes:
        people: Groups by name.
        servers: By (user, server), those that run or are started.
        stopped: (user, server) of those that do not run, and were not deleted either.
        refusals: By user, what the Hub says to a start.
        failures: By method, why it fails. A failure after the deed is noted as ``after start_server``.
        activity: By address and the server's own token, what it says of itself.
        calls: What was asked, in order.
    """

    people: dict[str, frozenset[str]] = field(default_factory=dict)
    servers: dict[tuple[str, str], HubServer] = field(default_factory=dict)
    stopped: set[tuple[str, str]] = field(default_factory=set)
    refusals: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    activity: dict[tuple[str, str], SessionActivity | None] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def fail(self, point: str, why: str = "no answer within 20 s") -> None:
        if point.removeprefix("after ") not in POINTS:
            raise LookupError(f"the fake Hub cannot fail at {point!r}")
        self.failures[point] = why

    # -- the port -------------------------------------------------------------------------------------------

    def start_server(self, user: str, server: str, options: Mapping[str, object]) -> None:
        with self._asked("start_server", user, server):
            self._require(user)
            known = self.servers.get((user, server))
            if known and known.pending == "spawn":
                return
            if known:
                raise HubError("The Hub does not start it (HTTP 400): it is already running", 400)
            if user in self.refusals:
                raise HubError(f"The Hub does not start it (HTTP 409): {self.refusals[user]}", 409)
            self.servers[user, server] = HubServer(False, "spawn", NOW, None, dict(options))

    def stop_server(self, user: str, server: str) -> None:
        with self._asked("stop_server", user, server):
            self.servers.pop((user, server), None)

    def server(self, user: str, server: str) -> HubServer | None:
        with self._asked("server", user, server):
            return self.servers.get((user, server))

    def groups_of(self, user: str) -> frozenset[str] | None:
        with self._asked("groups_of", user):
            return self.people.get(user)

    def servers_of(self, user: str) -> frozenset[str] | None:
        with self._asked("servers_of", user):
            if user not in self.people:
                return None
            return frozenset(server for owner, server in {*self.servers, *self.stopped} if owner == user)

    def users(self) -> Mapping[str, frozenset[str]]:
        with self._asked("users"):
            return dict(self.people)

    def remove_user(self, user: str) -> None:
        with self._asked("remove_user", user):
            if any(owner == user for owner, _ in self.servers):
                raise HubError(f"The Hub does not do it (HTTP 400): {user} has a server", 400)
            self.people.pop(user, None)

    def session_activity(self, address: str, token: str) -> SessionActivity | None:
        with self._asked("session_activity", address):
            if (address, token) not in self.activity:
                raise HubError("The server answers HTTP 403.")
            return self.activity[address, token]

    # -- what happens by itself -----------------------------------------------------------------------------

    def become_ready(self, user: str, server: str = "") -> None:
        self.servers[user, server] = replace(self.servers[user, server], ready=True, pending=None)

    def begin_stop(self, user: str, server: str = "") -> None:
        self.servers[user, server] = replace(self.servers[user, server], ready=False, pending="stop")

    def _require(self, user: str) -> None:
        if user not in self.people:
            raise HubError(f"The Hub does not know {user} (HTTP 404)", 404)

    @contextmanager
    def _asked(self, point: str, *arguments: str) -> Iterator[None]:
        self.calls.append((point, *arguments))
        if point in self.failures:
            raise HubError(f"The Hub gives no answer: {self.failures[point]}.")
        yield
        if f"after {point}" in self.failures:
            raise HubError(f"The Hub gives no answer: {self.failures['after ' + point]}.")


class _Handler(RequestHandler):
    def initialize(self, hub: FakeHub, token: str) -> None:
        self.hub = hub
        self.right = self.request.headers.get("Authorization") == f"token {token}"

    def prepare(self) -> None:
        if not self.right:
            self.say(403, {"message": "Missing or invalid credentials."})

    def say(self, status: int, model: object = None) -> None:
        self.set_status(status)
        self.finish("" if model is None else json.dumps(model))

    def refuse(self, error: HubError) -> None:
        self.say(error.status or 500, {"message": str(error).partition(": ")[2] or str(error)})


class _Server(_Handler):
    def post(self, user: str, server: str = "") -> None:
        body = json.loads(self.request.body)
        assert set(body) == {"user_options"}, "the Hub would take another body for the options themselves"
        try:
            self.hub.start_server(unquote(user), unquote(server or ""), body["user_options"])
        except HubError as error:
            self.refuse(error)
        else:
            self.say(202)

    def delete(self, user: str, server: str = "") -> None:
        key = unquote(user), unquote(server or "")
        if key not in self.hub.servers:
            self.say(404, {"message": "no such server"})
            return
        self.hub.stop_server(*key)
        self.say(202)

    def get(self, user: str, server: str = "") -> None:
        found = self.hub.servers.get((unquote(user), unquote(server or "")))
        if found is None:
            self.say(404, {"message": "no such server"})
            return
        self.say(
            200,
            {
                "name": server or "",
                "ready": found.ready,
                "pending": found.pending,
                "started": found.started and found.started.isoformat().replace("+00:00", "Z"),
                "last_activity": found.last_activity and found.last_activity.isoformat(),
                "user_options": found.user_options,
            },
        )


class _User(_Handler):
    def get(self, user: str) -> None:
        groups = self.hub.people.get(unquote(user))
        if groups is None:
            self.say(404, {"message": "no such user"})
            return
        asked = self.get_argument("include_stopped_servers", "0") == "1"
        found = (self.hub.servers_of(unquote(user)) or ()) if asked else ()
        self.say(
            200, {"name": unquote(user), "groups": sorted(groups), "servers": {one: {} for one in found}}
        )

    def delete(self, user: str) -> None:
        if unquote(user) not in self.hub.people:
            self.say(404, {"message": "no such user"})
            return
        try:
            self.hub.remove_user(unquote(user))
        except HubError as error:
            self.refuse(error)
        else:
            self.set_status(204)
            self.finish()


class _Users(_Handler):
    def get(self) -> None:
        offset, limit = int(self.get_argument("offset")), int(self.get_argument("limit"))
        names = sorted(self.hub.people)[offset : offset + limit]
        self.say(200, [{"name": name, "groups": sorted(self.hub.people[name])} for name in names])


def hub_routes(hub: FakeHub) -> list[Any]:
    """The part of the Hub's REST API that is used here, on this Hub."""
    arguments = {"hub": hub, "token": TOKEN}
    return [
        ("/hub/api/users", _Users, arguments),
        ("/hub/api/users/([^/]+)", _User, arguments),
        ("/hub/api/users/([^/]+)/server", _Server, arguments),
        ("/hub/api/users/([^/]+)/servers/([^/]+)", _Server, arguments),
    ]


@contextmanager
def serving(make: Callable[[], Application | HTTPServer]) -> Iterator[str]:
    """Serve an application, or a server of one's own, in a thread; its URL."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        made = make()
        server = made if isinstance(made, HTTPServer) else HTTPServer(made)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        found["port"] = sockets[0].getsockname()[1]
        found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()
        started.set()
        await found["stop"].wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"http://127.0.0.1:{found['port']}"
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(10)
