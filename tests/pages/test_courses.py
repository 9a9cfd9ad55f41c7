"""The pages of courses, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.core.model import Party
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import expect
from support.build import HOST, NOW, ago, busy, record
from support.controller import Office

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]
VISION = Party(("students",), ("vision",))
END = NOW + timedelta(minutes=30)


@pytest.fixture(autouse=True)
def lesson(office: Office, tmp_path: Path) -> None:
    """Three work, one waits, and the next lesson is booked."""
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("image: base}", "image: base, seats: 20}"))
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-0", sample=busy(1)))
        unit.put_device(record("GPU-1", index=1, sample=None))
    work = {"party": VISION, "ends_at": END, "created_at": ago(1800)}
    office.add_lease("lin", "lins", **work)
    office.add_lease("edsger", "edsgers", devices=("GPU-1",), server="two", **work)
    office.add_lease("zoe", "zoes", devices=(), **{**work, "ends_at": None})
    body = {"server": "", "options": {"gpus": 1, "image": "base"}}
    assert office.ask("POST", "/queue", "ada", body).status_code == 201
    lesson = {
        "title": "Tuesday lab", "course": "vision", "devices": 2,
        "start": "2030-05-17T13:15", "length": "1 h",
    }  # fmt: skip
    assert office.ask("POST", "/reservations", "grace", lesson).status_code == 201


PAGES = {
    "course": "/courses/vision",
    "seat": "/courses/vision/seats/lins",
    "course-extend": "/courses/vision/extend?by=60",
    "course-message": "/courses/vision/message",
}


@LOOKS
@pytest.mark.parametrize("name", PAGES)
def test_the_pages(reader: Meet, name: str, dark: bool, width: int, suffix: str) -> None:
    grace = reader("grace", dark=dark, width=width)
    expect(grace.visit(PAGES[name]).get_by_role("main").get_by_text("lin").first).to_be_visible()
    grace.check(f"{name}{suffix}")


@LOOKS
def test_the_list(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    grace = reader("grace", dark=dark, width=width)
    expect(grace.visit("/courses").get_by_text("3 of 20 seats are taken")).to_be_visible()
    grace.check(f"courses{suffix}")


def test_who_teaches_nothing(reader: Meet) -> None:
    ada = reader("ada")
    expect(ada.visit("/courses").get_by_text("You teach no course.")).to_be_visible()
    ada.check("courses-none")


def test_long_names(office: Office, reader: Meet) -> None:
    for n, name in enumerate(["w" * 64, "مريم" * 16, "🦊" * 40]):
        office.add_lease(
            name, f"n{n}", party=VISION, devices=(), server=name, ends_at=END, end_reason=name * 3
        )
    for path, name in (("", "course"), ("/seats/n0", "seat"), ("/extend", "course-extend")):
        grace = reader("grace", width=360)
        expect(grace.visit(f"/courses/vision{path}").get_by_text("w" * 64).first).to_be_visible()
        grace.check(f"{name}-long-phone")


def test_stopping_a_session_by_keyboard_alone(office: Office, reader: Meet) -> None:
    grace = reader("grace")
    page = grace.visit("/courses/vision")
    page.get_by_role("link", name="Message, extend or stop the session of lin").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Session of lin")).to_be_visible()
    page.get_by_role("button", name="Extend").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("the exam is over")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The session is being stopped")).to_be_visible()
    assert office.hub.calls == [("stop_server", "lin", "")]


def test_extending_all(office: Office, reader: Meet) -> None:
    grace = reader("grace")
    page = grace.visit("/courses/vision")
    page.get_by_role("link", name="Extend all…").click()
    page.get_by_role("link", name="By 1 h").click()
    page.get_by_label("Reason, which the person reads").fill("exam")
    page.get_by_role("button", name="Extend 2 sessions").click()
    expect(page.get_by_text("2 of 2 sessions extended.")).to_be_visible()


def test_a_new_session_appears_by_itself(office: Office, reader: Meet) -> None:
    page = reader("grace").visit("/courses/vision")
    expect(page.get_by_text("3 of 20 seats are taken")).to_be_visible()
    with office.services.ledger.write() as unit:
        assert len(unit.live_leases(HOST)) == 3
    office.add_lease("noether", "new", party=VISION, devices=())
    expect(page.get_by_role("row", name="noether")).to_be_visible()
    expect(page.get_by_text("4 of 20 seats are taken")).to_be_visible()
