"""Two students and one card: the second waits on a page that she never loads again, and comes to Lab."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from browser.legibility import faint_texts
from browser.person import SLOW, Person
from playwright.sync_api import expect
from support.installation import Installation, free_port

pytestmark = [pytest.mark.docker, pytest.mark.browser]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    controller = {"enabled": True, "port": free_port(), "tick": 0.5}
    with Installation(
        users=("ada", "grace"),
        limits={"memory": "1G"},
        layout="1xa100-40gb",
        settings={"controller": controller},
        controller=True,
    ) as installation:
        yield installation


def test_the_second_student_gets_the_card_after_the_first(
    installation: Installation, person: Callable[..., Person]
) -> None:
    grace, ada = person(installation, "grace"), person(installation, "ada")
    grace.log_in()
    grace.start("A100")

    ada.log_in()
    ada.choose("A100")
    ada.press_start()
    page = ada.page
    page.get_by_role("link", name="See your place in line").click()
    expect(page.get_by_role("heading", name="Your place in line")).to_be_visible()
    expect(page.get_by_text("Place 1")).to_be_visible()
    assert faint_texts(page) == []
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))

    grace.stop_server()
    expect(page.get_by_text("It is your turn.")).to_be_visible(timeout=SLOW)
    assert loads == [], "the page told it by itself"
    page.get_by_role("button", name="Open my server").click()
    ada.wait_for_lab()
    ada.open_terminal()
    assert ada.cards_seen() == list(installation.lease_of("ada").devices)
    assert len(installation.lease_of("ada").devices) == 1


def test_an_administrator_stops_a_server_and_its_person_reads_why(
    installation: Installation, person: Callable[..., Person]
) -> None:
    installation.stop_all()
    ada, admin = person(installation, "ada"), person(installation, "root-of-all")
    ada.log_in()
    ada.start("A100")
    admin.log_in()
    admin.page.get_by_role("link", name="GPUs", exact=True).click()
    admin.page.get_by_role("link", name="GPUs and people").click()
    sessions = admin.page.get_by_role("table").filter(has_text="ada").last
    sessions.get_by_role("link", name=re.compile("^Stop")).first.click()
    expect(admin.page.get_by_role("main")).to_contain_text("ada")
    admin.page.get_by_label("Reason").fill("the room is being painted")
    admin.page.get_by_role("main").get_by_role("button", name=re.compile("Stop")).click()
    expect(admin.page.get_by_role("status").first).to_contain_text("ada")

    ada.visit("/services/gpu/servers")
    expect(ada.page.get_by_text("the room is being painted").first).to_be_visible(timeout=SLOW)
    assert faint_texts(ada.page) == []
    admin.visit("/services/gpu/audit")
    expect(admin.page.get_by_text("the room is being painted").first).to_be_visible()
