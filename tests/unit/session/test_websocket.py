"""The WebSocket of a client: against Tornado's, and against servers that mean no good."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from gpuspawner_session import websocket
from gpuspawner_session.websocket import (
    MOST_FRAME,
    NO_CLOSE,
    Answered,
    Broken,
    WebSocket,
    apply_mask,
    build_frame,
    open_websocket,
)
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

Answer = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Echo(WebSocketHandler):
    @property
    def max_message_size(self) -> int:
        return 2 * MOST_FRAME

    async def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        self.ping(b"still there")
        await self.write_message(message, binary=True)
        if message == b"end":
            self.close(4001, "enough")


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[WebSocket]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield await open_websocket(reader, writer, "127.0.0.1", "/way", {"X-More": "1"})
        finally:
            writer.close()


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """A server that answers every question in its own way, and is waited for; its port."""
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in asked.split("\r\n") if line.startswith("Sec-WebSocket-K"))
        await answer(key, reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


def accept(key: str, more: str = "") -> bytes:
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n{more}\r\n"
    ).encode()


async def receive_all(socket: WebSocket) -> None:
    while await socket.receive() is not None:
        pass


def sending(frames: bytes, heard: list[bytes] | None = None) -> Answer:
    """Opens a WebSocket, sends bytes, and hears what comes back to the end."""

    async def answer(key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(accept(key) + frames)
        if heard is not None:
            writer.write_eof()
            heard.append(await reader.read())

    return answer


@pytest.mark.parametrize("length", [0, 1, 3, 4, 125, 126, 65535, 65536, 300_001])
async def test_bytes_come_back_as_they_were_sent(length: int) -> None:
    server = HTTPServer(Application([("/way", Echo)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    data = bytes(n * 7 % 251 for n in range(length))
    async with opened(sockets[0].getsockname()[1]) as socket:
        await socket.send(data)
        await socket.send(b"end")
        found = b""
        while (more := await socket.receive()) is not None:
            found += more
        assert found == data + b"end"
        assert socket.closed == (4001, "enough")
    server.stop()


def test_a_frame_is_masked_as_in_the_standard() -> None:
    """RFC 6455, section 5.7."""
    assert build_frame(0x1, b"Hello", bytes.fromhex("37fa213d")).hex() == "818537fa213d7f9f4d5158"
    assert apply_mask(apply_mask(b"\0\0abc", b"\x01\x02\x03\x04"), b"\x01\x02\x03\x04") == b"\0\0abc"
    assert build_frame(0x2, b"x" * 126, b"\0" * 4)[:4] == b"\x82\xfe\x00\x7e"
    assert build_frame(0x2, b"x" * 65536, b"\0" * 4)[:10] == b"\x82\xff" + (65536).to_bytes(8, "big")


async def test_parts_of_a_message_are_taken_with_pings_in_between() -> None:
    heard: list[bytes] = []
    frames = b"\x02\x02ab" + b"\x89\x04ping" + b"\x00\x01c" + b"\x80\x01d" + b"\x8a\x00" + b"\x88\x02\x03\xe8"
    async with answering(sending(frames, heard)) as port, opened(port) as socket:
        assert [await socket.receive() for _ in range(3)] == [b"ab", b"c", b"d"]
        assert await socket.receive() is None
        assert socket.closed == (1000, "")
        await socket.send(b"too late")
    pong, close = heard[0][:10], heard[0][10:]
    assert pong[:2] == b"\x8a\x84"
    assert apply_mask(pong[6:], pong[2:6]) == b"ping"
    assert close[:2] == b"\x88\x82"
    assert len(close) == 8, "nothing after the close"


@pytest.mark.parametrize(
    ("frames", "says", "code"),
    [
        (b"\x82\x7f" + struct.pack("!Q", 1 << 62), "too much", 1009),
        (b"\x82\x7f" + struct.pack("!Q", MOST_FRAME + 1), "too much", 1009),
        (b"\x82\x81\0\0\0\0x", "not spoken", 1002),  # masked, by a server
        (b"\xc2\x01x", "not spoken", 1002),  # an extension
        (b"\x81\x01x", "not spoken", 1002),  # text
        (b"\x83\x01x", "not spoken", 1002),  # no such kind
        (b"\x89\x7e\x00\x7e" + b"x" * 126, "not spoken", 1002),  # a long ping
        (b"\x09\x01x", "not spoken", 1002),  # a ping in parts
        (b"\x80\x01x", "mixed up", 1002),  # the rest of nothing
        (b"\x02\x01x\x82\x01y", "mixed up", 1002),
        (b"\x88\x01x", "can be read", 1002),
    ],
)
async def test_what_must_not_be_sent_ends_it(frames: bytes, says: str, code: int) -> None:
    heard: list[bytes] = []
    async with answering(sending(frames, heard)) as port, opened(port) as socket:
        with pytest.raises(Broken, match=says):
            await receive_all(socket)
    assert apply_mask(heard[0][6:8], heard[0][2:6]) == struct.pack("!H", code)


@pytest.mark.parametrize("frames", [b"", b"\x82", b"\x82\x05abc", b"\x82\x7e\x01"])
async def test_a_connection_that_ends_in_the_middle_has_no_reason(frames: bytes) -> None:
    async with answering(sending(frames)) as port, opened(port) as socket:
        assert await socket.receive() is None
        assert socket.closed == (NO_CLOSE, "")


def answers(text: bytes) -> Answer:
    async def answer(key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text.replace(b"KEY", accept(key).split(b"Accept: ")[1][:28]))

    return answer


RIGHT = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RIGHT.replace(b"KEY", b"A" * 27 + b"=") + b"\r\n", "to another question"),
        (RIGHT.replace(b"Sec-WebSocket-Accept: KEY\r\n", b"") + b"\r\n", "to another question"),
        (RIGHT.replace(b"Upgrade: websocket\r\n", b"") + b"\r\n", "does not"),
        (RIGHT.replace(b"Connection: Upgrade", b"Connection: close") + b"\r\n", "does not"),
        (RIGHT + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "not offered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 \xb2\xb2\xb2 x\r\n\r\n", "no HTTP"),
        (b"", "ended the connection"),
        (b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 100_000, "too long"),
    ],
)
async def test_what_is_no_websocket_is_refused(text: bytes, says: str) -> None:
    async with answering(answers(text)) as port:
        with pytest.raises(Broken, match=says):
            async with opened(port):
                pass


async def test_another_answer_is_told_and_a_redirect_is_not_followed() -> None:
    text = b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n"
    async with answering(answers(text)) as port:
        with pytest.raises(Answered) as found:
            async with opened(port):
                pass
    assert (found.value.status, found.value.location) == (302, "https://evil.example/")
    body = b"x" * 100_000
    text = b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + body
    async with answering(answers(text)) as port:
        with pytest.raises(Answered) as found:
            async with opened(port):
                pass
    assert found.value.text == "x" * websocket.MOST_ANSWER
