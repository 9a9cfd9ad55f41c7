"""Only what is new is sent to an open page, and it can be put together again."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from gpuspawner.allocator.places import LineView
from gpuspawner.controller.links import Links
from gpuspawner.controller.pages.news import News
from gpuspawner.controller.pages.rendering import render
from gpuspawner.controller.views.board import view_board
from gpuspawner.core.model import DeviceRecord, Lease
from hypothesis import given
from hypothesis import strategies as st
from support.board import many_cards, many_leases, situation
from support.build import GIB, NOW, busy

LINKS = Links("/hub/", "/gpu/")
ROW = re.compile(r'(?s)<tr id="([^"]+)".*?</tr>')


def table(rows: dict[str, str], head: str = "") -> str:
    lines = (f'<tr id="{name}"><td>{text}</td></tr>' for name, text in rows.items())
    return f"<p>{head}</p><table><tr><th>x</th></tr>{''.join(lines)}</table>"


class Page:
    """What a browser makes of it."""

    def __init__(self) -> None:
        self.shown = ""

    def hear(self, event: str, text: str) -> None:
        here = {found[1]: found[0] for found in ROW.finditer(self.shown)}
        if event == "part":
            self.shown = ROW.sub(lambda one: here[one[1]] if " data-same>" in one[0] else one[0], text)
        else:
            fresh = {found[1]: found[0] for found in ROW.finditer(text)}
            assert fresh.keys() <= here.keys()
            self.shown = ROW.sub(lambda one: fresh.get(one[1], one[0]), self.shown)


ROWS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["1", "2", "&lt;tr id"]), max_size=5)


@given(st.lists(st.tuples(ROWS, st.sampled_from(["", "head"])), max_size=8))
def test_whatever_comes_the_page_shows_all_of_it(states: list[tuple[dict[str, str], str]]) -> None:
    news, page = News(), Page()
    for rows, head in states:
        page.hear(*news.tell(table(rows, head)))
        assert page.shown == table(rows, head)


def test_one_row() -> None:
    news = News()
    first = table({"a": "1", "b": "2"})
    assert news.tell(first) == ("part", first), "whoever opens the page is told everything"
    assert news.tell(table({"a": "1", "b": "3"})) == ("rows", '<tr id="b"><td>3</td></tr>')
    assert news.tell(table({"a": "1", "b": "3"})) == ("rows", "")


def test_rows_that_come_and_go() -> None:
    news = News()
    news.tell(table({"a": "1", "b": "2"}))
    event, text = news.tell(table({"b": "2", "c": "3"}))
    assert event == "part"
    assert '<tr id="b" data-same></tr>' in text
    assert '<tr id="c"><td>3</td></tr>' in text


def show(cards: list[DeviceRecord], leases: list[Lease]) -> str:
    page = view_board(LineView(NOW, (), situation(cards, leases)), "gpu1", LINKS)
    return render("parts/board.html", "en", {"page": page, "site": {"links": LINKS, "xsrf": "x"}})


@pytest.mark.parametrize(
    ("busy_cards", "ended", "most_kib"), [(1, 0, 2), (64, 0, 120), (0, 1, 25)], ids=["one", "all", "one ends"]
)
def test_a_figure_costs_a_row(busy_cards: int, ended: int, most_kib: float) -> None:
    """64 cards and 200 sessions, of which a figure of some cards changes, or a session ends."""
    cards, page, news = many_cards(64), Page(), News()
    leases = many_leases(200, cards)
    page.hear(*news.tell(show(cards, leases)))
    assert len(page.shown) > 300_000
    for n in range(busy_cards):
        look = busy(n, memory_used_bytes=7 * GIB, temperature_celsius=70, power_milliwatts=1)
        cards[n] = replace(cards[n], sample=look)
    event, text = news.tell(show(cards, leases[ended:]))
    assert event == ("part" if ended else "rows")
    assert len(text.encode()) < most_kib * 1024
    page.hear(event, text)
    assert page.shown == show(cards, leases[ended:])
