"""Who answers where servers look for the controller."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from gpuspawner.doctor.door import knock, read_door


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/gpu/api/session"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error": {"kind": "not_logged_in"}}', ""),
        (401, b"who are you?", "another program answers there (HTTP 401)"),
        (200, b'{"error": {}}', "another program answers there (HTTP 200)"),
        (401, b"\xff\x00", "another program answers there (HTTP 401)"),
    ],
)
def test_the_controller_is_known_by_its_refusal(status: int, body: bytes, error: str) -> None:
    with answering(status, body) as url:
        assert knock(url).error == error


def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        assert knock(f"http://127.0.0.1:{taken.getsockname()[1]}/x").error == "Connection refused"


@pytest.mark.parametrize("text", ["", "controller: {enabled: false}\n"])
def test_without_a_controller_nobody_knocks(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gpuspawner.yml"
    file.write_text(f"state_dir: {tmp_path}\nimages: {{Minimal: 'gpuspawner/minimal:1'}}\n{text}")
    assert read_door(file) is None
    file.write_text("nonsense: 1\n")
    assert read_door(file) is None
    assert read_door(None) is None
