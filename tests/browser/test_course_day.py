"""A day of a course: from roster and timetable to thirty people at two o'clock, and what it came to."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser.person import SLOW, Person
from gpuspawner.allocator import Line, UsageReports
from gpuspawner.core.model import Lease
from gpuspawner.core.reports import By
from playwright.sync_api import Page, expect
from support.client import Client
from support.coursework import (
    PROBLEM,
    Workplace,
    grading_folder,
    hand_in,
    list_scores,
    make_repository,
)
from support.images import default_images
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for
from support.oidc import Provider, come

pytestmark = [pytest.mark.docker, pytest.mark.browser]
Meet = Callable[..., Person]

SEATS, CLASS, MINUTE = 6, 30, 60
AT_WORK = SEATS - 1
"""Students with a seat; one is the teacher's, whose server has no GPU."""
WAITING = CLASS - AT_WORK
COURSE = next((name for name in default_images() if name.startswith("Course")), "")
OTHER = next(iter(default_images()))
STUDENTS = [f"student{n:02}" for n in range(CLASS)]
ANSWERS = {"student00": "def double(x): return x + x", "student01": "def double(x): return x"}
"""Of two students, the first right, with JupyterLab like the teacher; all others have a cheap server."""
PEOPLE = {
    name: {"preferred_username": name, "groups": ["/uni"]} for name in ("grace", "edsger", *STUDENTS)
} | {"eve": {"preferred_username": "eve", "groups": ["/elsewhere"]}}
CONFIG = f"""
def choose_server(spawner):
    if spawner.user.name not in {("grace", *ANSWERS)!r}:
        spawner.cmd = {CHEAP_SERVER!r}
c.GPUSpawner.pre_spawn_hook = choose_server
"""
GRADING, DATA = grading_folder("vision"), "/courses/vision/data"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(PEOPLE) as provider:
        yield provider


