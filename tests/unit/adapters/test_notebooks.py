"""Asking the servers of sessions, well-behaved and hostile, many at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from gpuspawner.adapters.notebooks import MOST_BYTES, NotebookServers
from gpuspawner.core.activity import Kernels
from gpuspawner.ports import Address
from support.build import NOW
from support.fake_hub import serving
from tornado.web import Application, RequestHandler
from unit.adapters.test_hub_api import answering, page

AT = NOW.isoformat().replace("+00:00", "Z")
TOKEN = "the-servers-own"


def kernel(state: str, at: str | None = AT) -> dict[str, Any]:
    return {"id": "1", "name": "python3", "last_activity": at, "execution_state": state, "connections": 1}


class _Lists(RequestHandler):
    def initialize(self, kernels: object, terminals: object, asked: list[str]) -> None:
        self.lists, self.asked = {"kernels": kernels, "terminals": terminals}, asked

    def get(self, what: str) -> None:
        self.asked.append(self.request.uri or "")
        if self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.set_status(403)
        elif self.lists[what] is None:
            self.set_status(404)
        else:
            self.finish(json.dumps(self.lists[what]))


@contextmanager
def session(kernels: object, terminals: object = ()) -> Iterator[tuple[Address, list[str]]]:
    """A server with these lists, and what it was asked."""
    asked: list[str] = []
    values = {"kernels": kernels, "terminals": terminals, "asked": asked}
    with serving(lambda: Application([("/user/ada/api/(kernels|terminals)", _Lists, values)])) as url:
        yield Address(f"{url}/user/ada/", TOKEN), asked


def ask(**servers: Address) -> dict[str, Kernels]:
    return dict(NotebookServers(timeout_seconds=1, deadline_seconds=5).ask(servers))


LISTS = {
    "nothing is open": ([], [], Kernels(0, 0, 0, None)),
    "no terminals at all": ([], None, Kernels(0, 0, 0, None)),
    "one of each": ([kernel("busy"), kernel("idle")], [{"name": "1", "last_activity": AT}],
                    Kernels(1, 1, 1, NOW, NOW)),
    "one that starts is as good as busy": ([kernel("starting")], [], Kernels(1, 0, 0, NOW)),
    "one that died does nothing": ([kernel("dead")], [], Kernels(0, 1, 0, NOW)),
    "one that nobody used yet": ([kernel("idle", None)], [], Kernels(0, 1, 0, None)),
}  # fmt: skip


@pytest.mark.parametrize(("kernels", "terminals", "expected"), LISTS.values(), ids=LISTS)
def test_what_a_server_says(kernels: object, terminals: object, expected: Kernels) -> None:
    with session(kernels, terminals) as (address, asked):
        assert ask(ada=address) == {"ada": expected}
    assert all(uri.endswith("?no_track_activity=1") for uri in asked)  # to ask is no activity


def test_nobody_to_ask() -> None:
    assert ask() == {}


NONSENSE = {
    "not a list": {"kernels": {}},
    "not kernels": {"kernels": [1, None]},
    "no state": {"kernels": [{"last_activity": AT}]},
    "no such time": {"kernels": [kernel("idle", "yesterday")]},
    "another token": {"kernels": [], "token": "wrong"},
    "no page of kernels": {"kernels": None},
    "terminals make no sense": {"kernels": [], "terminals": [{"name": "1"}]},
}


@pytest.mark.parametrize("case", NONSENSE.values(), ids=NONSENSE)
def test_what_makes_no_sense_is_no_answer(case: dict) -> None:
    with session(case["kernels"], case.get("terminals", ())) as (address, _):
        assert ask(ada=Address(address.url, case.get("token", TOKEN))) == {}


HOSTILE = {
    "not HTTP": (b"hello",),
    "nothing": (),
    "huge": (page(b"[" + b" " * MOST_BYTES + b"]"),),
    "endless": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 1000),
    "endless head": (b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 1000),
    "deep": (page(b"[" * 100_000),),
    "compressed": (page(b"\x1f\x8b\x08", "200 OK", "Content-Encoding: gzip"),),
    "elsewhere": (page(b"", "302 Found", "Location: http://127.0.0.1:1/"),),
}


@pytest.mark.parametrize("chunks", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_delays_and_hides_nobody(chunks: tuple[bytes, ...]) -> None:
    with session([kernel("idle")]) as (good, _), answering(*chunks, pause=0.05) as (url, _):
        found = ask(bad=Address(f"{url}/user/eve/", TOKEN), good=good)
    assert found == {"good": Kernels(0, 1, 0, NOW)}


def test_many_that_never_answer_take_no_longer_than_the_deadline() -> None:
    """They hold every place that there is; those behind them are not known, and nobody waits for them."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        silent = Address(f"http://127.0.0.1:{deaf.getsockname()[1]}/user/eve/", TOKEN)
        good, asked = stack.enter_context(session([]))
        servers = {f"deaf{n}": silent for n in range(30)} | {"good": good}
        hurried = NotebookServers(timeout_seconds=0.2, at_once=4, deadline_seconds=0.3)
        assert hurried.ask(servers) == {}
        assert asked == []
        patient = NotebookServers(timeout_seconds=0.2, at_once=4, deadline_seconds=30)
        assert list(patient.ask(servers)) == ["good"]
