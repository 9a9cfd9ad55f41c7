"""Where the controller answers the gateway of SSH: a local socket that only its own user can open."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.allocator.ssh import Entrance, SshDesk, Told
from gpuspawner.core.errors import EngineError, GpuSpawnerError, SettingsError
from gpuspawner.core.keys import find_fingerprint
from gpuspawner.core.ssh import SERVER_PORT, why_not_person
from gpuspawner.core.words import mark
from gpuspawner.ports import ContainerEngine, HubApi

from .people import PolicyReader
from .services import Services
from .sshways import Ways

MOST_BYTES = 4 * 1024 * 1024
MOST_AT_ONCE = 4
"""Questions that are answered at once, besides the report."""
MOST_WAITING = 200
"""Questions that wait for their turn; sshd has at most 100 connections that have not logged in."""
FILES_SECONDS = 5.0
"""From one look to the next."""
BELIEVED_SECONDS = 10.0
"""How long what the Hub said of a person's groups is believed."""
log = logging.getLogger("gpuspawner.controller")


class WhyNot:
    """Why somebody may not use SSH at all, by what the Hub and the policy say.

    Args:
        hub: Knows people's groups.
        policies: The policy.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, hub: HubApi, policies: PolicyReader, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hub, self._policies, self._clock = hub, policies, clock
        self._known: dict[str, tuple[float, frozenset[str] | None]] = {}
        self._turn = threading.Lock()

    def __call__(self, owner: str) -> str | None:
        """None where they may. Raises: HubError, SettingsError: It cannot be told."""
        groups = self._groups(owner)
        return why_not_person(self._policies.allowance(owner, groups or ()).ssh, groups)

    def _groups(self, owner: str) -> frozenset[str] | None:
        with self._turn:
            known = self._known.get(owner)
            if known is not None and self._clock() - known[0] < BELIEVED_SECONDS:
                return known[1]
            self._known = {
                name: one for name, one in self._known.items() if self._clock() - one[0] < BELIEVED_SECONDS
            }
        groups = self._hub.groups_of(owner)
        with self._turn:
            self._known[owner] = (self._clock(), groups)
        return groups


class KeepSshFiles:
    """The step that lets running servers know of keys that were added or removed at a shell.

    Args:
        services: The use cases.
        clock: Seconds that only go forward.
    """

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services, self._clock = services, clock
        self._written_at = -FILES_SECONDS

    def __call__(self) -> Iterable[str]:
        """Take the step; problems in words. Raises: LedgerError."""
        if self._services.ssh is None or self._clock() - self._written_at < FILES_SECONDS:
            return ()
        self._written_at = self._clock()
        try:
            self._services.keys.write_files(self._services.host)
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            return (mark(f"The keys for SSH could not be written: {reason}."),)
        return ()


class SshDoor:
    """Answers the gateway.

    Args:
        desk: Decides.
        engine: Knows where containers are.
        ways: What comes through port 443; None where nothing does.
    """

    def __init__(self, desk: SshDesk, engine: ContainerEngine, ways: Ways | None = None) -> None:
        self._desk, self._engine, self._ways = desk, engine, ways
        # Threads of its own: who knocks on and on must keep neither pages waiting nor what must end.
        self._asking = ThreadPoolExecutor(MOST_AT_ONCE, "ssh")
        self._reporting = ThreadPoolExecutor(1, "ssh-report")
        self._waiting = 0

    async def listen(self, files: SshFiles) -> asyncio.Server:
        """Begin to answer; the gateway, which may be root, finds what it needs and makes nothing there.

        Raises:
            SettingsError: The socket, or the secret of the host keys, cannot be made.
        """
        path = files.socket
        try:
            files.gateway_key()
            return await self._listen(path)
        except OSError as error:
            raise SettingsError(f"The socket {path} cannot be made: {error.strerror}.") from error

    async def _listen(self, path: Path) -> asyncio.Server:
        _make_room(path)
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(
                self._serve, str(path), limit=MOST_BYTES, backlog=MOST_WAITING
            )
        finally:
            os.umask(before)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer_aside(json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:
            log.warning("The gateway's question was not answered: %s", error)
        finally:
            writer.close()

    async def _answer_aside(self, asked: Any) -> dict[str, Any]:
        """Answer in a thread; too many questions at once are not even looked at."""
        loop = asyncio.get_running_loop()
        if isinstance(asked, dict) and asked.get("ask") == "report":
            return await loop.run_in_executor(self._reporting, self.answer, asked)
        if self._waiting >= MOST_WAITING:
            return {"error": "busy"}
        self._waiting += 1
        try:
            return await loop.run_in_executor(self._asking, self.answer, asked)
        finally:
            self._waiting -= 1

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question; ``error`` in it where there is none."""
        ways = {
            "key": self._key,
            "enter": self._enter,
            "fail": self._fail,
            "shut": self._shut,
            "report": self._report,
        }
        try:
            return ways[asked["ask"]](asked)
        except GpuSpawnerError as error:
            return {"error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _key(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a key opens: the line for sshd, its fingerprint, and the addresses of the doors."""
        _, _, blob = str(asked["key"]).partition(" ")
        fingerprint = find_fingerprint(blob)
        found = self._desk.ask(fingerprint)
        if found is None or found[0].text != asked["key"]:
            return {"line": "", "fingerprint": fingerprint, "addresses": []}
        key, grant = found
        addresses = [door.address for door in grant.doors]
        return {"line": grant.line(key), "fingerprint": fingerprint, "addresses": addresses}

    def _enter(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where a connection goes on."""
        source = asked["source"]
        way = self._ways.find(source) if self._ways else None
        source, holder = (way.shown, way.owner) if way else (source, None)
        found = self._desk.enter(asked["fingerprint"], asked["address"], source, asked["gateway"], holder)
        if not isinstance(found, Entrance):
            return {"refused": found}
        session = found.session
        try:
            place = self._engine.locate(found.container_id)
        except EngineError as error:
            self._desk.fail(session.id, str(error))
            raise
        host = urlsplit(place.url).hostname if place else None
        if host is None:
            why = mark("Your server does not run.")
            self._desk.fail(session.id, why)
            return {"refused": why}
        who = {"owner": session.owner, "server": session.server, "key_name": session.key_name}
        return {"session": session.id, "host": host, "port": SERVER_PORT, **who}

    def _fail(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._desk.fail(asked["session"], asked["why"])
        return {}

    def _shut(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._desk.shut(asked["fingerprint"], asked["address"], str(asked["why"]))
        return {}

    def _report(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Which connections must end, and which keys may not stay connected."""
        told = [Told(one["id"], one["sent"], one["received"], one.get("ended")) for one in asked["told"]]
        ends = self._desk.report(asked["gateway"], told, asked["keys"])
        return {"end": ends.sessions, "bad": ends.keys}


def _make_room(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
