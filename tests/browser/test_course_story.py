"""One card, a course that reserves it, strangers who read that, and somebody whose GPU-hours run out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from browser.legibility import faint_texts
from browser.person import SLOW, Person
from gpuspawner.core.claims import Reservation, Usage
from gpuspawner.core.model import Lease, Party
from playwright.sync_api import Page, expect
from support.images import default_images
from support.installation import CHEAP_SERVER, HOST, Installation, free_port, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.browser]
Meet = Callable[..., Person]

ZONE = "Europe/Zurich"
POLICY = f"""
groups:
  default: {{gpus_per_person: 1, gpus_per_server: 1}}
  seeing: {{}}
  speaking: {{}}
people:
  grace: {{}}
  edsger: {{}}
  barbara: {{gpu_hours_per_week: 1}}
courses:
  vision: {{group: seeing, teachers: [grace], image: {next(iter(default_images()))}}}
  speech: {{group: speaking, teachers: [edsger], image: {next(iter(default_images()))}}}
"""
TIMES = {"devices": "1", "date": "2030-05-21", "time": "14:00", "length": "2 h", "zone": ZONE}
SEND = """
([address, fields]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = address;
  const xsrf = document.querySelector("[name=_xsrf]").value;
  for (const [name, value] of Object.entries({ _xsrf: xsrf, ...fields })) {
    const input = document.createElement("input");
    [input.type, input.name, input.value] = ["hidden", name, value];
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}
"""
"""What somebody can do who knows an address, and has a page of ours open."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy: Path = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    controller = {"enabled": True, "port": free_port(), "tick": 0.5}
    with Installation(
        users=("ada", "grace", "edsger", "barbara"),
        layout="1xa100-40gb",
        config=f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}",
        settings={"policy": str(policy), "controller": controller},
        controller=True,
    ) as installation:
        yield installation


@pytest.fixture(autouse=True)
def nothing_stays(installation: Installation) -> Iterator[None]:
    yield
    admin = installation.admin
    admin.log_in_to_controller()
    for one in admin.gpu("GET", "/reservations").json()["reservations"]:
        admin.gpu("DELETE", f"/reservations/{one['id']}", json={"reason": "the test is over"})
    installation.stop_all()


def test_gpu_hours_run_out(installation: Installation, person: Meet) -> None:
    day = datetime.now(UTC).date() - timedelta(days=3)
    use(installation, "barbara", day, hours=0.5)
    barbara = person(installation, "barbara")
    barbara.log_in()
    page, week = barbara.page, barbara.page.locator("#gpu-strip")
    expect(week).to_contain_text("your week: 30 min of 1 h")
    expect(barbara.says_of("A100")).to_contain_text("because your 1 GPU-hours in seven days are used up then")
    barbara.choose("A100")
    barbara.press_start()
    page.wait_for_url("**/user/barbara/**", timeout=SLOW)
    barbara.visit("/services/gpu/servers")
    until = page.get_by_role("definition").filter(has_text="are used up then")
    expect(until).to_be_visible()
    lease = installation.lease_of("barbara")
    assert lease.ends_at
    assert abs(lease.ends_at - lease.created_at - timedelta(minutes=30)) < timedelta(minutes=1)

    loads = barbara.count_loads()
    use(installation, "barbara", day, hours=0.6)
    news = page.get_by_label("New messages")
    expect(news).to_contain_text("Your session ends in 15 min")
    expect(news).to_contain_text("your 1 GPU-hours in seven days are used up then")
    bring_end(installation, lease)
    expect(news).to_contain_text("Your session was ended: your 1 GPU-hours in seven days are used up then")
    expect(page.get_by_text("No server of yours runs.")).to_be_visible()
    assert loads == [], "the page told it by itself"
    assert faint_texts(page) == []
    wait_for(lambda: not installation.leases(), "the release")

    back = day + timedelta(days=7)
    why = (
        "You have used 1.1 h of 1 GPU-hours in the last seven days (person `barbara`); the first hours come "
        f"back on {back:%A} {back.day} {back:%B}, at 0:00 UTC. A server without a GPU can still be started."
    )
    barbara.visit("/hub/spawn")
    expect(week).to_contain_text("your week: 1 h 6 min of 1 h")
    expect(page.locator("#gpu-now")).to_have_text(why)
    expect(barbara.card("A100")).to_be_disabled()
    expect(barbara.says_of("A100")).to_contain_text("Not for you now: the reason is above")
    expect(barbara.card("No GPU")).to_be_checked()
    assert faint_texts(page) == []
    barbara.visit("/hub/spawn?opt-gpus=1")
    expect(page.locator(".spawn-error-msg")).to_contain_text(why)
    assert installation.client("barbara").model() is None


