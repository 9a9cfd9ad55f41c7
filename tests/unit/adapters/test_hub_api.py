"""The Hub's client where Hub and servers do not behave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.core.errors import HubError
from gpuspawner.ports import SessionActivity
from support.build import NOW


@contextmanager
def answering(*chunks: bytes, pause: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says these bytes to everybody, whatever they ask; and what it was asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(65536))
                try:
                    for chunk in chunks:
                        connection.sendall(chunk)
                        ended.wait(pause)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def page(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def hub(url: str, seconds: float = 0.5) -> HttpHubApi:
    return HttpHubApi(url, "secret-of-ours", timeout_seconds=seconds, server_seconds=seconds)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page(b"<html>"), "is not JSON"),
        (page(b"[]"), "cannot be understood"),
        (
            page(b'{"name": "ada"}'),
            "cannot be understood",
        ),  # without the right to see them, they are left out
        (page(b'{"message": "go away"}', "403 Forbidden"), r"HTTP 403\): go away"),
        (page(b"oops", "500 Internal Server Error"), r"HTTP 500\): Internal Server Error"),
        (page(b"", "302 Found", "Location: http://127.0.0.1:1/"), "HTTP 302"),
        (b"no HTTP at all\r\n\r\n", "gives no answer"),
        (b"", "gives no answer"),
    ],
)
def test_answers_that_prove_nothing(answer: bytes, says: str) -> None:
    with answering(answer) as (url, _), pytest.raises(HubError, match=says):
        hub(url).groups_of("ada")


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(HubError, match="The Hub gives no answer"):
        hub(url).users()


def status(body: bytes) -> bytes:
    return page(body, "200 OK", "Content-Type: application/json")


GOOD = json.dumps({"last_activity": NOW.isoformat().replace("+00:00", "Z"), "kernels": 1}).encode()


def test_a_server_is_asked_with_its_own_token_and_is_not_kept_awake() -> None:
    with answering(status(GOOD)) as (url, heard):
        assert hub(url).session_activity(f"{url}/user/ada/", "token-of-ada") == SessionActivity(None, NOW)
    first = heard[0].split(b"\r\n")[0]
    assert first == b"GET /user/ada/api/status?no_track_activity=1 HTTP/1.1"
    assert b"token token-of-ada" in heard[0]
    assert b"secret-of-ours" not in heard[0]


@pytest.mark.parametrize(
    "body", [b"{}", b"[1]", b'{"last_activity": 7}', b'{"last_activity": "now"}', b"\xff"]
)
def test_a_server_that_says_nothing_useful(body: bytes) -> None:
    with answering(status(body)) as (url, _):
        assert hub(url).session_activity(url, "t") is None


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(HubError):
        work()
    return time.monotonic() - began


@pytest.mark.parametrize(
    "chunks",
    [
        [b"HTTP/1.1 200 OK\r\n"] + [b"X-A: b\r\n"] * 200,
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] + [b" "] * 200,
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] + [b"1\r\n \r\n"] * 200,
    ],
    ids=["in its head", "in its body", "in pieces"],
)
def test_a_server_that_dawdles_is_given_up_on(chunks: list[bytes]) -> None:
    with answering(*chunks, pause=0.1) as (url, _):
        assert timed(lambda: hub(url).session_activity(url, "t")) < 3


def test_a_server_that_says_too_much_is_not_listened_to() -> None:
    with answering(page(b" " * 200_000)) as (url, _):
        assert timed(lambda: hub(url, 5).session_activity(url, "t")) < 3


def test_a_server_sends_nobody_elsewhere() -> None:
    with (
        answering(status(GOOD)) as (goal, heard),
        answering(page(b"", "302 Found", f"Location: {goal}/api/status")) as (url, _),
    ):
        with pytest.raises(HubError, match="HTTP 302"):
            hub(url).session_activity(url, "t")
        assert heard == []
