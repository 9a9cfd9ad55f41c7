"""Commands in containers, whose people may stop them or speak in their place; the Engine is played."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest
from gpuspawner.adapters import docker_engine as module
from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.core.errors import EngineError

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def play(path: Path, speak: Callable[[Callable[[bytes], None]], None]) -> ThreadingUnixStreamServer:
    """An Engine in which a command says what is spoken, and has ended when that returns."""

    class Engine(StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                length = 0
                while (header := self.rfile.readline()).strip():
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.rfile.read(length)
                if line.split()[1].endswith(b"/start"):
                    self.wfile.write(UPGRADED)
                    time.sleep(0.2)  # the library loses what comes together with the headers
                    with suppress(OSError):
                        speak(lambda said: self.say(struct.pack(">BxxxI", 1, len(said)) + said))
                    return
                body = b'{"ApiVersion": "1.45", "Id": "e1"}'
                self.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        def say(self, data: bytes) -> None:
            self.wfile.write(data)
            self.wfile.flush()

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True

    server = Server(str(path), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ask(tmp_path: Path, speak: Callable[[Callable[[bytes], None]], None]) -> datetime | None:
    path = tmp_path / "engine.sock"
    server = play(path, speak)
    try:
        return DockerEngine(f"unix://{path}").typed_at("c1")
    finally:
        server.shutdown()
        server.server_close()


def test_the_newest_time_that_a_command_says_counts(tmp_path: Path) -> None:
    def speak(say: Callable[[bytes], None]) -> None:
        say(b"1700000000\n17000")
        say(b"00500\n")

    assert ask(tmp_path, speak) == datetime.fromtimestamp(1700000500, UTC)


def test_no_terminal_is_never(tmp_path: Path) -> None:
    assert ask(tmp_path, lambda say: None) is None


def test_what_is_no_time_is_not_heard(tmp_path: Path) -> None:
    assert ask(tmp_path, lambda say: say(b"9" * 3000 + b"\n\xff 1700000000\n")) == datetime.fromtimestamp(
        1700000000, UTC
    )


def test_a_command_that_never_ends_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TYPED_SECONDS", 0.5)
    left = threading.Event()

    def trickle(say: Callable[[bytes], None]) -> None:
        try:
            while True:
                say(b"1")
                time.sleep(0.05)
        finally:
            left.set()

    with pytest.raises(EngineError, match="look at terminals"):
        ask(tmp_path, trickle)
    assert left.wait(10), "the Engine is told"


def test_a_command_that_says_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TYPED_SECONDS", 60.0)

    def flood(say: Callable[[bytes], None]) -> None:
        while True:
            say(b"1700000000\n" * 100)

    assert ask(tmp_path, flood) == datetime.fromtimestamp(1700000000, UTC)
