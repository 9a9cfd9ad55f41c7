"""Carrying connections on: bytes both ways, counted, and ended from here."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.core.ssh import CLOSED_HERE, CLOSED_THERE, NO_ANSWER, RELAY_PORT
from gpuspawner.gateway import relay as module
from gpuspawner.gateway.desk import Away
from gpuspawner.gateway.monitors import (
    Monitor,
    Monitors,
    find_birth,
    find_inode,
    find_parent,
    holds,
    list_families,
)
from gpuspawner.gateway.relay import CHUNK, GATHER_SECONDS, TRANSFER, TRANSFER_SECONDS, Relay

DOOR = "127.77.77.77"


class Desk:
    """A controller that leads to one place."""

    def __init__(self, port: int | None) -> None:
        self.port, self.asked, self.away = port, [], False
        self.asked: list[tuple[str, dict[str, Any]]]

    async def ask(self, what: str, **said: Any) -> dict[str, Any]:
        self.asked.append((what, said))
        if self.away:
            raise Away("away")
        if what == "fail":
            return {}
        if self.port is None:
            return {"refused": "no"}
        who = {"owner": "ada", "server": "", "key_name": "laptop"}
        return {"session": f"s{len(self.asked)}", "host": "127.0.0.1", "port": self.port, **who}


class Known(Monitors):
    """Every connection is this process's own."""

    ended = 0

    def find(self, door: str, peer: tuple[str, int], here: tuple[str, int]) -> Monitor | None:
        inode = find_inode(peer, here)
        assert inode
        assert holds(os.getpid(), inode)
        return Monitor(os.getpid(), find_birth(os.getpid()) or "", "SHA256:x", frozenset([door]), "::1", 0.0)

    def end(self, one: Monitor) -> None:
        self.ended += 1


class Strangers(Monitors):
    """No connection is sshd's."""


