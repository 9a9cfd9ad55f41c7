"""A Unix socket in front of the Docker Engine that fails, hangs or holds calls as told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

ENGINE = "/var/run/docker.sock"

CREATE = "POST /containers/create"
START = r"POST /containers/[^/]+/start"
INSPECT = r"GET /containers/[^/]+/json"
LIST = "GET /containers/json"
STOP = r"POST /containers/[^/]+/stop"
REMOVE = r"DELETE /containers/[^/]+$"
ANYTHING = ""


@dataclass(eq=False)
class Fault:
    """What happens to calls of one kind."""

    pattern: re.Pattern[str]
    """Searched for in ``METHOD /path``, without API version and query."""
    status: int | None = None
    """Answer this instead of what the Engine says."""
    done: bool = False
    """Whether the Engine gets the call before anything goes wrong with its answer."""
    holds: bool = False
    """Whether the call waits for :meth:`release`."""
    times: int | None = None
    """To so many calls; None is all."""
    hit: int = 0
    """Calls that it met."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set once the first call is there."""
    _released: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def wait_reached(self, seconds: float = 30) -> None:
        assert self.reached.wait(seconds), f"no call {self.pattern.pattern!r} within {seconds:g} s"

    def release(self) -> None:
        """Let the calls that wait, and those that come, go on."""
        if self._loop is not None and self._released is not None:
            self._loop.call_soon_threadsafe(self._released.set)


class DockerFaults:
    """Use it as a context manager and give its ``url`` to a process as ``DOCKER_HOST``.

    Args:
        engine: The real Engine's socket.

    Attributes:
        calls: Every call that came, as ``METHOD /path``.
    """

    def __init__(self, engine: str = ENGINE) -> None:
        self._engine = engine
        self._dir = tempfile.TemporaryDirectory(prefix="gpuspawner-faults-")
        self.socket = str(Path(self._dir.name) / "docker.sock")
        self.url = f"unix://{self.socket}"
        self.calls: list[str] = []
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._dir.cleanup()

    # -- what goes wrong ------------------------------------------------------------------------------------

    def fail(self, call: str, *, status: int = 500, done: bool = False, times: int | None = None) -> Fault:
        """Answer with an error; with ``done``, after the Engine has done what was asked."""
        return self._add(Fault(re.compile(call), status=status, done=done, times=times))

    def hold(self, call: str, *, done: bool = False, times: int | None = None) -> Fault:
        """Hold calls until released; with ``done``, their answers. One that is never released hangs."""
        return self._add(Fault(re.compile(call), holds=True, done=done, times=times))

    def clear(self) -> None:
        """Let everything go on as usual."""
        faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    @contextlib.contextmanager
    def failing(self, call: str, **options: object) -> Iterator[Fault]:
        """As ``fail``, for the length of a block."""
        fault = self.fail(call, **options)  # type: ignore[arg-type]
        try:
            yield fault
        finally:
            self._faults = [other for other in self._faults if other is not fault]

    def _add(self, fault: Fault) -> Fault:
        fault._loop, fault._released = self._loop, asyncio.Event()
        self._faults = [*self._faults, fault]
        return fault

    # -- passing on -----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        call = f"{method} {re.sub(r'^/v[0-9.]+', '', target.partition('?')[0])}"
        body = await _read_body(reader, headers)
        self.calls.append(call)
        fault = self._find(call)
        if fault is None:
            await self._pass_on(line, headers, body, writer)
            return
        if fault.done:
            answer = await self._ask(line, headers, body)
            await _wait(fault)
            writer.write(answer if fault.status is None else _error(fault.status))
        else:
            await _wait(fault)
            if fault.status is None:
                await self._pass_on(line, headers, body, writer)
                return
            writer.write(_error(fault.status))
        await writer.drain()

    def _find(self, call: str) -> Fault | None:
        for fault in self._faults:
            if fault.pattern.search(call) and (fault.times is None or fault.hit < fault.times):
                fault.hit += 1
                fault.reached.set()
                return fault
        return None

    async def _ask(self, line: str, headers: list[str], body: bytes) -> bytes:
        reader, writer = await self._connect(line, headers, body)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def _pass_on(self, line: str, headers: list[str], body: bytes, back: asyncio.StreamWriter) -> None:
        reader, writer = await self._connect(line, headers, body)
        try:
            while data := await reader.read(65536):
                back.write(data)
                await back.drain()
        finally:
            writer.close()

    async def _connect(
        self, line: str, headers: list[str], body: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a call on; the Engine closes the connection after its answer."""
        reader, writer = await asyncio.open_unix_connection(self._engine)
        dropped = ("connection:", "transfer-encoding:", "content-length:")
        kept = [h for h in headers if h and not h.lower().startswith(dropped)]
        kept += ["Connection: close", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([line, *kept, "", ""]).encode("latin-1") + body)
        await writer.drain()
        return reader, writer


async def _wait(fault: Fault) -> None:
    if fault.holds and fault._released is not None:
        await fault._released.wait()


async def _read_body(reader: asyncio.StreamReader, headers: list[str]) -> bytes:
    named = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in headers)}
    if named.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(named.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def _error(status: int) -> bytes:
    body = json.dumps({"message": "a failure made by the test"}).encode()
    head = f"HTTP/1.1 {status} Failure\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