def test_a_teacher_reserves_tuesdays_and_a_stranger_s_session_ends_before(
    installation: Installation, person: Meet
) -> None:
    grace, ada = (person(installation, name, zone=ZONE) for name in ("grace", "ada"))
    tuesday = next_tuesday()
    grace.log_in()
    page = open_calendar(grace)
    page.get_by_role("link", name="Reserve GPUs").click()
    expect(page.get_by_label("Time zone")).to_have_value(ZONE)
    expect(page.get_by_label("For whom")).to_have_value("course:vision")
    page.get_by_label("Title").press_sequentially("Vision lab")
    page.get_by_label("First day").fill(f"{tuesday}")
    page.get_by_label("Starts at").fill("14:00")
    page.get_by_label("How long").fill("2 h")
    page.get_by_label("How often").select_option("Every week")
    page.get_by_label("Times").fill("3")
    page.get_by_text("More: days without it").click()
    page.get_by_label("Kept free before").fill("10 min")
    expect(page.get_by_role("status")).to_contain_text("This fits. It takes place 3 times:")
    expect(page.get_by_role("status")).to_contain_text(f"Tue {tuesday.day} {tuesday:%b}, 14:00 to 16:00")
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_text("Vision lab: reserved.")).to_be_visible()

    ada.log_in()
    shown = ada.says_of("A100")
    expect(shown).to_contain_text("1 of 1 free now, until")
    expect(shown.locator("time")).to_contain_text("13:50")
    expect(shown).to_contain_text("reserved for course `vision` (Vision lab)")
    ada.choose("A100")
    ada.press_start()
    ada.page.wait_for_url("**/user/ada/**", timeout=SLOW)
    ends = datetime(tuesday.year, tuesday.month, tuesday.day, 13, 50, tzinfo=ZoneInfo(ZONE))
    assert installation.lease_of("ada").ends_at == ends


def test_what_is_reserved_now_is_not_for_a_stranger(installation: Installation, person: Meet) -> None:
    reserve(installation)
    grace, ada = (person(installation, name, zone=ZONE) for name in ("grace", "ada"))
    grace.log_in()
    page = open_calendar(grace)
    page.get_by_role("link", name="Change or cancel Vision lab").click()
    page.get_by_role("link", name="Change it").click()
    now = datetime.now(ZoneInfo(ZONE))
    page.get_by_label("First day").fill(f"{now:%Y-%m-%d}")
    page.get_by_label("Starts at").fill(f"{now:%H:%M}")
    expect(page.get_by_role("status")).to_contain_text("This fits. It takes place once:")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("Vision lab: changed.")).to_be_visible()
    made = reservation(installation)

    ada.log_in()
    shown = ada.says_of("A100")
    expect(shown).to_contain_text("Reserved for “Vision lab” until")
    end = (made.start + made.length).astimezone(ZoneInfo(ZONE))
    expect(shown.locator("time")).to_contain_text(f"{end:%H:%M}")
    assert faint_texts(ada.page) == []
    ada.choose("A100")
    expect(ada.start_button).to_have_text("Join the line")
    ada.press_start()
    expect(ada.page.get_by_role("heading", name="You are in line")).to_be_visible()
    ada.page.get_by_role("link", name="See your place in line").click()
    expect(ada.page.get_by_role("main")).to_contain_text("reserved for course `vision` (Vision lab)")
    ada.page.get_by_role("button", name="Leave the line").click()
    expect(ada.page.get_by_text("You are not in line.")).to_be_visible()


