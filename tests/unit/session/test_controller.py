"""What a server asks the controller, and what becomes of whatever comes back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from gpuspawner_session import controller as asked
from gpuspawner_session.controller import AWAY, NO_CONTROLLER, Answer, Controller
from support.fake_hub import serving
from tornado.web import Application, RequestHandler


class Fake(RequestHandler):
    """Answers as it was told, and remembers what it was asked."""

    def initialize(self, seen: list[tuple[Any, ...]], answer: Callable[[RequestHandler], Any]) -> None:
        self.seen, self.answer = seen, answer

    async def get(self, path: str) -> None:
        request = self.request
        self.seen.append((request.method, path, request.headers["Authorization"], request.body))
        found = self.answer(self)
        if asyncio.iscoroutine(found):
            await found

    post = get


async def ask(
    answer: Callable[[RequestHandler], Any], action: str = "", **body: object
) -> tuple[Answer, list[tuple[Any, ...]]]:
    seen: list[tuple[Any, ...]] = []
    app = lambda: Application([(r"(.*)", Fake, {"seen": seen, "answer": answer})])  # noqa: E731
    with serving(app) as url:
        environment = {"GPUSPAWNER_SESSION_URL": f"{url}/api/session", "JUPYTERHUB_API_TOKEN": "t"}
        client = Controller(environment)
        found = await (client.act(action, body) if action else client.look())
    return found, seen


async def test_it_asks_with_the_server_s_own_token() -> None:
    found, seen = await ask(lambda handler: handler.write({"at": "now"}))
    assert (found, seen) == (Answer(200, {"at": "now"}), [("GET", "/api/session", "token t", b"")])
    found, seen = await ask(lambda handler: handler.write({}), "finish", finish=True)
    assert seen == [("POST", "/api/session/finish", "token t", b'{"finish": true}')]
    _, seen = await ask(lambda handler: handler.write({}), "keep")
    assert seen == [("POST", "/api/session/keep", "token t", b"{}")]


@pytest.mark.parametrize("missing", ["GPUSPAWNER_SESSION_URL", "JUPYTERHUB_API_TOKEN"])
async def test_where_there_is_no_controller_none_is_asked(missing: str) -> None:
    environment = {"GPUSPAWNER_SESSION_URL": "http://127.0.0.1:1", "JUPYTERHUB_API_TOKEN": "t"}
    del environment[missing]
    assert await Controller(environment).look() == NO_CONTROLLER


@pytest.mark.parametrize("status", [400, 403, 404, 409, 429])
async def test_a_refusal_is_passed_on(status: int) -> None:
    def refuse(handler: RequestHandler) -> None:
        handler.set_status(status)
        handler.write({"error": {"message": "Somebody waits."}})

    found, _ = await ask(refuse, "keep")
    assert found == Answer(status, {"error": {"message": "Somebody waits."}})


def fail(handler: RequestHandler) -> None:
    handler.set_status(503)
    handler.write({"error": {"message": "The ledger is away."}})


@pytest.mark.parametrize(
    "answer",
    [
        fail,
        lambda handler: handler.redirect("http://127.0.0.1:1/elsewhere"),
        lambda handler: handler.write("no json"),
        lambda handler: handler.write("[1]"),
        lambda handler: handler.write("x" * (asked.MOST_ANSWER + 1)),
        lambda handler: handler.request.connection.stream.close(),
    ],
)
async def test_anything_else_is_that_it_is_away(answer: Callable[[RequestHandler], Any]) -> None:
    assert (await ask(answer))[0] == AWAY


async def test_one_that_never_answers_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "ANSWER_SECONDS", 0.2)
    assert (await ask(lambda _: asyncio.sleep(1)))[0] == AWAY
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    environment = {"GPUSPAWNER_SESSION_URL": f"http://127.0.0.1:{port}", "JUPYTERHUB_API_TOKEN": "t"}
    assert await Controller(environment).look() == AWAY
