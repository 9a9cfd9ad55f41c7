"""The controller's REST API at full size, over HTTP, with a fake Hub that says who asks."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import Any

import requests
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Reservations, Sessions, UsageReports
from gpuspawner.allocator.line import CLAIM_WINDOW, Line
from gpuspawner.controller.app import make_app, settle_memory
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import MANAGE, READ, make_auth
from gpuspawner.controller.live import Watch
from gpuspawner.controller.loop import Tick, Ticking
from gpuspawner.controller.metrics import Metrics
from gpuspawner.controller.people import PolicyReader
from gpuspawner.controller.services import Services
from gpuspawner.passport.known import KnownImages
from gpuspawner.passport.shelf import Shelf
from gpuspawner.policy.settings import Settings
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.fake_images import FakeImages

from .crowd import FULL, HOST, NOW, STALE_AFTER, make_crowd, name_people
from .figures import Figure, Goal, percentile
from .places import make_folder

PATHS = ("/me", "/cards", "/leases", "/queue", "/usage?by=user")
CALLS = 60
"""Of each path in a repeat, by as many people."""
AT_ONCE = 8
OPEN_PAGES = 100
SETTLE_SECONDS, OPEN_SECONDS = 6.0, 20.0
OPEN_GOAL = Goal("< 10 %", lambda value: value < 10, of="ours")
ADMIN = "admin"
GOAL = Goal("p99 < 250 ms", lambda value: value < 250, of="ours")


def measure_api(repeats: int) -> list[Figure]:
    """What people's pages and programs ask, one call after the other, and several at once."""
    figures = []
    with run_controller(_store_full) as (service, process), requests.Session() as session:
        session.trust_env = False
        url = f"{service}/api"
        people = name_people(CALLS)
        for path in PATHS:
            found = [_ask(session, url, path, people) for _ in range(repeats)]
            figures.append(_figure(path, f"GET {path}, 500 people", found))
        for path in ("/queue", "/cards", "/leases", "/usage?by=user"):
            found = [_ask(session, url, path, [ADMIN] * (CALLS // 3)) for _ in range(repeats)]
            figures.append(_figure(f"admin-{path}", f"GET {path}, an administrator", found))
        found = [_ask_at_once(url, "/queue", people) for _ in range(repeats)]
        figures.append(_figure("at-once-/queue", f"GET /queue, {AT_ONCE} at once", found))
        figures += _open_pages(url, process, repeats)
    return figures


def _open_pages(url: str, process: int, repeats: int) -> list[Figure]:
    """What the controller's processor does while a hundred people have the page of the line open."""
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    shares, news = [], []
    for _ in range(repeats):
        with ExitStack() as stack, DefaultSelector() as selector:
            for name in name_people(OPEN_PAGES):
                page = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
                lines = [
                    "GET /services/gpu/live/queue HTTP/1.1",
                    f"Host: {host}",
                    f"Authorization: token {name}",
                ]
                page.sendall("\r\n".join([*lines, "", ""]).encode())
                selector.register(page, EVENT_READ)
            sent = _read_for(selector, SETTLE_SECONDS)
            assert sent >= OPEN_PAGES, f"only {sent} pages were sent"
            begin, used = time.monotonic(), _processor_seconds(process)
            news.append(_read_for(selector, OPEN_SECONDS))
            shares.append(100 * (_processor_seconds(process) - used) / (time.monotonic() - begin))
    what = f"{OPEN_PAGES} open pages of the line, share of one core"
    return [Figure("pages-open", what, "%", shares, goal=OPEN_GOAL, notes={"pieces of news": news})]


def _read_for(selector: BaseSelector, seconds: float) -> int:
    """Read what comes; how many pieces came."""
    ends, pieces = time.monotonic() + seconds, 0
    while (left := ends - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            came = key.fileobj.recv(65536)  # type: ignore[union-attr]
            assert came, "a page was closed"
            pieces += came.count(b"event: ")
    return pieces


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _figure(name: str, what: str, found: list[list[float]]) -> Figure:
    p99 = [1000 * percentile(one, 0.99) for one in found]
    notes = {"p50 ms": [1000 * percentile(one, 0.5) for one in found]}
    return Figure(f"api-{name}", f"{what}, p99", "ms", p99, goal=GOAL, notes=notes)


def _ask(session: requests.Session, url: str, path: str, people: list[str]) -> list[float]:
    seconds = []
    for name in people:
        begin = time.perf_counter()
        answer = session.get(f"{url}{path}", headers={"Authorization": f"token {name}"}, timeout=30)
        seconds.append(time.perf_counter() - begin)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return seconds


def _ask_at_once(url: str, path: str, people: list[str]) -> list[float]:
    def ask(number: int) -> list[float]:
        with requests.Session() as session:
            session.trust_env = False
            return _ask(session, url, path, people[number::AT_ONCE])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [seconds for part in pool.map(ask, range(AT_ONCE)) for seconds in part]


# -- the processes --------------------------------------------------------------------------------------


def _store_full(folder: Path) -> None:
    make_crowd(FULL, folder / "policy.yml").store(folder / "ledger.db").close()


@contextmanager
def run_controller(store: Callable[[Path], None], now: datetime = NOW) -> Iterator[tuple[str, int]]:
    """A controller in a process of its own; where it is, and the process.

    Args:
        store: Makes ``policy.yml`` and ``ledger.db`` in a folder.
        now: The present, which does not move.
    """
    with make_folder() as folder, ExitStack() as stack:
        store(folder)
        hub, _ = stack.enter_context(_process(_serve_hub, None))
        url, process = stack.enter_context(_process(_serve_controller, _Wiring(folder, hub, now)))
        yield f"{url}/services/gpu", process


@dataclass(frozen=True, slots=True)
class _Wiring:
    folder: Path
    hub: str
    now: datetime


@contextmanager
def _process(serve: Callable[[Any, Any], None], argument: object) -> Iterator[tuple[str, int]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, argument), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "it does not come up"
        assert process.pid
        yield f"http://127.0.0.1:{ours.recv()}", process.pid
    finally:
        process.terminate()
        process.join(10)


def _serve(pipe: Any, app: Application) -> None:
    async def main() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        HTTPServer(app).add_sockets(sockets)
        pipe.send(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


class _WhoIs(RequestHandler):
    """The Hub's word on the owner of a token, which here is a person's name."""

    def get(self) -> None:
        name = self.request.headers["Authorization"].removeprefix("token ")
        scopes = ["access:services!service=gpu", READ, *([MANAGE] if name == ADMIN else [])]
        model = {"name": name, "kind": "user", "groups": ["group01"], "scopes": scopes}
        self.finish(json.dumps(model))


def _serve_hub(pipe: Any, _: object) -> None:
    _serve(pipe, Application([("/hub/api/user", _WhoIs)], log_function=lambda handler: None))


def make_services(folder: Path, clock: Callable[[], datetime]) -> Services:
    """The controller's use cases on what is in a folder; no Hub is asked."""
    settings = _settings(folder)
    ledger = Ledger(folder / "ledger.db")
    return Services(
        ledger=ledger,
        host=HOST,
        sessions=Sessions(ledger, HOST, clock),
        hub=None,  # type: ignore[arg-type]  # nothing that is measured asks it
        policies=PolicyReader(settings),
        images=KnownImages({}, FakeImages(), Shelf(folder)),
        clock=clock,
        stale_after=STALE_AFTER,
        line=Line(ledger, HOST, STALE_AFTER, clock, window=CLAIM_WINDOW),
        cards=Cards(ledger, HOST),
        usage=UsageReports(ledger, HOST, clock),
        reservations=Reservations(ledger, HOST, clock),
    )


def _settings(folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "state_dir": str(folder),
            "images": {f"image{n}": f"registry.example.org/image{n}:1" for n in range(4)},
            "policy": str(folder / "policy.yml"),
            "controller": {"enabled": True},
        }
    )


def _serve_controller(pipe: Any, wiring: _Wiring) -> None:
    folder, token = wiring.folder, "s" * 64
    services = make_services(folder, lambda: wiring.now)
    auth = make_auth(_settings(folder), token)
    auth.api_url = f"{wiring.hub}/hub/api"
    metrics = Metrics(services.ledger, HOST, services.clock, STALE_AFTER, [])
    settle_memory()
    ticking = Ticking(Tick([]), 1, metrics.observe_tick)
    house = House(auth, services, metrics, ticking, Watch(services.see_line))
    _serve(pipe, make_app(house, token))
