"""One card and several people: a place in line that is waited for on a page that nobody loads again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from browser.legibility import faint_texts
from browser.person import SLOW, Person
from gpuspawner.allocator import Cards
from playwright.sync_api import Locator, expect
from support.installation import HOST, Installation, free_port

pytestmark = [pytest.mark.docker, pytest.mark.browser]
Meet = Callable[..., Person]

NOTICES = """
window.told = { asked: 0, shown: [] };
window.Notification = class extends window.Notification {
  constructor(title, options) { super(title, options); told.shown.push(title); }
  static requestPermission() { told.asked += 1; return super.requestPermission(); }
};
"""
"""The browser's own notifications, counted."""


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    controller = {"enabled": True, "port": free_port(), "tick": 0.5}
    with Installation(
        users=("ada", "grace", "edsger"),
        limits={"memory": "1G"},
        layout="1xa100-40gb",
        settings={"controller": controller},
        controller=True,
    ) as installation:
        yield installation


@pytest.fixture(autouse=True)
def everybody_stops(installation: Installation) -> Iterator[None]:
    yield
    if dead := [name for name in installation.names if not installation.alive(name)]:
        installation.start(*dead)
        installation.wait_ready()
    installation.stop_all()


def test_the_second_student_gets_the_card_after_the_first(installation: Installation, person: Meet) -> None:
    grace, ada = person(installation, "grace"), person(installation, "ada")
    ada.page.context.grant_permissions(["notifications"])
    ada.page.add_init_script(NOTICES)
    grace.log_in()
    grace.start("A100")

    ada.log_in()
    ada.choose("A100")
    ada.press_start()
    page = ada.page
    page.get_by_role("link", name="See your place in line").click()
    expect(page.get_by_role("heading", name="Your place in line")).to_be_visible()
    expect(page.get_by_text("Place 1")).to_be_visible()
    assert faint_texts(page) == []
    loads = ada.count_loads()
    assert page.evaluate("window.told") == {"asked": 0, "shown": []}, "nobody is asked before they press"
    page.get_by_role("button", name="Notify me when it is my turn").click()
    expect(page.get_by_role("button", name="Notify me")).to_be_hidden()
    assert page.evaluate("window.told") == {"asked": 1, "shown": []}

    grace.stop_server()
    expect(page.get_by_text("It is your turn.")).to_be_visible(timeout=SLOW)
    assert page.evaluate("window.told") == {"asked": 1, "shown": ["It is your turn."]}
    assert loads == [], "the page told it by itself"
    page.get_by_role("button", name="Open my server").click()
    ada.wait_for_lab()
    ada.open_terminal()
    assert ada.cards_seen() == list(installation.lease_of("ada").devices)
    assert len(installation.lease_of("ada").devices) == 1


def test_a_place_outlives_the_hub_the_controller_and_the_tab(
    installation: Installation, person: Meet
) -> None:
    assert installation.client("grace").spawn({"gpus": 1}).ready
    for name in ("edsger", "ada"):
        assert "in line" in installation.client(name).spawn({"gpus": 1}).message
    asked = installation.ticket_of("ada")
    ada = person(installation, "ada")
    ada.page.clock.install()
    ada.log_in()
    ada.page.get_by_role("link", name="See your place in line").click()
    expect(ada.page.get_by_text("Place 2")).to_be_visible()
    loads, away = ada.count_loads(), ada.page.get_by_text("No news from the server.")

    installation.kill("hub")
    installation.start("hub")
    installation.wait_hub()
    edsger = installation.client("edsger")
    edsger.log_in_to_controller()
    left = edsger.gpu("DELETE", f"/queue/{installation.ticket_of('edsger').id}", json={})
    assert left.status_code == 200, left.text
    expect(ada.page.get_by_text("Place 1")).to_be_visible()

    expect(away).to_be_hidden()
    installation.kill("controller")
    ada.page.clock.fast_forward("00:31")
    expect(away).to_be_visible()
    expect(ada.page.get_by_text("Place 1")).to_be_visible()
    assert faint_texts(ada.page) == []
    installation.start("controller")
    installation.wait_controller()
    expect(away).to_be_hidden()
    expect(ada.page.get_by_text("Place 1")).to_be_visible()
    assert loads == [], "the page came back by itself"

    ada.close_and_open_again()
    expect(ada.page.get_by_text("Place 1")).to_be_visible()
    kept = installation.ticket_of("ada")
    assert (kept.id, kept.queued_at) == (asked.id, asked.queued_at)
    ada.page.get_by_role("button", name="Leave the line").click()
    expect(ada.page.get_by_text("You are not in line.")).to_be_visible()