@asynccontextmanager
async def relaying(desk: Desk, monitors: Monitors, port: int) -> AsyncIterator[Relay]:
    made = Relay(desk, monitors, "run1")  # type: ignore[arg-type]
    made.open_doors([DOOR])
    made.open_doors([DOOR])
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as one:
        one.bind((DOOR, 0))
        found: int = one.getsockname()[1]
    monkeypatch.setattr(module, "RELAY_PORT", found)
    assert RELAY_PORT == 2200
    return found


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_bytes_go_both_ways_and_are_counted(port: int) -> None:
    data = os.urandom(3_000_000)
    async with echo() as there, relaying(Desk(there), Known(), port) as relay:
        reader, writer = await asyncio.open_connection(DOOR, port)
        sending = asyncio.ensure_future(send(writer, data))
        assert await reader.readexactly(len(data)) == data
        await sending
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await until(lambda: all(one.ended for one in relay.carried.values()))
        (one,) = relay.carried.values()
        assert (one.sent, one.received, one.ended) == (len(data), len(data), CLOSED_HERE)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_who_does_not_read_is_not_sent_to_and_loses_nothing(port: int) -> None:
    read, got = asyncio.Event(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await read.wait()
        while data := await reader.read(65536):
            got += len(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=65536)
    there = server.sockets[0].getsockname()[1]
    async with server, relaying(Desk(there), Known(), port) as relay:
        reader, writer = await asyncio.open_connection(DOOR, port)
        size = 128 << 20
        sending = asyncio.ensure_future(send(writer, bytes(size)))
        await until(lambda: any(one.sent > 0 for one in relay.carried.values()))
        (one,) = relay.carried.values()
        assert one.sent < size
        read.set()
        await sending
        writer.write_eof()
        assert await reader.read() == b""
        assert got == size
        await until(lambda: one.ended)
        assert one.sent == size
        writer.close()


def count_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_what_has_ended_keeps_no_file_open(port: int) -> None:
    async with echo() as there, relaying(Desk(there), Known(), port) as relay:
        before = count_open()
        for cut in (False, True):
            reader, writer = await asyncio.open_connection(DOOR, port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            one = list(relay.carried.values())[-1]
            if cut:
                relay.end(one, "The key was removed.")
            writer.close()
            await writer.wait_closed()
        await until(lambda: count_open() == before)


async def test_the_other_end_may_close_first(port: int) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[1]
    async with server, relaying(Desk(there), Known(), port) as relay:
        reader, writer = await asyncio.open_connection(DOOR, port)
        assert await reader.read() == b""
        writer.close()
        await until(lambda: relay.carried and all(one.ended for one in relay.carried.values()))
        assert next(iter(relay.carried.values())).ended == CLOSED_THERE


async def test_a_connection_is_ended_from_here_whatever_the_other_end_does(port: int) -> None:
    async with echo() as there, relaying(Desk(there), Known(), port) as relay:
        reader, writer = await asyncio.open_connection(DOOR, port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        (one,) = relay.carried.values()
        relay.end(one, "The key was removed.")
        assert await reader.read() == b""
        await until(lambda: one.ended)
        assert one.ended == "The key was removed."
        assert relay._monitors.ended == 1  # type: ignore[attr-defined]
        writer.close()


async def test_a_keystroke_waits_for_none_before_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, pump = [], module._pump

    async def look(source: socket.socket, target: socket.socket, *rest: Any) -> None:
        seen.append(target.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await pump(source, target, *rest)

    monkeypatch.setattr(module, "_pump", look)
    async with echo() as there, relaying(Desk(there), Known(), port):
        reader, writer = await asyncio.open_connection(DOOR, port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
    assert len(seen) == 2
    assert all(seen)


async def test_bytes_gather_in_a_transfer_and_for_nobody_who_types(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 100.0, []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    pace = module._Pace()
    await pace.rest(1)
    await pace.rest(TRANSFER - 2)
    now += TRANSFER_SECONDS * 1.1
    await pace.rest(TRANSFER - 1)
    assert slept == [], "not so much in so short a time"
    await pace.rest(1)
    await pace.rest(1)  # what the other side answers to a transfer
    assert slept == [GATHER_SECONDS] * 2
    await pace.rest(CHUNK)
    assert len(slept) == 2, "more lies there already"
    now += TRANSFER_SECONDS * 1.1
    await pace.rest(1)
    assert len(slept) == 2, "the transfer is over"


@pytest.mark.parametrize("away", [True, False])
async def test_without_a_yes_nothing_is_opened(port: int, away: bool) -> None:
    desk = Desk(None)
    desk.away = away
    async with relaying(desk, Known(), port) as relay:
        reader, writer = await asyncio.open_connection(DOOR, port)
        assert await reader.read() == b""
        writer.close()
        assert relay.carried == {}


async def test_a_connection_that_is_not_sshd_s_is_not_even_asked_for(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(1)
    async with relaying(desk, Strangers(), port) as relay:
        relay.open_doors(["127.77.77.78"])
        for door in (DOOR, DOOR, "127.77.77.78"):
            reader, writer = await asyncio.open_connection(door, port)
            assert await reader.read() == b""
            writer.close()
    assert desk.asked == []
    assert caplog.text.count("is not sshd's, and was refused") == 1, "the log is for who connected"


async def test_a_door_that_cannot_be_opened_keeps_no_other_shut_and_is_tried_again(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    other = "127.77.77.78"
    async with echo() as there, relaying(Desk(there), Known(), port) as relay:
        with socket.socket() as rogue:
            rogue.bind((other, port))
            rogue.listen()
            for _ in range(2):
                shut = relay.open_doors([other, "127.77.77.79", DOOR])
                assert shut == {other: "Address already in use"}
            assert caplog.text.count(f"{other}:{port} cannot be listened at") == 1
            reader, writer = await asyncio.open_connection("127.77.77.79", port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            writer.close()
        assert relay.open_doors([other]) == {}
        reader, writer = await asyncio.open_connection(other, port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_a_flood_at_a_door_waits_there_and_is_taken_up_again(port: int) -> None:
    desk, asked, go = Desk(None), 0, asyncio.Event()

    async def ask(what: str, **said: Any) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        await go.wait()
        return {"refused": "no"}

    desk.ask = ask  # type: ignore[method-assign]
    async with relaying(desk, Known(), port) as relay:
        many = [await asyncio.open_connection(DOOR, port) for _ in range(module.MOST_ASKED + 20)]
        await until(lambda: asked == module.MOST_ASKED)
        assert len(relay._handling) == module.MOST_ASKED
        go.set()
        for reader, writer in many:
            assert await reader.read() == b""
            writer.close()
        assert asked == module.MOST_ASKED + 20


async def test_where_nothing_answers_its_person_is_told(port: int) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        desk = Desk(nobody.getsockname()[1])
        async with relaying(desk, Known(), port):
            reader, writer = await asyncio.open_connection(DOOR, port)
            assert await reader.read() == b""
            writer.close()
    assert desk.asked[-1] == ("fail", {"session": "s1", "why": NO_ANSWER})


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    monitors = Monitors()
    monitors.note(os.getpid(), "SHA256:x", ["127.64.0.0"])
    (one,) = monitors.living()
    assert one.fingerprint == "SHA256:x"
    one.born = "1"
    assert monitors.living() == [], "another process has that number now"
    assert find_parent(os.getpid()) == os.getppid()
    assert find_parent(2**22 + 5) is None
    monitors.note(os.getpid(), "SHA256:x", ["127.64.0.0"])
    monitors.forget(os.getpid())
    assert monitors.living() == []


RENAMED = r"""
import ctypes
ctypes.CDLL(None).prctl(15, b"\xff) R 1", 0, 0, 0)
print("renamed", flush=True)
input()
"""


def test_a_process_whose_name_is_no_text_is_in_nobody_s_way() -> None:
    words = [sys.executable, "-c", RENAMED]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hostile:
        assert hostile.stdout
        assert hostile.stdout.readline() == b"renamed\n"
        assert find_parent(hostile.pid) == os.getpid()
        assert (os.getpid(), hostile.pid) in list_families([os.getpid()])
        hostile.kill()
