"""Connections that came in by sshd, carried on into people's containers, and counted.

Each server of each person has an address of its own on this host (a door). sshd opens the way there for a
key that is theirs; here it is asked once more, at that moment, whether the server runs and where. What is
open can be ended here, whatever the container at the other end is made of.
"""

from __future__ import annotations

import asyncio
import logging
import math
import mmap
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from gpuspawner.core.ssh import CLOSED_HERE, CLOSED_THERE, GATEWAY_ENDED, NO_ANSWER, RELAY_PORT

from .desk import Away, ControllerDesk
from .monitors import Monitor, Monitors
from .strangers import Strangers

log = logging.getLogger("gpuspawner.gateway")
CHUNK = 1024 * 1024
"""Most bytes carried in one turn."""
CONNECT_SECONDS = 5.0
MOST_ASKED = 16
"""Connections at one door whose owner is looked for at once: whoever floods it waits there alone."""
FAREWELL_SECONDS = 60.0
"""How long the other direction may go on when one is closed."""
TRANSFER, TRANSFER_SECONDS = 256 * 1024, 0.02
"""So many bytes within this time are of a transfer, not of somebody who types; it goes on for as long."""
GATHER_SECONDS = 0.001
"""How long a transfer's bytes gather between two turns: a turn for each packet takes most of the time."""


@dataclass(slots=True)
class Carried:
    """A connection that is carried on."""

    id: str
    owner: str
    server: str
    fingerprint: str
    monitor: Monitor
    task: asyncio.Task[None]
    sent: int = 0
    received: int = 0
    ended: str | None = None
    """Why, once it has ended."""
    must_end: str | None = None
    """Why it must."""


