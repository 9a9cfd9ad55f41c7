"""A day of a course: from roster and timetable to thirty people at two o'clock, and what it came to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from browser.person import Person
from gpuspawner.allocator import Line, UsageReports
from gpuspawner.core.reports import By
from playwright.sync_api import Page, expect
from support.client import Client
from support.images import default_images
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for
from support.oidc import Provider

pytestmark = [pytest.mark.docker, pytest.mark.browser]
Meet = Callable[..., Person]

SEATS, CLASS = 3, 30
IMAGE = next(iter(default_images()))
STUDENTS = [f"student{n:02}" for n in range(CLASS)]
PEOPLE = {
    name: {"preferred_username": name, "groups": ["/uni"]}
    for name in ("grace", "edsger", "mallory", *STUDENTS)
}
POLICY = f"""
groups:
  default: {{gpus_per_person: 1, gpus_per_server: 1}}
  seeing: {{}}
  speaking: {{}}
people:
  grace: {{}}
  edsger: {{}}
courses:
  vision: {{group: seeing, teachers: [grace], image: {IMAGE}, seats: {SEATS}}}
  speech: {{group: speaking, teachers: [edsger], image: {IMAGE}}}
"""
ACTION = re.compile(r'action="([^"]+)"')


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(PEOPLE) as provider:
        yield provider


@pytest.fixture(scope="module")
def installation(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("day")
    policy: Path = folder / "policy.yml"
    policy.write_text(POLICY)
    settings = {
        "login": provider.login(folder, title="the University", allow={"groups": ["/uni"]}),
        "demo_users": {},
        "policy": str(policy),
        "controller": {"enabled": True, "port": free_port(), "tick": 0.5},
    }
    with Installation(
        layout=f"{SEATS}xa100-40gb",
        config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}",
        settings=settings,
        controller=True,
    ) as installation:
        provider.start(installation.url)
        yield installation


def test_a_day_of_a_course(installation: Installation, person: Meet) -> None:
    grace = person(installation, "grace")
    log_in(grace, "grace")
    enter_roster(grace)
    enter_timetable(grace)  # it begins in three minutes, so that the cards are held by now
    edsger = come(installation, "edsger")
    expect_held(installation, edsger)
    clients = all_come(installation)
    all_start(clients)
    seated = wait_for(lambda: seats(installation), "the seats", 60)
    page = open_course(grace)
    expect(page.locator("#seats")).to_have_text(f"{SEATS} of {SEATS} seats are taken.")
    expect(page.locator("#sessions tbody tr")).to_have_count(SEATS)
    expect(page.locator("#waiting li")).to_have_count(CLASS - SEATS)
    expect(page.locator("#waiting li").first).to_contain_text("place 1 in line")
    tell_all(page, seated)
    for name in seated:
        assert "Save your work" in clients[name].page("/services/gpu/servers").text
    extend(installation, page, seated[0])
    stop(installation, page, seated[1])
    expect_refused(edsger, installation, seated[0])
    end_lesson(installation)
    taken = edsger.spawn({"gpus": 1, "image": IMAGE})
    assert taken.ready, "at four the cards are everybody's"
    expect_usage_adds_up(installation, grace)


def log_in(someone: Person, subject: str) -> None:
    page = someone.page
    someone.visit("/hub/")
    page.get_by_role("button", name="Sign in with the University").click()
    page.get_by_placeholder("Enter any login").fill(subject)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    expect(someone.start_button).to_be_visible()


def come(installation: Installation, name: str) -> Client:
    """Log in by the provider, as a browser does, without one."""
    client = Client(installation.url, name, "")
    client.session.get(f"{installation.url}/hub/login", timeout=60)
    page = client.session.get(f"{installation.url}/hub/oauth_login", timeout=60)
    for form in ({"prompt": "login", "login": name, "password": "x"}, {"prompt": "consent"}):
        page = client.session.post(find_action(page), data=form, timeout=60)
    assert page.url.startswith(installation.url), page.text[-500:]
    client.session.get(f"{installation.url}/hub/home", timeout=60)
    return client


def find_action(page: requests.Response) -> str:
    found = ACTION.search(page.text)
    assert found, page.text[-500:]
    return requests.compat.urljoin(page.url, found[1])  # type: ignore[attr-defined, no-any-return]


def enter_roster(grace: Person) -> None:
    """Half of them by name, half by what the provider knows them by."""
    rows = [
        f"{name},,student,team {n % 6}" if n % 2 else f",{name},student,team {n % 6}"
        for n, name in enumerate(STUDENTS)
    ]
    text = "\n".join(["person,subject,role,team", *rows]) + "\n"
    page = open_course(grace)
    page.get_by_role("link", name="Who is in the course").click()
    give(page, "File (.csv)", "roster.csv", text)
    expect(page.get_by_role("heading", name=f"{CLASS} are added")).to_be_visible()
    page.get_by_role("button", name="Change it so").click()
    expect(page.locator("#count")).to_have_text(f"{CLASS} students")


def enter_timetable(grace: Person) -> None:
    start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=3)
    text = (
        "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:lab\nSUMMARY:Vision lab\n"
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}\nDURATION:PT2H\nRRULE:FREQ=WEEKLY;COUNT=10\n"
        "END:VEVENT\nEND:VCALENDAR\n"
    )
    page = open_course(grace)
    page.get_by_role("link", name="Timetable").click()
    expect(page.get_by_label("How many GPUs")).to_have_value(str(SEATS))
    give(page, "Calendar file (.ics)", "lessons.ics", text)
    expect(page.get_by_role("row", name="Vision lab")).to_contain_text(f"{SEATS} GPUs")
    page.get_by_role("button", name="Make it so").click()
    expect(page.locator("#lessons")).to_contain_text("Vision lab")


def give(page: Page, label: str, name: str, text: str) -> None:
    file = {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    page.get_by_label(label).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Show what would change").click()


def open_course(grace: Person) -> Page:
    grace.visit("/services/gpu/courses/vision")
    expect(grace.page.get_by_role("heading", name="vision")).to_be_visible()
    return grace.page


def expect_held(installation: Installation, stranger: Client) -> None:
    """At five to two no card is left for anybody else, and they read why."""
    refused = stranger.spawn({"gpus": 1, "image": IMAGE})
    assert not refused.ready
    assert "reserved for course `vision` (Vision lab)" in refused.message
    leave_line(installation)


def leave_line(installation: Installation) -> None:
    with installation.ledger.read() as unit:
        waiting = unit.live_tickets(HOST)
    for ticket in waiting:
        Line(installation.ledger, HOST).leave(ticket.id, actor=ticket.owner)


def all_come(installation: Installation) -> dict[str, Client]:
    with ThreadPoolExecutor(6) as pool:
        return dict(zip(STUDENTS, pool.map(lambda name: come(installation, name), STUDENTS), strict=True))


def all_start(clients: dict[str, Client]) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: one.ask({"gpus": 1, "image": IMAGE}), clients.values()))
    for client in clients.values():
        client.log_in_to_controller()
    # Who gets a seat is being started; the others are told that they are in line.
    assert {answer.status_code for answer in answers} <= {201, 202, 409}, [a.text for a in answers]


def seats(installation: Installation) -> list[str] | None:
    """Who works, once as many do as the policy says and all others are in line."""
    with installation.ledger.read() as unit:
        waiting = unit.live_tickets(HOST)
    working = [one.owner for one in installation.leases() if one.container_id]
    return working if (len(working), len(waiting)) == (SEATS, CLASS - SEATS) else None


def tell_all(page: Page, people: list[str]) -> None:
    page.get_by_role("link", name="Message all…").click()
    page.get_by_label("Message").fill("Save your work: we end at four.")
    page.get_by_role("button", name=f"Send to {len(people)} people").click()
    expect(page.get_by_role("status")).to_contain_text(f"{len(people)} of {len(people)} people told.")


def extend(installation: Installation, page: Page, name: str) -> None:
    before = installation.lease_of(name).ends_at
    page.get_by_role("link", name=f"Message, extend or stop the session of {name}").click()
    page.get_by_label("Reason, which the person reads").first.fill("still busy")
    page.get_by_role("button", name="Extend").click()
    expect(page.get_by_role("status")).to_contain_text("The session is extended.")
    after = installation.lease_of(name).ends_at
    assert before
    assert after
    assert after > before
    page.get_by_role("link", name="Back to the course vision").click()


def stop(installation: Installation, page: Page, name: str) -> None:
    """Their seat goes to the first in line."""
    page.get_by_role("link", name=f"Message, extend or stop the session of {name}").click()
    page.get_by_label("Reason, which the person reads").last.fill("finished")
    page.get_by_role("button", name="Stop this session").click()
    expect(page.get_by_role("status")).to_contain_text("The session is being stopped")
    wait_for(lambda: not installation.leases(user=name), "the release")
    wait_for(lambda: len(installation.leases()) == SEATS, "the next in line")


def expect_refused(edsger: Client, installation: Installation, name: str) -> None:
    """The teacher of another course sees and changes nothing of this one."""
    edsger.log_in_to_controller()
    lease = installation.lease_of(name)
    assert edsger.page("/services/gpu/courses/vision").status_code == 403
    assert edsger.gpu("GET", "/courses/vision/roster").status_code == 403
    assert edsger.gpu("GET", f"/leases/{lease.id}").status_code == 404
    stopped = edsger.gpu("POST", f"/leases/{lease.id}/stop", json={"reason": "mine"})
    assert stopped.status_code == 404


def end_lesson(installation: Installation) -> None:
    """As if it were four: the lesson is over, and so is the time of all warnings."""
    leave_line(installation)
    with installation.ledger.write() as unit:
        (lesson,) = unit.reservations(HOST)
        length = max(datetime.now(UTC) - lesson.start, timedelta(seconds=1))
        first = replace(lesson, start=lesson.start - timedelta(minutes=5), rule="", length=length)
        unit.put_reservation(first)
        for lease in unit.live_leases(HOST):
            unit.update_lease(replace(lease, ends_at=lease.created_at, warned=1))
    wait_for(lambda: not installation.leases(), "the cards", 60)


def expect_usage_adds_up(installation: Installation, grace: Person) -> None:
    """The course's report is the sum of what its sessions held, to the second."""
    now = datetime.now(UTC)
    found = UsageReports(installation.ledger, HOST).report(
        By.COURSE, (now - timedelta(days=1)).date(), now.date()
    )
    (row,) = [one for one in found.rows if one.key == "vision"]
    held = [one for one in installation.leases(live=False) if "vision" in one.party.courses and one.ended_at]
    seconds = sum((one.ended_at - one.created_at).total_seconds() for one in held if one.ended_at)
    assert len(held) >= SEATS
    assert abs(row.held_hours * 3600 - seconds) < len(held)
    page = grace.page
    page.get_by_role("link", name="Reports").click()
    expect(page.get_by_role("row", name="vision")).to_be_visible()