def test_the_teacher_of_another_course_cannot_change_it(installation: Installation, person: Meet) -> None:
    reserve(installation)
    before = reservation(installation)
    edsger = person(installation, "edsger", zone=ZONE)
    edsger.log_in()
    page = open_calendar(edsger)
    edsger.visit(f"/services/gpu/reservations/{before.id}?zone={ZONE}")
    expect(page.get_by_role("heading", name="Vision lab")).to_be_visible()
    for label in ("Change it", "Cancel the reservation", "Skip this date"):
        expect(page.get_by_text(label)).to_have_count(0)
    own = f"/services/gpu/reservations/{before.id}"
    edsger.visit(f"{own}/change")
    expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
    send_forbidden(page, f"{own}/cancel", {"reason": "I want it"})
    send_forbidden(page, f"{own}/put", {"title": "Mine", "whom": "course:speech", **TIMES})

    edsger.visit(f"/services/gpu/reservations/new?zone={ZONE}")
    whom = page.get_by_label("For whom")
    expect(whom.get_by_role("option")).to_have_text(["course speech"])
    whom.evaluate("select => { select.options[0].value = 'course:vision'; }")
    page.get_by_label("Title").fill("Mine")
    expect(page.get_by_role("status")).to_contain_text("teach")
    with page.expect_navigation() as answered:
        page.get_by_role("button", name="Reserve").click()
    assert answered.value
    assert answered.value.status == 403
    expect(page.get_by_role("heading", name="Forbidden")).to_be_visible()
    assert faint_texts(page) == []
    assert reservation(installation) == before
    with installation.ledger.read() as unit:
        denied = [one for one in unit.recent_events(100, prefix="access.denied") if one.actor == "edsger"]
    tried = [f"{own}/change", f"{own}/cancel", f"{own}/put", "/services/gpu/reservations/make"]
    assert [one.reason.partition(":")[0] for one in reversed(denied)] == tried


def next_tuesday() -> date:
    """In the course's time zone, and not today."""
    today = datetime.now(ZoneInfo(ZONE)).date()
    return today + timedelta(days=(1 - today.weekday()) % 7 or 7)


def open_calendar(someone: Person) -> Page:
    """By the links of the pages."""
    someone.page.get_by_role("link", name="GPUs", exact=True).click()
    someone.page.get_by_role("link", name="Reservations").click()
    expect(someone.page.get_by_label("All times are in")).to_have_value(ZONE)
    return someone.page


def reserve(installation: Installation) -> None:
    """As grace does it on the page: the card, for her course, two hours of next Tuesday."""
    grace = installation.client("grace")
    grace.log_in_to_controller()
    lab = {
        "title": "Vision lab", "course": "vision", "devices": 1, "zone": ZONE, "length": "2 h",
        "start": f"{next_tuesday()}T14:00",
    }  # fmt: skip
    made = grace.gpu("POST", "/reservations", json=lab)
    assert made.status_code == 201, made.text


def use(installation: Installation, person: str, day: date, *, hours: float) -> None:
    """As if they had held the card for so long then."""
    used = Usage(
        f"old-{hours}", installation.uuids[0], day, person, "", "", "A100", Party(), held_seconds=hours * 3600
    )
    with installation.ledger.write() as unit:
        unit.add_usage(HOST, [used])


def bring_end(installation: Installation, lease: Lease) -> None:
    """As if the time of all warnings had passed."""
    with installation.ledger.write() as unit:
        held = unit.lease(lease.id)
        assert held
        unit.update_lease(replace(held, ends_at=held.created_at, warned=1))


def reservation(installation: Installation) -> Reservation:
    """The only one."""
    with installation.ledger.read() as unit:
        (found,) = unit.reservations(HOST)
    return found


def send_forbidden(page: Page, address: str, fields: dict[str, str]) -> None:
    """Send a form that the page does not offer, and is refused."""
    with page.expect_navigation() as answered:
        page.evaluate(SEND, [address, fields])
    assert answered.value
    assert answered.value.status == 403