@pytest.fixture(scope="module")
def installation(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    assert COURSE, "needs gpuspawner/course: make images"
    folder = tmp_path_factory.mktemp("day")
    with tempfile.TemporaryDirectory(prefix="gpuspawner-day-") as materials:
        settings = {
            "login": provider.login(folder, title="the University", allow={"groups": ["/uni"]}),
            "demo_users": {},
            "policy": str(write_policy(folder, make_materials(Path(materials)))),
            "courses": {"directory": str(folder / "made")},
            "controller": {"enabled": True, "port": free_port(), "tick": 0.5},
        }
        with Installation(
            layout=f"{SEATS}xa100-40gb", config=CONFIG, settings=settings, controller=True
        ) as installation:
            provider.start(installation.url)
            yield installation


def make_materials(folder: Path) -> Path:
    """What the teacher has prepared: data to read, and notebooks in a git repository."""
    folder.chmod(0o755)
    (folder / "scans.txt").write_text("of the brain")
    make_repository(folder)
    return folder


def write_policy(folder: Path, materials: Path) -> Path:
    vision = {
        "group": "seeing",
        "teachers": ["grace"],
        "image": COURSE,
        "seats": SEATS,
        "hand_in": True,
        "materials": [{"path": str(materials), "target": DATA}],
        "notebooks": {"repository": f"file://{DATA}/notebooks.git", "open": "start.ipynb"},
    }
    rules: dict[str, Any] = {
        "groups": {
            "default": {"gpus_per_person": 1, "gpus_per_server": 1},
            "seeing": None,
            "speaking": None,
        },
        "people": {"grace": {}, "edsger": {}},
        "courses": {
            "vision": vision,
            "speech": {"group": "speaking", "teachers": ["edsger"], "image": OTHER},
        },
    }
    file = folder / "policy.yml"
    file.write_text(yaml.safe_dump(rules))
    return file


def test_a_day_of_a_course(installation: Installation, person: Meet) -> None:
    grace = person(installation, "grace")
    log_in(grace, "grace")
    expect(grace.start_button).to_be_visible()
    enter_roster(grace)
    enter_timetable(grace)  # it begins in three minutes, so that the cards are held by now
    hand_out(installation)
    edsger = come(installation.url, "edsger")
    expect_held(installation, edsger)
    clients = all_come(installation)
    all_start(clients)
    seated = wait_for(lambda: seats(installation), "the seats", 60)
    assert set(ANSWERS) < set(seated)
    for name in seated:
        expect_landed(installation, clients[name])
    open_notebook(person(installation, "student00"))
    with ThreadPoolExecutor(len(ANSWERS)) as pool:
        desks = [Workplace(installation, name) for name in ANSWERS]
        list(pool.map(hand_in, desks, ANSWERS.values()))
    page = open_course(grace)
    expect_all_seen(page, seated)
    tell_all(page, ["grace", *seated])
    for name in seated:
        assert "Save your work" in clients[name].page("/services/gpu/servers").text
    extend(installation, page, seated[-1])
    following = stop(installation, page, seated[-2])
    expect_landed(installation, clients[following])
    expect_refused(edsger, installation, seated[-1])
    expect_stranger_refused(person(installation, "eve"))
    end_lesson(installation)
    taken = edsger.spawn({"gpus": 1, "image": OTHER})
    assert taken.ready, "at four the cards are everybody's"
    grade(installation, grace)
    expect_usage_adds_up(installation, grace)


def log_in(someone: Person, subject: str) -> None:
    page = someone.page
    someone.visit("/hub/")
    page.get_by_role("button", name="Sign in with the University").click()
    page.get_by_placeholder("Enter any login").fill(subject)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


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


def hand_out(installation: Installation) -> None:
    """The teacher has a server without a GPU, and hands an assignment out."""
    started = come(installation.url, "grace").spawn({"gpus": 0, "course": "vision"})
    assert started.ready, started.message
    at_desk = Workplace(installation, "grace")
    at_desk(f"mkdir -p {GRADING}/source/ps1")
    at_desk.write(f"{GRADING}/source/ps1/problem.ipynb", PROBLEM)
    at_desk(f"cd {GRADING} && nbgrader generate_assignment ps1 --create && nbgrader release_assignment ps1")


def grade(installation: Installation, grace: Person) -> None:
    """The lesson is over, and the students' servers are gone; what they handed in is there."""
    at_desk = Workplace(installation, "grace")
    at_desk(f"cd {GRADING} && nbgrader collect ps1 && nbgrader autograde ps1 --create")
    points = json.loads(at_desk(list_scores("vision", "ps1")).splitlines()[-1])
    assert points == {"student00": 2, "student01": 0}
    page = open_course(grace)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Grade hand-ins").click()
    expect(opened.value.get_by_role("row", name="ps1")).to_contain_text(str(len(ANSWERS)), timeout=SLOW)
    opened.value.close()


def expect_held(installation: Installation, stranger: Client) -> None:
    """At five to two no card is left for anybody else, and they read why."""
    refused = stranger.spawn({"gpus": 1, "image": OTHER})
    assert not refused.ready
    assert "reserved for course `vision` (Vision lab)" in refused.message
    leave_line(installation)


def leave_line(installation: Installation) -> None:
    with installation.ledger.read() as unit:
        waiting = unit.live_tickets(HOST)
    for ticket in waiting:
        Line(installation.ledger, HOST).leave(ticket.id, actor=ticket.owner)


def all_come(installation: Installation) -> dict[str, Client]:
    began = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        clients = dict(
            zip(STUDENTS, pool.map(lambda name: come(installation.url, name), STUDENTS), strict=True)
        )
    assert time.monotonic() - began < MINUTE
    return clients


def all_start(clients: dict[str, Client]) -> None:
    """Two ask first, and all others at once."""
    options, others = {"gpus": 1, "notebooks": "vision"}, [name for name in STUDENTS if name not in ANSWERS]
    with ThreadPoolExecutor(6) as pool:
        answers = [
            answer
            for names in (ANSWERS, others)
            for answer in pool.map(lambda name: clients[name].ask(options), names)
        ]
    for client in clients.values():
        client.log_in_to_controller()
    # Who gets a seat is being started; the others are told that they are in line.
    assert {answer.status_code for answer in answers} <= {201, 202, 409}, [a.text for a in answers]


def at_work(installation: Installation) -> list[Lease]:
    """Sessions with a GPU: not the teacher's."""
    return [one for one in installation.leases() if one.devices]


def seats(installation: Installation) -> list[str] | None:
    """Who works, once as many do as the policy says and all others are in line."""
    with installation.ledger.read() as unit:
        waiting = unit.live_tickets(HOST)
    working = [one.owner for one in at_work(installation) if one.container_id]
    return working if (len(working), len(waiting)) == (AT_WORK, WAITING) else None


def expect_landed(installation: Installation, client: Client) -> None:
    """In the image of the course, at its notebooks, with its data to read and one card."""
    started, name = client.wait_ready(), client.user
    assert started.ready, started.message
    there = installation.container(name)
    wanted = installation.engine.inspect_image(default_images()[COURSE])["Id"]
    assert there["Image"] == wanted
    assert any(one.startswith("JUPYTERHUB_DEFAULT_URL=/git-pull?") for one in there["Config"]["Env"])
    seen = Workplace(installation, name)(f"cat {DATA}/scans.txt; ! touch {DATA}/x 2>&1")
    assert seen.startswith("of the brain")
    assert installation.cards_seen(name) == list(installation.lease_of(name).devices)


def open_notebook(student: Person) -> None:
    """Whoever logs in and has a server comes to the course's notebook, in a copy of their own."""
    log_in(student, student.name)
    page = student.page
    page.wait_for_url(f"**/user/{student.name}/lab/tree/vision/start.ipynb**", timeout=SLOW)
    expect(page.get_by_role("tab", name="start.ipynb")).to_be_visible(timeout=SLOW)
    assert Workplace(student.installation, student.name)("ls vision").split() == ["start.ipynb"]


def expect_all_seen(page: Page, seated: list[str]) -> None:
    """The teacher sees who is in, and who waits at which place."""
    expect(page.locator("#seats")).to_have_text(f"{SEATS} of {SEATS} seats are taken.")
    expect(page.locator("#sessions tbody tr")).to_have_count(SEATS)
    for name in seated:
        expect(page.locator("#sessions").get_by_role("rowheader").filter(has_text=name)).to_be_visible()
    places = page.locator("#waiting li")
    expect(places).to_have_count(WAITING)
    assert set(STUDENTS) == {*seated, *(text.strip() for text in places.locator("bdi").all_text_contents())}
    for place, shown in enumerate(places.all_text_contents(), 1):
        assert f"place {place} in line" in shown


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


def stop(installation: Installation, page: Page, name: str) -> str:
    """Their seat goes to the first in line, whose name it returns."""
    before = {lease.id for lease in at_work(installation)}
    page.get_by_role("link", name=f"Message, extend or stop the session of {name}").click()
    page.get_by_label("Reason, which the person reads").last.fill("finished")
    page.get_by_role("button", name="Stop this session").click()
    expect(page.get_by_role("status")).to_contain_text("The session is being stopped")
    wait_for(lambda: not installation.leases(user=name), "the release", 60)
    fresh = lambda: [one for one in at_work(installation) if one.id not in before and one.container_id]  # noqa: E731
    (following,) = wait_for(fresh, "the next in line", 60)
    return following.owner


def expect_refused(edsger: Client, installation: Installation, name: str) -> None:
    """The teacher of another course sees and changes nothing of this one."""
    edsger.log_in_to_controller()
    lease = installation.lease_of(name)
    assert edsger.page("/services/gpu/courses/vision").status_code == 403
    assert edsger.gpu("GET", "/courses/vision/roster").status_code == 403
    assert edsger.gpu("GET", f"/leases/{lease.id}").status_code == 404
    stopped = edsger.gpu("POST", f"/leases/{lease.id}/stop", json={"reason": "mine"})
    assert stopped.status_code == 404
    refused = edsger.spawn({"gpus": 0, "course": "vision"})
    assert not refused.ready
    assert "vision" in refused.message


def expect_stranger_refused(eve: Person) -> None:
    """Somebody whom the provider knows, and who is not of the university."""
    log_in(eve, eve.name)
    expect(eve.page.get_by_role("heading", name="this hub is not open to you")).to_be_visible()


def end_lesson(installation: Installation) -> None:
    """As if it were four: the lesson is over, and so is the time of all warnings."""
    leave_line(installation)
    with installation.ledger.write() as unit:
        (lesson,) = unit.reservations(HOST)
        length = max(datetime.now(UTC) - lesson.start, timedelta(seconds=1))
        first = replace(lesson, start=lesson.start - timedelta(minutes=5), rule="", length=length)
        unit.put_reservation(first)
        for lease in filter(lambda one: one.devices, unit.live_leases(HOST)):
            unit.update_lease(replace(lease, ends_at=lease.created_at, warned=1))
    wait_for(lambda: not at_work(installation), "the cards", 60)


def expect_usage_adds_up(installation: Installation, grace: Person) -> None:
    """The course's report is the sum of what its sessions held, to the second."""
    now = datetime.now(UTC)
    found = UsageReports(installation.ledger, HOST).report(
        By.COURSE, (now - timedelta(days=1)).date(), now.date()
    )
    (row,) = [one for one in found.rows if one.key == "vision"]
    known = [one for one in installation.leases(live=False) if "vision" in one.party.courses]
    held = [one for one in known if one.devices and one.ended_at]
    seconds = sum((one.ended_at - one.created_at).total_seconds() for one in held if one.ended_at)
    assert len(held) > AT_WORK
    assert row.sessions == len(held)
    assert abs(row.held_hours * 3600 - seconds) < len(held)
    page = grace.page
    page.get_by_role("link", name="Reports").click()
    expect(page.get_by_role("row", name="vision").get_by_role("cell").first).to_have_text(str(len(held)))
