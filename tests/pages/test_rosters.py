"""Who is in a course, and its timetable, in a browser: with nobody, a class, a lecture hall."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.roster import Entry, Kind, Role, Who
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import Page, expect
from support.controller import Office

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]
GRACE = Actor("grace", ActorKind.PERSON)
HERE = "/courses/vision/roster"
LESSONS = """\
BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:lab
SUMMARY:Vision lab
DTSTART;TZID=Europe/Zurich:20300604T140000
DURATION:PT2H
RRULE:FREQ=WEEKLY;COUNT=10
EXDATE;TZID=Europe/Zurich:20300611T140000
END:VEVENT
BEGIN:VEVENT
UID:holiday
SUMMARY:Holiday
DTSTART;VALUE=DATE:20300620
END:VEVENT
END:VCALENDAR
"""


def fill(office: Office, count: int) -> None:
    """So many are in it, of all roles, teams and kinds of names."""
    entries = [Entry(Who(Kind.PERSON, "tim"), Role.ASSISTANT, name="Tim")] if count else []
    entries += [
        Entry(
            Who(Kind.MAIL, f"s{n}@example.org") if n % 5 == 0 else Who(Kind.PERSON, f"student{n}"),
            Role.STUDENT,
            f"team {n % 8}",
            f"Student Number {n}" if n % 3 else "王小明",
        )
        for n in range(count - 1)
    ]
    seen = office.services.rosters.find("vision").version
    office.services.rosters.apply("vision", entries, seen=seen, actor=GRACE)


def send(page: Page, text: str) -> None:
    file = {"name": "roster.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("File (.csv)").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Show what would change").click()


def write(office: Office) -> str:
    """The roster, with somebody new, somebody gone, and another role."""
    text = office.raw("GET", f"{HERE}.csv", "grace").content.decode("utf-8-sig")
    text = text.replace("student1,,,student", "student1,,,assistant").replace(
        "student2,,,student,team 2", "x"
    )
    return re.sub(r"\r\nx[^\r]*", "", text) + "noether,,,student,,Emmy <b>Noether</b>\r\n"


@LOOKS
@pytest.mark.parametrize("count", [0, 30, 200])
def test_the_roster(  # noqa: PLR0917
    office: Office, reader: Meet, count: int, dark: bool, width: int, suffix: str
) -> None:
    fill(office, count)
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit(HERE)
    said = f"{count - 1} students" if count else "Nobody is in the roster."
    expect(page.locator("#count")).to_contain_text(said)
    grace.check(f"roster-{count}{suffix}")
    if count == 30:
        send(page, write(office))
        expect(page.get_by_role("heading", name="1 is removed")).to_be_visible()
        grace.check(f"roster-changes{suffix}")
        page.get_by_role("link", name="Back to the roster of vision").click()
        send(page, "person,role\nada,boss\n=1,student\nada b,student\n")
        expect(page.get_by_role("cell", name="role: write student, assistant or teacher")).to_be_visible()
        grace.check(f"roster-problems{suffix}")
        grace.visit("/courses/vision/end?on=2030-07-31&keep=60")
        expect(page.get_by_text("What happens then")).to_be_visible()
        grace.check(f"course-end{suffix}")


@LOOKS
def test_the_timetable(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    grace = reader("grace", dark=dark, width=width)
    page = grace.visit("/courses/vision/timetable")
    expect(page.locator("#none")).to_be_visible()
    grace.check(f"timetable-none{suffix}")
    file = {"name": "lessons.ics", "mimeType": "text/calendar", "buffer": LESSONS.encode()}
    page.get_by_label("Calendar file (.ics)").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_label("How many GPUs").fill("2")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("row", name="Vision lab")).to_contain_text("Tue, 4 Jun 2030, 14:00")
    grace.check(f"timetable-changes{suffix}")
    page.get_by_role("button", name="Make it so").click()
    expect(page.get_by_role("status")).to_contain_text("1 made, 0 changed, 0 cancelled")
    grace.check(f"timetable{suffix}")
    page.get_by_label("Calendar file (.ics)").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_label("How many GPUs").fill("3")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("#clashes")).to_contain_text("2 GPUs are all that this server has of this kind")
    grace.check(f"timetable-clash{suffix}")


def test_a_roster_is_changed_and_taken_back_by_keyboard_alone(office: Office, reader: Meet) -> None:
    fill(office, 30)
    page = reader("grace").visit("/courses/vision")
    page.get_by_role("link", name="Who is in the course").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Who is in vision")).to_be_visible()
    # Choosing a file is the operating system's own dialog; all the rest is keys.
    file = {"name": "roster.csv", "mimeType": "text/csv", "buffer": write(office).encode()}
    page.get_by_label("File (.csv)").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_label("Encoding").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 is added")).to_be_visible()
    expect(page.get_by_text("Emmy <b>Noether</b>", exact=True)).to_be_visible()
    page.get_by_role("button", name="Change it so").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 added, 1 removed, 1 with another role")
    page.get_by_role("link", name="Take the last change back…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="1 is removed")).to_be_visible()
    page.get_by_role("button", name="Change it so").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The last change was taken back.")
    assert len(office.services.rosters.find("vision").entries) == 30


def test_long_and_strange_names(office: Office, reader: Meet) -> None:
    names = {"w" * 255: "W" * 100, "مريم": "مريم" * 20, "fox": "🦊" * 80}
    entries = [Entry(Who(Kind.PERSON, who), Role.STUDENT, "t" * 32, name) for who, name in names.items()]
    entries.append(Entry(Who(Kind.SUBJECT, "<script>alert(1)</script>"), Role.STUDENT))
    office.services.rosters.apply("vision", entries, seen=0, actor=GRACE)
    grace = reader("grace", width=360)
    expect(grace.visit(HERE).get_by_text("w" * 255).first).to_be_visible()
    grace.check("roster-long-phone")


def test_an_assistant_sees_it_and_changes_nothing(office: Office, reader: Meet) -> None:
    fill(office, 30)
    tim = reader("tim")
    page = tim.visit(HERE)
    expect(page.get_by_role("row", name="student1 student", exact=False).first).to_be_visible()
    expect(page.get_by_role("button", name="Show what would change")).to_have_count(0)
    tim.check("roster-assistant")


def test_in_chinese(office: Office, reader: Meet) -> None:
    fill(office, 30)
    grace = reader("grace", language="zh-CN")
    page = grace.visit(HERE)
    expect(page.get_by_role("heading", name="vision 的名单")).to_be_visible()
    file = {"name": "roster.csv", "mimeType": "text/csv", "buffer": b"person,role\nada,boss\n"}
    page.get_by_label("文件（.csv）").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="显示将有什么变化").click()
    expect(page.get_by_role("cell", name="role: 请写 student、assistant 或 teacher")).to_be_visible()
    grace.check("roster-problems-chinese")
