"""The reservations calendar, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.model import LeaseState
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import Page, expect
from support.build import NOW
from support.controller import Office

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]

LECTURE = {
    "title": "Computer vision, Tuesday lab", "course": "vision", "devices": 2, "start": "2030-05-14T14:00",
    "length": "2 h", "zone": "Europe/Zurich", "rule": "FREQ=WEEKLY;COUNT=8", "lead": "15 min",
}  # fmt: skip
NIGHT = {
    "title": "Thesis run", "person": "planner", "devices": 1, "start": "2030-05-17T13:00",
    "length": "20 h", "zone": "Europe/Zurich",
}  # fmt: skip
LONG = {
    "title": "<script>alert(1)</script> שלום 🎓 " + "x" * 62, "group": "students", "devices": 1,
    "pool": "teaching",
    "start": "2030-05-18T16:00", "length": "45 min", "zone": "Europe/Zurich",
}  # fmt: skip


def reserve(office: Office, body: dict[str, Any], who: str = "admin") -> str:
    answer = office.ask("POST", "/reservations", who, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def fill(office: Office) -> str:
    """A week with something in it; the id of the lecture."""
    lecture = reserve(office, LECTURE)
    reserve(office, NIGHT, "planner")
    reserve(office, LONG)
    return lecture


@LOOKS
def test_the_week(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    fill(office)
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit("/reservations")
    expect(page.get_by_label("All times are in")).to_have_value("Europe/Zurich")
    expect(page.get_by_role("link", name="Computer vision, Tuesday lab").first).to_be_visible()
    grace.check(f"reservations{suffix}")


@LOOKS
def test_the_list(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    fill(office)
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/reservations?view=list")
    expect(page.get_by_role("table")).to_be_visible()
    ada.check(f"reservations-list{suffix}")


def test_nothing_is_reserved(reader: Meet) -> None:
    ada = reader("ada")
    expect(ada.visit("/reservations").get_by_text("Nothing reserved")).to_have_count(7)
    ada.check("reservations-empty")


@LOOKS
def test_the_form(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    fill(office)
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit("/reservations/new")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Zurich")
    page.get_by_label("Title").fill("Exam")
    page.get_by_label("How many GPUs").fill("2")
    page.get_by_label("First day").fill("2030-05-21")
    page.get_by_label("Starts at").fill("15:00")
    expect(page.get_by_text("This does not fit.")).to_be_visible()
    page.get_by_text("More: days without it").click()
    grace.check(f"reserve{suffix}")


@LOOKS
def test_one_reservation(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    lecture = fill(office)
    office.now[0] = NOW - timedelta(days=3) + timedelta(minutes=10)
    office.add_lease("ada", state=LeaseState.ACTIVE, reservation=(lecture, NOW - timedelta(days=3)))
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit(f"/reservations/{lecture}")
    expect(page.get_by_text("This cancels 8 dates")).to_be_visible()
    grace.check(f"reservation{suffix}")


@LOOKS
def test_an_address(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    ada = reader("ada", dark=dark, width=width)
    ada.visit("/reservations").get_by_role("button", name="Make a secret address").click()
    expect(ada.page.get_by_label("Address")).to_be_visible()
    ada.check(f"address{suffix}")


@LOOKS
def test_an_import(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    grace = reader("grace", dark=dark, width=width)
    expect(grace.visit("/reservations/import").get_by_label("Time zone")).to_have_value("Europe/Zurich")
    grace.check(f"import{suffix}")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
