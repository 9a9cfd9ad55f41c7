"""The administrators' board in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from gpuspawner.core.claims import Holder
from gpuspawner.core.model import Health
from pages.conftest import LOOKS, PHONE
from pages.reader import Reader
from playwright.sync_api import expect
from support.board import HOSTILE, crowd
from support.build import GIB, NOW, busy, device, record, sample
from support.controller import Office
from support.idling import watched

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]


def join(office: Office, who: str) -> None:
    answer = office.ask("POST", "/queue", who, {"server": "", "options": {"gpus": 1}})
    assert answer.status_code == 201, answer.text


@pytest.fixture
def lively(office: Office) -> None:
    """Of everything something: eight cards, one with slices, and most that can be wrong."""
    model, uuids = "NVIDIA A100-SXM4-40GB", [f"GPU-{n}1b2c3d4-5e6f" for n in range(6)]
    work = busy(7, memory_used_bytes=23 * GIB, temperature_celsius=61, power_milliwatts=301_400)
    calm = sample(temperature_celsius=34, power_milliwatts=52_000)
    cards = [record(u, device=device(u, model=model, index=n), sample=calm) for n, u in enumerate(uuids)]
    cards[0] = replace(cards[0], sample=work)
    cards[1] = replace(cards[1], sample=work, occupied_by="process 4711 on the host")
    cards[2] = replace(
        cards[2], health=Health.FAULTY, health_reason="XID 79: lost", standing_fault="XID 79: lost"
    )
    cards[3] = replace(cards[3], sample=None)
    slices = [
        record(
            f"MIG-{n}aaa",
            device=device(
                f"MIG-{n}aaa", model=f"{model} MIG 3g.20gb", parent="GPU-9z", memory_bytes=20 * GIB
            ),
        )
        for n in range(2)
    ]
    with office.services.ledger.write() as unit:
        unit.drop_devices(office.services.host, uuids)
        for one in (*cards, *slices):
            unit.put_device(one)
    end = NOW + timedelta(hours=2)
    office.add_lease("ada", "l1", devices=(uuids[0],), server="train", ends_at=end, image="torch:1")
    office.add_lease("bob", "l2", devices=("MIG-0aaa",), image="base:1")
    office.cards.drain(uuids[4], reason="fan is replaced", actor="admin", until=NOW + timedelta(days=1))
    office.cards.pin(uuids[5], Holder("course", "vision"), reason="their grant paid it", actor="admin")
    office.cards.pin(uuids[3], Holder("person", "grace"), reason="deadline", actor="admin")
    office.cards.pin("MIG-1aaa", Holder("person", "grace"), reason="deadline", actor="admin")
    join(office, "ada")
    with office.services.ledger.write() as unit:
        unit.put_watches([watched("l1", timedelta(0)), watched("l2", timedelta(minutes=107))])


@LOOKS
@pytest.mark.usefixtures("lively")
def test_the_board(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/board")
    expect(page.get_by_role("heading", name="GPUs and people")).to_be_visible()
    expect(page.get_by_text("Without a lease: process 4711 on the host")).to_be_visible()
    expect(page.get_by_text("idle since")).to_have_count(1)
    admin.check(f"board{suffix}")


@LOOKS
@pytest.mark.usefixtures("lively")
def test_the_page_of_an_action(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/board/do/drain-now/GPU-01b2c3d4-5e6f")
    expect(page.get_by_text("This stops 1 server of 1 person:")).to_be_visible()
    admin.check(f"board-action{suffix}")


@LOOKS
@pytest.mark.usefixtures("lively")
def test_the_audit_trail(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/audit?kind=device.")
    expect(page.get_by_role("cell", name="device.drained")).to_be_visible()
    admin.check(f"board-audit{suffix}")


@LOOKS
@pytest.mark.usefixtures("lively")
def test_undoing_the_ends_of_sessions(
    office: Office, reader: Meet, dark: bool, width: int, suffix: str
) -> None:
    office.cards.drain("GPU-01b2c3d4-5e6f", reason="fan", actor="root", now=True)
    admin = reader("admin", dark=dark, width=width)
    page = admin.visit("/audit?card=GPU-0&kind=device.")
    page.get_by_role("link", name="Undo").click()
    expect(page.get_by_text("Sessions get back the end that they had")).to_be_visible()
    admin.check(f"board-undo-ends{suffix}")


def test_searching_the_trail_by_keyboard_alone(office: Office, lively: None, reader: Meet) -> None:
    admin = reader("admin")
    page = admin.visit("/audit")
    page.get_by_label("Person").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("GPU-0")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is nothing of this kind in the trail.")).to_be_visible()
    assert "person=ada&card=GPU-0" in page.url
    page.get_by_label("GPU, UUID begins with").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="ticket.filed")).to_be_visible()
    expect(page.get_by_label("Person")).to_have_value("ada")
    admin.check("board-audit-search")


@pytest.mark.parametrize("action", ["keep", "undrain", "clear", "drain"])
def test_other_actions(office: Office, lively: None, reader: Meet, action: str) -> None:
    card = {
        "drain": "GPU-41b2c3d4-5e6f",
        "keep": "GPU-51b2c3d4-5e6f",
        "undrain": "GPU-41b2c3d4-5e6f",
        "clear": "GPU-21b2c3d4-5e6f",
    }
    admin = reader("admin", width=PHONE)
    admin.visit(f"/board/do/{action}/{card[action]}")
    admin.check(f"board-{action}")


def test_drain_and_undo_by_keyboard_alone(office: Office, lively: None, reader: Meet) -> None:
    admin = reader("admin")
    page = admin.visit("/board")
    row = page.locator("#card-GPU-01b2c3d4-5e6f")
    row.get_by_role("link", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("This stops nothing. It is about 1 server of 1 person")).to_be_visible()
    page.get_by_label("For how long from now").focus()
    page.keyboard.type("2 h")
    page.keyboard.press("Tab")
    page.keyboard.type("new fan")
    page.keyboard.press("Enter")
    expect(page.get_by_text("GPU-01b2c3d4 is drained.")).to_be_visible()
    expect(row.get_by_text("new fan")).to_be_visible()
    admin.check("board-drained")
    page.get_by_role("link", name="Undo: Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("The GPU is given out again as soon as it is free and well.")).to_be_visible()
    admin.check("board-undo")
    page.get_by_label("Reason").focus()
    page.keyboard.type("it was the other one")
    page.keyboard.press("Enter")
    expect(row.get_by_text("new fan")).to_have_count(0)


def test_it_changes_by_itself(office: Office, lively: None, reader: Meet) -> None:
    page = reader("admin").visit("/board")
    free = page.locator("#board-totals div", has_text="GPUs free").locator("dd")
    expect(free).to_have_text("3")
    link = page.locator("#card-GPU-31b2c3d4-5e6f").get_by_role("link", name="Drain")
    link.focus()
    page.evaluate("document.getElementById('session-l1').dataset.mark = 'same'")
    office.add_lease("grace", "l3", devices=("GPU-51b2c3d4-5e6f",))
    expect(free).to_have_text("2")
    expect(page.locator("#session-l3")).to_be_visible()
    expect(link).to_be_focused()


def test_a_figure_changes_alone(office: Office, lively: None, reader: Meet) -> None:
    admin = reader("admin")
    page = admin.visit("/board")
    row = page.locator("#card-GPU-01b2c3d4-5e6f")
    expect(row.get_by_text("90 %")).to_be_visible()
    # Once it has been told everything, what is marked here shows what is touched and what is not.
    office.add_lease("grace", "l3", devices=("GPU-51b2c3d4-5e6f",))
    expect(page.locator("#session-l3")).to_be_visible()
    page.evaluate("for (const row of document.querySelectorAll('tr[id]')) row.dataset.mark = 'same'")
    link = row.get_by_role("link", name="Drain")
    link.focus()
    (known,) = [
        one for one in office.line.view().situation.inventory if one.device.uuid == "GPU-01b2c3d4-5e6f"
    ]
    with office.services.ledger.write() as unit:
        unit.put_device(replace(known, sample=sample(utilization_percent=12, temperature_celsius=40)))
    expect(row.get_by_text("12 %")).to_be_visible()
    expect(link).to_be_focused()
    touched = page.evaluate("[...document.querySelectorAll('tr[id]:not([data-mark])')].map((row) => row.id)")
    assert touched == ["card-GPU-01b2c3d4-5e6f"]
    assert admin.errors == []


@pytest.mark.parametrize("width", [1100, PHONE])
def test_many_cards_and_people_with_hostile_names(office: Office, reader: Meet, width: int) -> None:
    crowd(office)
    admin = reader("admin", width=width)
    page = admin.visit("/board")
    expect(page.locator("#board-session-rows tr")).to_have_count(200)
    expect(page.locator("#board-card-rows tr")).to_have_count(64)
    assert HOSTILE[0] in page.locator("#session-lease000").inner_text()
    admin.check(f"board-crowd-{width}")
    page.goto(page.url.replace("/board", "/board/do/announce/gpu1"))
    expect(page.get_by_text("This goes to 200 people:")).to_be_visible()
    admin.check(f"board-announce-{width}")


def test_nothing_is_known_yet(office: Office, reader: Meet) -> None:
    with office.services.ledger.write() as unit:
        unit.drop_devices(office.services.host, [])
    admin = reader("admin", width=PHONE)
    page = admin.visit("/board")
    for text in ("No GPU is known yet.", "Nobody waits.", "Nobody has a session."):
        expect(page.get_by_text(text)).to_be_visible()
    admin.check("board-empty")


def test_the_agent_is_silent(office: Office, reader: Meet) -> None:
    office.now[0] += timedelta(minutes=5)
    admin = reader("admin")
    page = admin.visit("/board")
    expect(page.get_by_text("The agent has reported nothing since")).to_be_visible()
    expect(page.locator("#card-GPU-0").get_by_text("not known")).to_have_count(5)
    admin.check("board-silent")
