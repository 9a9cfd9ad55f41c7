"""A WebSocket as a client (RFC 6455), for bytes, without extensions, with what Python brings.

The other side is not trusted: what is longer, or in another order, than the standard and this program allow
ends the connection.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass

MOST_FRAME = 1024 * 1024
"""Bytes of one frame that is taken."""
MOST_ANSWER = 4096
"""Bytes that are read of an answer that is none of a WebSocket."""
MOST_CONTROL = 125
NORMAL, WRONG, TOO_LONG, NO_CLOSE = 1000, 1002, 1009, 1006
"""Codes for why it was closed."""
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUED, _BYTES, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA


class Broken(Exception):
    """The other side does not keep to the standard, or to what is taken here; ``code`` is what it is told."""

    def __init__(self, text: str, code: int = WRONG) -> None:
        super().__init__(text)
        self.code = code


@dataclass(eq=False)
class Answered(Exception):
    """The other side opens no WebSocket, and says something else."""

    status: int
    text: str
    """The beginning of what it says."""
    location: str = ""
    """Where it sends people to instead."""


async def open_websocket(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    path: str,
    headers: Mapping[str, str],
) -> WebSocket:
    """Ask for a WebSocket on a connection.

    Args:
        reader: Of the connection.
        writer: Of the connection.
        host: As it stands in the address, with the port where there is one.
        path: With the query.
        headers: More to send.

    Raises:
        Answered: There is none.
        Broken: What answers is no HTTP, or nothing that understood the question.
        OSError: The connection ended.
    """
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    asked = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii"))
    await writer.drain()
    status, found = await read_head(reader)
    if status != 101:
        raise Answered(status, await _read_text(reader, found), found.get("location", ""))
    accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()
    upgrades = {one.strip().lower() for one in found.get("connection", "").split(",")}
    if found.get("upgrade", "").lower() != "websocket" or "upgrade" not in upgrades:
        raise Broken("it answers as if it opened a WebSocket, and does not")
    if found.get("sec-websocket-accept") != accept:
        raise Broken("its answer is to another question; something in between answers for it")
    if "sec-websocket-extensions" in found or "sec-websocket-protocol" in found:
        raise Broken("it wants what was not offered")
    return WebSocket(reader, writer)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer, by names in small letters. Raises: Broken, OSError."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise Broken("its answer is too long") from None
    except asyncio.IncompleteReadError as error:
        raise Broken("it ended the connection" if not error.partial else "it answers no HTTP") from None
    first, *lines = head.split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise Broken("it answers no HTTP")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_text(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> str:
    """The beginning of what an answer says, if it is plain text."""
    length = headers.get("content-length", "")
    if not headers.get("content-type", "").startswith("text/plain") or not length.isdecimal():
        return ""
    try:
        return (await reader.readexactly(min(int(length), MOST_ANSWER))).decode(errors="replace")
    except (asyncio.IncompleteReadError, OSError):
        return ""


class WebSocket:
    """One that is open.

    Args:
        reader: Of its connection.
        writer: Of its connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._goes_on = False
        """Whether a message has begun whose end is still to come."""
        self._closing = False
        self.closed: tuple[int, str] = NO_CLOSE, ""
        """Code and reason with which the other side has closed it."""

    @property
    def lost(self) -> bool:
        """Whether neither side has closed it, once :meth:`receive` has returned None."""
        return self.closed[0] == NO_CLOSE and not self._closing

    async def send(self, data: bytes) -> None:
        """Send bytes; returns when there is room for more. Nothing is sent after a close. Raises: OSError."""
        if not self._closing:
            self._write(_BYTES, data)
            await self._writer.drain()

    async def close(self, code: int = NORMAL) -> None:
        """Say that nothing more comes; the other side then says the same. Raises: OSError."""
        if not self._closing:
            self._write(_CLOSE, struct.pack("!H", code))
            self._closing = True
            await self._writer.drain()

    async def receive(self) -> bytes | None:
        """The next bytes; None when the other side has closed it, or ended the connection.

        Raises:
            Broken: It sends what it must not.
            OSError: The connection broke.
        """
        try:
            while True:
                opcode, final, data = await self._read_frame()
                if opcode == _PING:
                    if not self._closing:
                        self._write(_PONG, data)
                        await self._writer.drain()
                elif opcode == _CLOSE:
                    self.closed = _read_close(data)
                    await self.close()
                    return None
                elif opcode != _PONG:
                    if (opcode == _CONTINUED) != self._goes_on:
                        raise Broken("its messages are mixed up")
                    self._goes_on = not final
                    if data:
                        return data
        except asyncio.IncompleteReadError:
            return None
        except Broken as error:
            await self.close(error.code)
            raise

    async def _read_frame(self) -> tuple[int, bool, bytes]:
        """What kind it is, whether it is the last of its message, and its bytes."""
        first, second = await self._reader.readexactly(2)
        final, opcode, length = bool(first & 0x80), first & 0x0F, second & 0x7F
        if first & 0x70 or second & 0x80 or opcode not in (_CONTINUED, _BYTES, _CLOSE, _PING, _PONG):
            raise Broken("it sends what is not spoken here")
        if opcode >= _CLOSE and (length > MOST_CONTROL or not final):
            raise Broken("it sends what is not spoken here")
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        if length > MOST_FRAME:
            raise Broken("it sends too much at once", TOO_LONG)
        return opcode, final, await self._reader.readexactly(length)

    def _write(self, opcode: int, data: bytes) -> None:
        self._writer.write(build_frame(opcode, data, secrets.token_bytes(4)))


def build_frame(opcode: int, data: bytes, mask: bytes) -> bytes:
    """A whole message as a client sends it: with its length, and masked."""
    length = len(data)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + mask + apply_mask(data, mask)


def apply_mask(data: bytes, mask: bytes) -> bytes:
    """Each byte with that of the mask, again and again; as two large numbers, which is fast."""
    length = len(data)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(length)


def _read_close(data: bytes) -> tuple[int, str]:
    """Why the other side has closed it. Raises: Broken."""
    if not data:
        return NORMAL, ""
    if len(data) == 1:
        raise Broken("it closes without a reason that can be read")
    return struct.unpack("!H", data[:2])[0], data[2:].decode(errors="replace")
