"""One's servers, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.core.model import LeaseState, Party
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import expect
from support.build import GIB, HOST, NOW, ago, record, sample
from support.controller import POLICY, Office
from support.idling import watched
from support.use import use_of

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]


@pytest.fixture
def idle_is_stopped(office: Office, tmp_path: Path) -> None:
    """What the policy says of idle sessions; the office reads it from there."""
    (tmp_path / "policy.yml").write_text(f"{POLICY}\nidle_sessions: stop\n")


def work(office: Office, **more: object) -> None:
    """Ada has worked on one GPU for an hour, in which the sensor was silent for a while."""
    office.add_lease(
        **{
            "created_at": ago(4000),
            "image": "quay.io/demo/torch:2.9",
            "party": Party(("students",), ("vision",)),
            "ends_at": NOW + timedelta(hours=1),
            "end_reason": "the longest session is 2 h (group `students`)",
        }
        | more
    )
    busy = sample(utilization_percent=93, memory_used_bytes=23 * GIB)
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-0", sample=busy))
        unit.add_samples(HOST, [("GPU-0", one) for one in use_of(60, silent=(35, 26))])
        unit.put_watches([watched("lease1", timedelta(minutes=107))])


@LOOKS
def test_the_page(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    work(office)
    office.services.sessions.message("lease1", "Please finish by noon.\nThe room is needed.", actor="grace")
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/servers")
    expect(page.get_by_role("heading", name="Your default server")).to_be_visible()
    expect(page.get_by_role("img", name="Utilisation in %, mean of 30 s")).to_be_visible()
    ada.check(f"servers{suffix}")


@LOOKS
@pytest.mark.usefixtures("idle_is_stopped")
def test_open_details(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    work(office)
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/servers")
    expect(page.get_by_text("If nothing changes, it is stopped at")).to_be_visible()
    page.get_by_text("What was seen").click()
    page.get_by_text("The values as a table").click()
    page.get_by_text("Stop now…").click()
    expect(page.get_by_role("button", name="Stop this server")).to_be_visible()
    ada.check(f"servers-open{suffix}")


def test_long_names(office: Office, reader: Meet) -> None:
    name = "w" * 64
    work(office, server=name, image="registry.example.org/" + "i" * 120, end_reason="x" * 300)
    office.services.sessions.message("lease1", "m" * 500, actor="مريم" * 16)
    ada = reader("ada", width=360)
    expect(ada.visit("/servers").get_by_role("heading", name=name)).to_be_visible()
    ada.check("servers-long-phone")


def test_a_silent_sensor(office: Office, reader: Meet) -> None:
    work(office, devices=("GPU-1",))
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-1", index=1, sample=None))
    ada = reader("ada")
    page = ada.visit("/servers")
    expect(page.get_by_text("Nothing is known: the sensor said nothing").first).to_be_visible()
    expect(page.get_by_text("utilisation not known")).to_be_visible()
    ada.check("servers-silent")


def test_nothing_runs(office: Office, reader: Meet) -> None:
    office.add_lease(
        state=LeaseState.RELEASED, container_id="c1", ended_at=ago(600), reason="its longest time was over"
    )
    ada = reader("ada")
    page = ada.visit("/servers")
    expect(page.get_by_text("its longest time was over")).to_be_visible()
    expect(page.get_by_role("link", name="Start a server")).to_be_visible()
    ada.check("servers-none")


@pytest.mark.usefixtures("idle_is_stopped")
def test_keeping_by_keyboard_alone(office: Office, reader: Meet) -> None:
    work(office)
    ada = reader("ada")
    page = ada.visit("/servers")
    page.get_by_role("button", name="Keep it for 1 h").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Your session is kept for 1 h")
    expect(page.get_by_role("button", name="Keep it for 1 h")).to_be_disabled()
    page.get_by_role("button", name="Finish and release").press("Enter")
    expect(page.get_by_role("button", name="Do not stop it by itself")).to_be_visible()
    ada.check("servers-finish")


def test_stopping_by_keyboard_alone(office: Office, reader: Meet) -> None:
    work(office)
    ada = reader("ada")
    page = ada.visit("/servers")
    page.get_by_role("link", name="Open", exact=True).focus()
    page.keyboard.press("Tab")  # what cannot be pressed is passed over: this is Finish and release
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("going home")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your server is being stopped.")).to_be_visible()
    assert office.hub.calls == [("stop_server", "ada", "")]
    assert [event.reason for event in office.trail("session")] == ["going home"]


def test_extending_by_keyboard_alone(office: Office, reader: Meet, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("students: {}", "students: {extension: 2 h}"))
    work(office)
    ada = reader("ada")
    page = ada.visit("/servers")
    button = page.get_by_role("button", name="Extend by 1 h")
    expect(page.get_by_text("If you extend it, it ends at")).to_be_visible()
    page.get_by_role("link", name="Open", exact=True).focus()
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    office.services.sessions.message("lease1", "Hello!", actor="grace")
    expect(page.get_by_text("Hello!")).to_be_visible()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your session goes on until 2030-05-17 14:00 UTC.")).to_be_visible()
    ada.check("servers-extended")
    answer = office.ask("POST", "/queue", "bob", {"server": "", "options": {"gpus": 2}})
    assert answer.status_code == 201, answer.text
    expect(page.get_by_text("1 person waits for what it holds.")).to_be_visible()
    expect(page.get_by_role("button", name="Extend by 1 h")).to_be_disabled()
    ada.check("servers-extend-not")


def test_what_is_typed_outlives_news(office: Office, reader: Meet) -> None:
    work(office)
    ada = reader("ada")
    page = ada.visit("/servers")
    page.get_by_text("Stop now…").click()
    page.get_by_label("Reason").fill("going home")
    office.services.sessions.message("lease1", "Hello!", actor="grace")
    expect(page.get_by_text("Hello!")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("going home")
    expect(page.get_by_label("Reason")).to_be_focused()
