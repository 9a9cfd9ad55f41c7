"""The reservations calendar, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.model import LeaseState
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import Browser, Page, Route, expect
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


def test_a_text_that_cannot_be_imported_stays(reader: Meet) -> None:
    grace = reader("grace")
    page = grace.visit("/reservations/import?zone=UTC")
    page.get_by_label("or its text").fill("BEGIN:VCALENDAR nonsense")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("This is not a calendar in iCalendar form")).to_be_visible()
    expect(page.get_by_label("or its text")).to_have_value("BEGIN:VCALENDAR nonsense")
    page.reload()
    expect(page.get_by_label("or its text")).to_have_value("")


def test_it_says_while_somebody_types_whether_it_fits(office: Office, reader: Meet) -> None:
    fill(office)
    grace = reader("grace")
    page = grace.visit("/reservations/new?day=2030-05-21")
    answer = page.get_by_role("status")
    expect(answer).to_contain_text("Here you see whether it fits")
    page.get_by_label("Title").press_sequentially("Exam")
    page.get_by_label("How long").fill("soon")
    expect(answer).to_contain_text("write a time with its unit")
    expect(page.get_by_label("How long")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("How long").fill("3 h")
    page.get_by_label("Starts at").fill("14:30")
    expect(answer).to_contain_text("1 of 1 GPUs missing")
    expect(page.get_by_label("How long")).not_to_have_attribute("aria-invalid", "true")
    page.get_by_label("Starts at").fill("16:00")
    expect(page.get_by_label("Times")).to_be_hidden()
    page.get_by_label("How often").select_option("Every week")
    page.get_by_label("Times").fill("9")
    expect(answer).to_contain_text("This fits. It takes place 9 times: Tue 21 May, 16:00 to 19:00")
    grace.check("reserve-fits")
    assert len(office.services.reservations.standing()) == 3
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_text("Exam: reserved.")).to_be_visible()
    expect(page.get_by_role("heading", name="Exam")).to_be_visible()


def test_what_is_typed_before_the_script_is_there_counts(office: Office, reader: Meet) -> None:
    fill(office)
    grace = reader("grace")
    page = grace.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/reservations.js*", hold)
    page.goto(f"{office.url}/services/gpu/reservations/new?day=2030-05-21", wait_until="commit")
    page.get_by_label("Title").fill("Exam")
    page.get_by_label("Starts at").fill("16:00")
    expect(page.get_by_role("status")).to_contain_text("Here you see whether it fits")
    held[0].continue_()
    expect(page.get_by_role("status")).to_contain_text("This fits.")
    expect(page.get_by_label("Title")).to_have_value("Exam")


def test_what_is_typed_stays_when_it_cannot_be_reserved(office: Office, reader: Meet) -> None:
    fill(office)
    page = reader("grace").visit("/reservations/new?day=2030-05-21&zone=Europe/Zurich")
    page.get_by_label("Title").fill("Exam")
    page.get_by_label("Starts at").fill("15:00")
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_role("status")).to_contain_text("This does not fit.")
    expect(page.get_by_label("Title")).to_have_value("Exam")
    expect(page.get_by_label("First day")).to_have_value("2030-05-21")


def test_by_keyboard_alone(office: Office, reader: Meet) -> None:
    page = reader("planner").visit("/reservations/new?day=2030-05-21&zone=Europe/Zurich")
    page.get_by_label("Title").focus()
    page.keyboard.type("Night run")
    expect(page.get_by_role("status")).to_contain_text("This fits.")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Night run: reserved.")).to_be_visible()
    reach(page, "Cancel it", "cancel-reason")
    page.keyboard.type("rain")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Night run: cancelled.")).to_be_visible()
    assert office.services.reservations.standing() == ()


def reach(page: Page, heading: str, field: str) -> None:
    """Go on with the tab key until a field has the focus."""
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == field:
            return
    raise AssertionError(f"{field} cannot be reached by keyboard")


def test_without_a_script(office: Office, browser: Browser) -> None:
    fill(office)
    context = browser.new_context(java_script_enabled=False)
    url = f"{office.url}/services/gpu/"
    context.add_cookies([{"name": "service-gpu", "value": office.cookie("grace"), "url": url}])
    page = context.new_page()
    page.goto(f"{url}reservations")
    expect(page.get_by_label("All times are in")).to_have_value("UTC")
    expect(page.get_by_text("12:00 to 14:00")).to_be_visible()
    page.get_by_label("All times are in").fill("Asia/Tokyo")
    page.get_by_role("button", name="Change the time zone").click()
    expect(page.get_by_text("21:00 to 23:00")).to_be_visible()
    page.get_by_role("link", name="Reserve GPUs").click()
    page.get_by_label("Title").fill("Exam")
    page.get_by_label("First day").fill("2030-05-21")
    page.get_by_label("Starts at").fill("22:00")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("status")).to_contain_text("1 of 1 GPUs missing")
    page.get_by_label("Starts at").fill("23:30")
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_text("Exam: reserved.")).to_be_visible()
    context.close()


def test_downloading_all(office: Office, reader: Meet) -> None:
    fill(office)
    page = reader("ada").visit("/reservations?zone=UTC")
    with page.expect_download() as found:
        page.get_by_role("link", name="Download all as a file").click()
    assert found.value.suggested_filename == "reservations.ics"
    assert "SUMMARY:Thesis run" in found.value.path().read_text()


def test_a_zone_that_was_chosen_is_remembered(reader: Meet) -> None:
    page = reader("ada").visit("/reservations")
    page.get_by_label("All times are in").fill("Asia/Tokyo")
    page.get_by_role("button", name="Change the time zone").click()
    expect(page.get_by_text("(UTC+9)", exact=True)).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Reservations").click()
    expect(page.get_by_label("All times are in")).to_have_value("Asia/Tokyo")


@pytest.mark.parametrize("view", ["week", "list"])
def test_it_changes_by_itself_and_disturbs_nobody(office: Office, reader: Meet, view: str) -> None:
    fill(office)
    soon = reserve(office, {**NIGHT, "title": "Called off", "start": "2030-05-19T18:00", "length": "1 h"})
    ada = reader("ada")
    page = ada.visit(f"/reservations?view={view}&zone=Europe/Zurich")
    shown = page.locator("#gpu-live")
    expect(shown.get_by_role("link", name="Called off")).to_be_visible()
    zone = page.get_by_label("All times are in")
    zone.fill("Asia/To")
    zone.evaluate("one => one.setSelectionRange(2, 4)")
    reserve(office, {**NIGHT, "title": "Come late", "start": "2030-05-19T09:00", "length": "8 h"})
    expect(shown.get_by_role("link", name="Come late").first).to_be_visible()
    expect(zone).to_be_focused()
    expect(zone).to_have_value("Asia/To")
    assert zone.evaluate("one => [one.selectionStart, one.selectionEnd]") == [2, 4]
    link = shown.get_by_role("link", name="Come late").first
    link.focus()
    office.ask("DELETE", f"/reservations/{soon}", "admin", {"reason": "rain"})
    expect(shown.get_by_role("link", name="Called off")).to_have_count(0)
    expect(link).to_be_focused()
    ada.check(f"reservations-live-{view}")


@LOOKS
def test_what_a_change_does(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    lecture = fill(office)
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit(f"/reservations/{lecture}/change?zone=Europe/Zurich")
    page.get_by_label("How many GPUs").fill("1")
    page.get_by_label("Starts at").fill("16:00")
    shown = page.locator("#checked")
    expect(shown.get_by_text("How many GPUs: 2 → 1")).to_be_visible()
    expect(shown.get_by_text("dates it does not take place any more")).to_be_visible()
    grace.check(f"reserve-change{suffix}")
    office.ask("PUT", f"/reservations/{lecture}", "admin", {**LECTURE, "title": "Theirs"})
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("Somebody has changed this reservation since you were shown it.")).to_be_visible()
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("Computer vision, Tuesday lab: changed.")).to_be_visible()


@LOOKS
def test_who_has_an_address(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    for who in ("ada", "grace"):
        office.raw("POST", "/reservations/address", who)
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/reservations/addresses?zone=Europe/Zurich")
    admin.check(f"calendar-addresses{suffix}")
    page.get_by_label("Why").first.fill("left")
    page.get_by_role("button", name="End it ada").click()
    expect(page.get_by_text("The address of the calendar of ada works no more.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="not read yet")).to_have_count(1)
