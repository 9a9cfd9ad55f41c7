"""What a command in a container says, though who works in there may stop it or speak in its place."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from docker import APIClient

_HEADER = struct.Struct(">BxxxI")
"""The Engine's, before each piece: which stream it is of, and how long."""


def hear(client: APIClient, exec_id: str, *, seconds: float, most_bytes: int) -> bytes:
    """Run a command that was made with standard output alone; what it says until it ends.

    The library itself waits without end, and takes whatever comes.

    Args:
        client: Of the Engine.
        exec_id: The command.
        seconds: How long it may take.
        most_bytes: More than that is not listened to.

    Raises:
        TimeoutError: It did not end in time.
        OSError: The connection broke.
    """
    stream: Any = client.exec_start(exec_id, socket=True)
    # What the library returns for a local socket wraps it; for TLS it is the socket itself.
    connection: socket.socket = getattr(stream, "_sock", stream)
    deadline, heard = time.monotonic() + seconds, b""
    try:
        while len(heard) < most_bytes:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(4096)
            if not piece:
                break
            heard += piece
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        stream.close()
    return b"".join(_take_apart(heard))


def _take_apart(heard: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEADER.size <= len(heard):
        _, length = _HEADER.unpack_from(heard, at)
        at += _HEADER.size
        yield heard[at : at + length]
        at += length
