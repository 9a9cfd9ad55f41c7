"""The administrators' board at full size, what an update of it weighs, and the plots of one's own servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import requests
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.places import LineView
from gpuspawner.controller.identity import MANAGE, READ, Caller
from gpuspawner.controller.links import Links
from gpuspawner.controller.pages.news import News
from gpuspawner.controller.pages.page import Visit
from gpuspawner.controller.pages.rendering import render
from gpuspawner.controller.pages.servers import load_servers
from gpuspawner.controller.views.board import view_board
from gpuspawner.core.model import DeviceRecord, Lease, Sample

from tests.support.board import many_cards, many_leases, situation
from tests.support.build import GIB, HOST, NOW, busy

from .calls import ADMIN, make_services, run_controller
from .figures import Figure, Goal, median
from .places import make_folder

CARDS, SESSIONS = 64, 200
LOOKS = 20
LINKS = Links("/hub/", "/services/gpu/")
PAGE = Goal("< 1 s", lambda value: value < 1000, of="ours")


def measure_board(repeats: int) -> list[Figure]:
    """The whole page, what is sent when something changes, and the plots."""
    return [*_measure_page(repeats), *_measure_updates(), *_measure_plots(repeats)]


def _measure_page(repeats: int) -> list[Figure]:
    """As a browser asks for it, the slowest of some."""
    with run_controller(_store_board, NOW) as (url, _), requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"token {ADMIN}"

        def ask() -> None:
            answer = session.get(f"{url}/board", timeout=30)
            assert answer.status_code == 200, answer.text
            assert answer.text.count("<tr id=") == CARDS + SESSIONS

        ask()
        found = [[_milliseconds(ask) for _ in range(LOOKS)] for _ in range(repeats)]
    what = f"Board of {CARDS} cards and {SESSIONS} sessions: whole page, slowest of {LOOKS}"
    notes = {"p50 ms": [median(one) for one in found]}
    return [Figure("board-page", what, "ms", [max(one) for one in found], goal=PAGE, notes=notes)]


def _measure_updates() -> list[Figure]:
    """Bytes are the same each time."""
    cards = many_cards(CARDS)
    leases = many_leases(SESSIONS, cards)
    busier = [replace(one, sample=busy(1, utilization_percent=12)) for one in cards]
    states = (
        ("all", "when it is opened", cards, leases, None),
        ("one", "when a figure of one card changes", [busier[0], *cards[1:]], leases, cards),
        ("cards", "when a figure of every card changes", busier, leases, cards),
        ("ends", "when a session ends", cards, leases[1:], cards),
    )
    figures = []
    for name, words, now, held, before in states:
        news = News()
        if before is not None:
            news.tell(_show(before, leases))
        _, sent = news.tell(_show(now, held))
        size = len(sent.encode()) / 1024
        figures.append(Figure(f"board-sent-{name}", f"Board, sent {words}", "KiB", [size]))
    return figures


def _show(cards: list[DeviceRecord], leases: list[Lease]) -> str:
    page = view_board(LineView(NOW, (), situation(cards, leases)), HOST, LINKS)
    return render("parts/board.html", "en", {"page": page, "site": {"links": LINKS, "xsrf": "x"}})


def _measure_plots(repeats: int) -> list[Figure]:
    """*Your servers* with one GPU that was looked at every two seconds for an hour."""
    with make_folder() as folder:
        _store_board(folder)
        now = [NOW]
        services = make_services(folder, lambda: now[0])
        card = many_cards(CARDS)[1].device.uuid
        with services.ledger.write() as unit:
            looks = ((card, Sample(NOW - timedelta(seconds=2 * n), n % 100, GIB)) for n in range(1800))
            unit.add_samples(HOST, looks)
        (owner,) = {one.owner for one in services.line.view().situation.leases if card in one.devices}
        caller = Caller(owner, owner, frozenset(), frozenset({READ, MANAGE}))
        read, kept = [], []
        for n in range(repeats):
            now[0] = NOW + timedelta(seconds=30 * n + 10)
            seen = services.line.view()
            visit = Visit(services, caller, LINKS, seen=seen)
            read.append(_milliseconds(lambda: load_servers(visit)))  # noqa: B023
            kept.append(median([_milliseconds(lambda: load_servers(visit)) for _ in range(LOOKS)]))  # noqa: B023
        services.ledger.close()
    return [
        Figure(
            "servers-read", "Your servers, one GPU: a look when the plots move on (every 30 s)", "ms", read
        ),
        Figure("servers-kept", "The same: any other look, each 2 s", "ms", kept),
    ]


def _store_board(folder: Path) -> None:
    (folder / "policy.yml").write_text("groups: {default: {}}\n")
    ledger = Ledger(folder / "ledger.db")
    cards = many_cards(CARDS)
    with ledger.write() as unit:
        for one in cards:
            unit.put_device(one)
        for held in many_leases(SESSIONS, cards):
            unit.add_lease(held)
    ledger.close()


def _milliseconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)