def test_an_administrator_drains_a_card_and_stops_a_server_and_people_see_it(
    installation: Installation, person: Meet
) -> None:
    ada, admin = person(installation, "ada"), person(installation, "root-of-all")
    ada.log_in()
    ada.start("A100")
    admin.log_in()
    admin.page.get_by_role("link", name="GPUs", exact=True).click()
    admin.page.get_by_role("link", name="GPUs and people").click()
    main = admin.page.get_by_role("main")
    main.get_by_role("link", name=re.compile("^Drain ?: GPU-")).click()
    expect(main).to_contain_text("This stops nothing. It is about 1 server of 1 person, which go on:")
    expect(main.get_by_role("listitem").filter(has_text="ada")).to_be_visible()
    press = main.get_by_role("button", name="Drain")
    press.click()
    expect(main.locator(":invalid").and_(admin.page.get_by_label("Reason"))).to_be_focused()
    admin.page.get_by_label("Reason").fill("a new fan")
    press.click()
    expect(admin.page.get_by_role("status").first).to_contain_text("is drained.")
    expect(card_row(admin)).to_contain_text(re.compile("Drained by root-of-all, since .*: a new fan"))

    sessions = admin.page.get_by_role("table").filter(has_text="ada").last
    sessions.get_by_role("link", name=re.compile("^Stop")).first.click()
    expect(main).to_contain_text("This stops 1 server of 1 person:")
    expect(main).to_contain_text("ada")
    admin.page.get_by_label("Reason").fill("the room is being painted")
    main.get_by_role("button", name=re.compile("Stop")).click()
    expect(admin.page.get_by_role("status").first).to_contain_text("ada")

    ada.visit("/services/gpu/servers")
    expect(ada.page.get_by_text("the room is being painted").first).to_be_visible(timeout=SLOW)
    expect(ada.page.get_by_text("No server of yours runs.")).to_be_visible(timeout=SLOW)
    assert faint_texts(ada.page) == []
    ada.visit("/hub/spawn")
    expect(ada.page.locator("#gpu-summary")).to_have_text("The GPU is not free now")
    expect(ada.says_of("A100")).to_contain_text("Out of service now")
    admin.visit("/services/gpu/audit")
    expect(admin.page.get_by_text("the room is being painted").first).to_be_visible()
    expect(admin.page.get_by_text("a new fan").first).to_be_visible()

    admin.visit("/services/gpu/board")
    main.get_by_role("link", name=re.compile("^Undrain ?: GPU-")).click()
    admin.page.get_by_label("Reason").fill("it turns")
    main.get_by_role("button", name="Undrain").click()
    expect(card_row(admin)).not_to_contain_text("Drained by")
    ada.visit("/hub/spawn")
    expect(ada.says_of("A100")).to_contain_text("1 of 1 free now")


def test_the_start_page_says_when_the_hub_is_away_and_is_true_again_afterwards(
    installation: Installation, person: Meet
) -> None:
    ada = person(installation, "ada")
    ada.page.clock.install()
    ada.log_in()
    ada.choose("A100")
    expect(ada.says_of("A100")).to_contain_text("1 of 1 free now")
    loads, away = ada.count_loads(), ada.page.get_by_text("The hub does not answer")

    installation.kill("hub")
    ada.page.clock.fast_forward("01:16")  # a minute without news, and the look after it
    expect(away).to_be_visible()
    assert faint_texts(ada.page) == []
    Cards(installation.ledger, HOST).drain(installation.uuids[0], reason="meanwhile", actor="root-of-all")
    installation.start("hub")
    installation.wait_hub()
    ada.page.clock.fast_forward("00:16")
    expect(away).to_be_hidden()
    expect(ada.says_of("A100")).to_contain_text("Not free now")
    expect(ada.card("A100")).to_be_checked()
    expect(ada.start_button).to_have_text("Join the line")
    assert loads == [], "the page came back by itself"
    Cards(installation.ledger, HOST).undrain(installation.uuids[0], reason="done", actor="root-of-all")


def card_row(admin: Person) -> Locator:
    """The card on the board."""
    return admin.page.get_by_role("row", name=re.compile("GPU-.*GPU 0"))