class Relay:
    """Takes connections at the doors.

    Args:
        desk: Is asked for each.
        monitors: Knows whose each is.
        run: The name of this run of the gateway.
    """

    def __init__(self, desk: ControllerDesk, monitors: Monitors, run: str) -> None:
        self._desk, self._monitors, self._run = desk, monitors, run
        self._listening: dict[str, tuple[socket.socket, asyncio.Task[None]]] = {}
        self._shut: set[str] = set()
        self._handling: set[asyncio.Task[None]] = set()
        self._strangers = Strangers()
        self.carried: dict[str, Carried] = {}
        """By id; also those that have ended and that the controller does not know of yet."""

    def open_doors(self, addresses: Iterable[str]) -> dict[str, str]:
        """Listen at these addresses, at each by itself; why not, by address, where that cannot be.

        It is tried again with the next key that opens such a door.
        """
        shut = {}
        for address in addresses:
            if address in self._listening:
                continue
            try:
                listener = _listen(address)
            except OSError as error:
                shut[address] = error.strerror or str(error)
                if address not in self._shut:
                    log.error("%s:%s cannot be listened at: %s", address, RELAY_PORT, shut[address])
                self._shut.add(address)
                continue
            task = asyncio.get_running_loop().create_task(self._accept(address, listener))
            self._listening[address] = listener, task
            if address in self._shut:
                self._shut.discard(address)
                log.info("%s:%s is listened at now", address, RELAY_PORT)
        return shut

    async def close(self) -> None:
        """End everything."""
        for listener, task in self._listening.values():
            task.cancel()
            listener.close()
        for one in list(self.carried.values()):
            self.end(one, GATEWAY_ENDED)
        await asyncio.gather(*self._handling, return_exceptions=True)

    def end(self, one: Carried, why: str) -> None:
        """End a connection, and that to sshd by which it came."""
        if one.ended is None:
            one.must_end = one.must_end or why
            one.task.cancel()
        self._monitors.end(one.monitor)

    async def _accept(self, door: str, listener: socket.socket) -> None:
        loop, room = asyncio.get_running_loop(), asyncio.Semaphore(MOST_ASKED)
        while True:
            await room.acquire()
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError as error:  # too many files are open, say
                log.warning("A connection at %s was not taken: %s", door, error)
                await asyncio.sleep(0.5)
                room.release()
                continue
            task = loop.create_task(self._handle(door, connection, peer, room))
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)

    async def _handle(
        self, door: str, near: socket.socket, peer: tuple[str, int], room: asyncio.Semaphore
    ) -> None:
        _send_at_once(near)
        with near:
            try:
                admitted = await self._admit(door, peer)
            finally:
                room.release()
            if admitted is not None:
                await self._go_on(*admitted, near)

    async def _admit(self, door: str, peer: tuple[str, int]) -> tuple[dict[str, object], Monitor] | None:
        """Whose a connection is, and where it goes on; None where it does not."""
        loop = asyncio.get_running_loop()
        monitor = await loop.run_in_executor(None, self._monitors.find, door, peer, (door, RELAY_PORT))
        if monitor is None:
            self._strangers.warn("A connection at %s is not sshd's, and was refused", door)
            return None
        try:
            answer = await self._desk.ask(
                "enter",
                fingerprint=monitor.fingerprint,
                address=door,
                source=monitor.source,
                gateway=self._run,
            )
        except Away as error:
            log.warning("%s", error)
            return None
        if "refused" in answer:
            log.info("%s from %s: %s", monitor.fingerprint, monitor.source, answer["refused"])
            return None
        return answer, monitor

    async def _go_on(self, answer: dict[str, object], monitor: Monitor, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        far = socket.socket()
        _send_at_once(far)
        with far:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await loop.sock_connect(far, (str(answer["host"]), int(str(answer["port"]))))
            except (OSError, TimeoutError):
                with suppress(Away):
                    await self._desk.ask("fail", session=answer["session"], why=NO_ANSWER)
                return
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - this runs in one
            one = Carried(
                str(answer["session"]), str(answer["owner"]), str(answer["server"]), monitor.fingerprint,
                monitor, task,
            )  # fmt: skip
            self.carried[one.id] = one
            log.info(
                "%s %r: %s of %s from %s begins", one.id, one.server, one.fingerprint, one.owner,
                monitor.source,
            )  # fmt: skip
            try:
                one.ended = await self._carry(one, near, far)
            except asyncio.CancelledError:
                one.ended = one.must_end or GATEWAY_ENDED
            log.info("%s ends: %d bytes there, %d back: %s", one.id, one.sent, one.received, one.ended)

    async def _carry(self, one: Carried, near: socket.socket, far: socket.socket) -> str:
        """Carry bytes both ways until both are closed; why it ended."""

        def count_sent(count: int) -> None:
            one.sent += count

        def count_received(count: int) -> None:
            one.received += count

        pace = _Pace()
        there = asyncio.ensure_future(_pump(near, far, count_sent, pace))
        back = asyncio.ensure_future(_pump(far, near, count_received, pace))
        try:
            done, pending = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            first = CLOSED_THERE if back in done else CLOSED_HERE
            if pending:
                await asyncio.wait(pending, timeout=FAREWELL_SECONDS)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        return first


def _listen(address: str) -> socket.socket:
    """A door. Raises: OSError."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind((address, RELAY_PORT))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _send_at_once(end: socket.socket) -> None:
    """Prepare one end of a connection: what is typed waits for nothing that was typed before."""
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Pace:
    """When one connection's next turn comes, in both directions: at once, but in a transfer."""

    def __init__(self) -> None:
        self._since = self._transfer_until = -math.inf
        self._carried = 0

    async def rest(self, length: int) -> None:
        """After a turn that carried so many bytes; a full one has left some behind, which do not wait."""
        now = time.monotonic()
        if now - self._since > TRANSFER_SECONDS:
            self._since, self._carried = now, 0
        self._carried += length
        if self._carried >= TRANSFER:
            self._transfer_until = now + TRANSFER_SECONDS
        if length < CHUNK and now < self._transfer_until:
            await asyncio.sleep(GATHER_SECONDS)


async def _pump(
    source: socket.socket, target: socket.socket, count: Callable[[int], None], pace: _Pace
) -> None:
    """Carry what comes from one end to the other, and then say there that no more comes."""
    # Of this memory only what is written to is there: of most connections, a few pages.
    loop, buffer = asyncio.get_running_loop(), mmap.mmap(-1, CHUNK)
    view = memoryview(buffer)
    try:
        while (length := await loop.sock_recv_into(source, buffer)) > 0:
            await loop.sock_sendall(target, view[:length])
            count(length)
            await pace.rest(length)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):  # one is gone: the other is of no use
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
