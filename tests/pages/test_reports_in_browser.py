"""The reports, in a browser and on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from gpuspawner.core.claims import TicketState, Usage
from gpuspawner.core.model import Event, Party
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import expect
from support.build import GIB, HOST, NOW, ticket
from support.controller import Office

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]

PEOPLE = {
    "ada": (0.7, 0.9),
    "grace": (0.2, 1.0),
    "edsger.w.dijkstra@university.example": (0.5, 0.4),
    "<script>alert(1)</script>": (0.9, 0.9),
    "عمر الخيام": (0.6, 0.5),
    "🦊🦊": (0.1, 0.8),
    "x" * 64: (0.05, 0.7),
    "mig-only": (None, 1.0),
}
"""What part of the known time they compute in, and what part of the time is known."""


def store_a_week(office: Office) -> None:
    accounts = []
    for n, (who, (active, known)) in enumerate(PEOPLE.items()):
        for back in range(n % 3, 7, 1 + n % 2):
            held = 3600.0 * (22 - 2.5 * n) * (1 + back % 3) / 2
            sampled = 0.0 if active is None else held * known
            accounts.append(
                Usage(
                    f"lease{n}-{back}", f"GPU-{n % 2}", NOW.date() - timedelta(days=back), who, "",
                    "demo/base:1", "A100", Party(("students",), ("vision",) if n % 2 else ()),
                    held, sampled, sampled * (active or 0), None if active is None else (n + 2) * GIB,
                    None if active is None else held * 250,
                )
            )  # fmt: skip
    with office.services.ledger.write() as unit:
        unit.add_usage(HOST, accounts)
        for n, claim in enumerate(["use", "use", "use", "share", "reservation"]):
            told = {"ticket": f"t{n}", "owner": "ada", "waited_seconds": 40.0 + 1700 * n, "claim": claim}
            unit.add_event(Event(NOW, "ticket.offered", "", "controller", data=told))
        for n, kind in enumerate(["not_allowed", "not_allowed", "never_possible", "not_free_now"]):
            unit.add_event(Event(NOW, "lease.refused", "no", f"p{n}", data={"kind": kind}))
        unit.add_ticket(ticket(id="left", state=TicketState.ENDED, state_since=NOW))


@LOOKS
def test_everybody_s(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    store_a_week(office)
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/reports")
    expect(page.get_by_role("table", name="What was held and used")).to_be_visible()
    expect(page.get_by_role("img", name="GPU-hours held, with the active part", exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Turns that came")).to_be_visible()
    admin.check(f"reports{suffix}")


@LOOKS
def test_one_s_own(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    store_a_week(office)
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/reports")
    expect(page.get_by_role("heading", name="Your week")).to_be_visible()
    expect(page.get_by_role("heading", name="Waits")).to_have_count(0)
    ada.check(f"reports-own{suffix}")


def test_choosing_by_keyboard(office: Office, reader: Meet) -> None:
    store_a_week(office)
    admin = reader("admin")
    page = admin.visit("/reports")
    page.get_by_label("A row for each").focus()
    page.keyboard.press("g")
    expect(page.get_by_label("A row for each")).to_have_value("group")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**by=group")
    expect(page.get_by_role("rowheader", name="students")).to_be_visible()
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Last month").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing was used in this period.")).to_be_visible()
    expect(page.get_by_role("link", name="Last month")).to_have_attribute("aria-current", "true")
    admin.check("reports-empty")


def test_saving_a_table(office: Office, reader: Meet) -> None:
    store_a_week(office)
    page = reader("admin").visit("/reports?by=user")
    with page.expect_download() as started:
        page.get_by_role("link", name="Save this table as CSV").click()
    assert started.value.suggested_filename == "usage-by-user-2030-05-11-2030-05-17.csv"
    assert started.value.path().read_text().startswith("user,gpu_model,sessions,held_gpu_hours,")


def test_what_is_wrong_is_said(office: Office, reader: Meet) -> None:
    ada = reader("ada")
    page = ada.visit("/reports?since=2030-05-18&until=2030-05-01&by=image")
    expect(page.get_by_role("alert")).to_contain_text("Exchange them.")
    ada.check("reports-wrong")


def test_many_people_and_a_long_time(office: Office, reader: Meet) -> None:
    one = Usage("l", "GPU-0", NOW.date(), "p", "", "base", "A100", Party(), 7200, 3600, 1800)
    with office.services.ledger.write() as unit:
        unit.add_usage(
            HOST,
            [
                replace(
                    one, lease_id=f"l{n}", owner=f"person{n:03}", held_seconds=36000 - 60.0 * n,
                    day=NOW.date() - timedelta(days=n % 300),
                )
                for n in range(500)
            ],
        )  # fmt: skip
    admin = reader("admin")
    page = admin.visit("/reports?since=2029-06-01&until=2030-05-17")
    expect(page.get_by_text("The 100 rows with the most of 500 are shown.")).to_be_visible()
    admin.check("reports-many")
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("rowheader", name="person499")).to_be_visible()


@pytest.mark.parametrize(("dark", "suffix"), [(False, ""), (True, "-dark")])
def test_on_paper(office: Office, reader: Meet, dark: bool, suffix: str) -> None:
    """No navigation and no forms, and nothing of the tables is cut off at the width of a page."""
    store_a_week(office)
    admin = reader("admin", width=718, dark=dark)
    page = admin.visit("/reports")
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    expect(page.get_by_label("First day")).to_be_hidden()
    expect(page.get_by_role("link", name="Save this table as CSV")).to_be_hidden()
    expect(page.get_by_role("img", name="GPU-hours held, with the active part", exact=True)).to_be_visible()
    assert admin.overflow() == 0
    admin.check(f"reports-paper{suffix}")
