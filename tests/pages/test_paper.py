"""Pages on paper: no navigation and no buttons, black on white whatever the theme, and nothing cut off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from browser.legibility import not_for_paper
from gpuspawner.core.model import Party
from pages.reader import Reader
from pages.test_start import Form
from playwright.sync_api import expect
from support.board import HOSTILE
from support.build import GIB, HOST, NOW, ago, record, sample
from support.controller import Office
from support.fake_hub import serving
from support.hub_pages import HubPages
from support.use import use_of

pytestmark = pytest.mark.browser

A4 = 718
"""Pixels that a page has beside its margins."""
LECTURE = {
    "title": "Computer vision, Tuesday lab", "course": "vision", "devices": 1, "start": "2030-05-17T13:15",
    "length": "2 h", "zone": "Europe/Zurich", "rule": "FREQ=WEEKLY;COUNT=8",
}  # fmt: skip
PAGES = {
    "queue": ("bob", "/queue", "Place 1"),
    "servers": ("ada", "/servers", "Please finish by noon."),
    "week": ("grace", "/reservations?zone=Europe/Zurich", "All times are in Europe/Zurich (UTC+2)."),
    "list": ("grace", "/reservations?view=list&zone=Europe/Zurich", "Computer vision, Tuesday lab"),
    "courses": ("grace", "/courses", "vision"),
    "course": ("grace", "/courses/vision", "ada"),
    "board": ("admin", "/board", "the fan is replaced"),
    "drain": ("admin", "/board/do/drain/GPU-0", "What this does"),
    "audit": ("admin", "/audit", "device.drained"),
}


@pytest.fixture
def day(office: Office) -> None:
    """Everybody has something on their page."""
    vision = Party(("students",), ("vision",))
    end, image = NOW + timedelta(hours=1), "registry.example.org/group/pytorch-notebook:2030.05"
    office.add_lease("ada", "l1", party=vision, created_at=ago(4000), ends_at=end, image=image)
    office.add_lease(HOSTILE[2], "l2", devices=(), server="x" * 60, party=vision, image=image)
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-0", sample=sample(utilization_percent=93, memory_used_bytes=23 * GIB)))
        unit.add_samples(HOST, [("GPU-0", one) for one in use_of(60, silent=(35, 26))])
    office.services.sessions.message("l1", "Please finish by noon.", actor="grace")
    office.cards.drain("GPU-1", reason="the fan is replaced", actor="admin")
    assert office.ask("POST", "/queue", "bob", {"server": "", "options": {"gpus": 1}}).status_code == 201
    assert office.ask("POST", "/reservations", "grace", LECTURE).status_code == 201


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.usefixtures("day")
def test_on_paper(reader: Callable[..., Reader], name: str) -> None:
    who, path, says = PAGES[name]
    someone = reader(who, width=A4, dark=True)
    page = someone.visit(path)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    assert not_for_paper(page) == []
    assert someone.overflow() == 0
    expect(page.get_by_text(says).locator("visible=true").first).to_be_visible()
    someone.check(f"{name}-paper")


def test_the_start_page_on_paper(reader: Callable[..., Reader]) -> None:
    hub = HubPages(Form())
    with serving(hub.app) as url:
        ada = reader("ada", width=A4, dark=True)
        ada.page.goto(f"{url}/hub/spawn")
        expect(ada.page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        assert not_for_paper(ada.page) == []
        ada.check("start-paper")
