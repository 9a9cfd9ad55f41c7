"""Every page that a person meets on the way to a server: what it says, if it can be used, its picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browser.legibility import faint_texts
from browser.person import SLOW, Person
from gpuspawner.allocator import Stock
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import allow
from gpuspawner.spawner.startform import render_page
from gpuspawner.spawner.startpage import build_page
from playwright.sync_api import Page, Route, expect
from support.docker_faults import START, DockerFaults
from support.images import default_images
from support.installation import CHEAP_SERVER, HOST, Installation, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.browser]

GIB = 1024**3
PHONE = 360
CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.GPUSpawner.poll_interval = 1
"""
LOOKS = pytest.mark.parametrize(
    ("dark", "width", "suffix"),
    [
        pytest.param(False, 1100, "", id="light"),
        pytest.param(True, 1100, "-dark", id="dark"),
        pytest.param(False, PHONE, "-phone", id="phone"),
        pytest.param(True, PHONE, "-phone-dark", id="phone-dark"),
    ],
)
Meet = Callable[..., Person]


@pytest.fixture(scope="module")
def faults() -> Iterator[DockerFaults]:
    with DockerFaults() as faults:
        yield faults


@pytest.fixture(scope="module")
def installation(faults: DockerFaults) -> Iterator[Installation]:
    with Installation(
        config=CONFIG, limits={"memory": "512M"}, docker_hosts={"hub": faults.url}
    ) as installation:
        yield installation


@pytest.fixture(autouse=True)
def everybody_stops(installation: Installation, faults: DockerFaults) -> Iterator[None]:
    yield
    faults.clear()
    installation.stop_all()


@LOOKS
def test_start_page(installation: Installation, person: Meet, dark: bool, width: int, suffix: str) -> None:
    assert installation.client("grace").spawn({"gpus": 1, "model": a100(installation)}).ready
    ada = person(installation, "ada", dark=dark, width=width)
    ada.visit("/hub/login")
    assert ada.overflow() == 0
    assert faint_texts(ada.page) == []
    ada.picture(f"login{suffix}", for_docs=False)
    ada.log_in()
    assert ada.overflow() == 0
    assert faint_texts(ada.page) == []
    ada.card("A100").check()
    assert faint_texts(ada.page) == []
    ada.picture(f"start-page{suffix}")


def test_the_keyboard_alone_starts_a_server(
    installation: Installation, person: Meet, faults: DockerFaults
) -> None:
    ada = person(installation, "ada")
    ada.log_in()
    held = faults.hold(START)
    tab_until(ada.page, "device")
    ada.page.keyboard.press("ArrowRight")
    expect(ada.card("Any GPU")).to_be_checked()
    outline = ada.page.locator(".gpu-choice", has=ada.page.locator(":focus"))
    assert outline.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    ada.picture("start-page-focus", for_docs=False)
    tab_until(ada.page, "image")
    ada.page.keyboard.press("Tab")
    expect(ada.start_button).to_be_focused()
    ada.page.keyboard.press("Enter")
    expect(ada.page.get_by_role("heading", name="Your server is starting")).to_be_visible()
    expect(ada.page.locator("#progress-message")).to_have_text("Creating your server")
    assert faint_texts(ada.page) == []
    ada.picture("starting")
    held.release()
    ada.page.wait_for_url("**/user/ada/**", timeout=SLOW)
    assert installation.cards_seen("ada") == list(installation.lease_of("ada").devices)
    assert len(installation.cards_seen("ada")) == 1


def test_the_last_card_goes_while_the_page_is_read(installation: Installation, person: Meet) -> None:
    ada, barbara = person(installation, "ada"), person(installation, "barbara", dark=True, width=PHONE)
    ada.log_in()
    ada.choose("Any GPU")
    for other in ("grace", "edsger", "donald", "root-of-all"):
        assert installation.client(other).spawn({"gpus": 1}).ready
    ada.press_start()
    reason = ada.page.get_by_text("You asked for 1 GPU; 0 of 4 GPUs are free now (4 in use).")
    expect(reason).to_have_count(1)
    expect(reason).to_be_in_viewport()
    expect(reason).to_contain_text("You can start a server without a GPU now")
    expect(reason).not_to_contain_text("Error")
    expect(ada.card("No GPU")).to_be_checked()
    expect(ada.card("Any GPU")).to_be_disabled()
    assert faint_texts(ada.page) == []
    ada.picture("refused")
    barbara.log_in()
    expect(barbara.page.locator("#gpu-summary")).to_have_text("None of the 4 GPUs is free now")
    expect(barbara.page.get_by_text("You can start a server without a GPU now")).to_have_count(1)
    expect(barbara.card("L40S")).to_be_disabled()
    assert barbara.overflow() == 0
    assert faint_texts(barbara.page) == []
    barbara.picture("none-free-phone-dark")
    ada.visit("/hub/spawn")
    ada.picture("none-free")
    ada.press_start()
    ada.page.wait_for_url("**/user/ada/**", timeout=SLOW)
    assert installation.lease_of("ada").devices == ()


def test_a_start_that_fails_later_tells_why(
    installation: Installation, person: Meet, faults: DockerFaults
) -> None:
    ada = person(installation, "ada")
    ada.log_in()
    held = faults.hold(START)
    ada.choose("Any GPU")
    ada.press_start()
    expect(ada.page.get_by_role("heading", name="Your server is starting")).to_be_visible()
    held.status = 500
    held.release()
    expect(ada.page.get_by_role("heading", name="Your server did not start")).to_be_visible(timeout=SLOW)
    expect(ada.page.get_by_text("is starting")).to_have_count(0)
    expect(ada.page.get_by_role("status")).to_contain_text(re.compile(r"\w+ \w+ .*\."))
    assert faint_texts(ada.page) == []
    expect(ada.page.get_by_role("button", name="Start without a GPU")).to_be_visible()
    ada.picture("did-not-start")
    faults.clear()
    ada.page.get_by_role("button", name="Choose again").click()
    expect(ada.start_button).to_be_visible()


def test_the_stop_button_of_a_start_stops_that_server(
    installation: Installation, person: Meet, faults: DockerFaults
) -> None:
    ada = person(installation, "ada")
    ada.log_in()
    assert installation.client("ada").spawn({"gpus": 0}).ready
    faults.hold(START)
    ada.visit("/hub/spawn/ada/second")
    ada.press_start()
    expect(ada.page.get_by_role("heading", name="Your server is starting")).to_be_visible()
    ada.page.get_by_role("button", name="Stop Server").click()
    expect(ada.page.get_by_role("button", name="Stopping…")).to_be_disabled()
    client = installation.client("ada")
    wait_for(lambda: stops(client.model("second")), "the stop of the second server")
    faults.clear()
    ada.page.wait_for_url("**/hub/home")
    wait_for(lambda: client.model("second") is None, "the end of the second server")
    default = client.model()
    assert default
    assert default["ready"], "the button stopped the default server instead"
    ada.visit("/hub/home")
    assert faint_texts(ada.page) == []
    ada.picture("home", for_docs=False)
    ada.page.set_viewport_size({"width": PHONE, "height": 480})
    assert ada.overflow() == 0
    ada.picture("home-phone", for_docs=False)


def test_memory_that_ran_out_is_told_on_both_pages(installation: Installation, person: Meet) -> None:
    ada = person(installation, "ada")
    ada.log_in()
    ada.choose("L40S")
    ada.press_start()
    ada.page.wait_for_url("**/user/ada/**", timeout=SLOW)
    ada.visit(f"/user/ada/eat?bytes={GIB}")
    wait_for(lambda: installation.client("ada").model() is None, "the end of the server")
    notice = "Your last server was ended because its memory ran out. It may use 512 MiB."

    def is_told() -> bool:
        ada.visit("/user/ada/lab")
        return ada.page.get_by_text(notice).count() == 1

    wait_for(is_told, "the notice on the not-running page")
    assert faint_texts(ada.page) == []
    ada.picture("not-running")
    ada.page.get_by_role("button", name="Start a server").click()
    expect(ada.page.get_by_text(notice)).to_have_count(1)
    assert faint_texts(ada.page) == []
    ada.picture("memory-ran-out")
    ada.page.set_viewport_size({"width": PHONE, "height": 480})
    assert ada.overflow() == 0


def test_cards_of_unknown_state_are_not_called_taken(installation: Installation, person: Meet) -> None:
    ada = person(installation, "ada")
    ada.log_in()
    installation.stop("agent")
    try:
        make_last_report_old(installation)
        ada.visit("/hub/spawn")
        expect(ada.page.locator("#gpu-summary")).to_have_text("No GPU now")
        expect(ada.page.locator(".gpu-now")).to_contain_text("their state is not known")
        expect(ada.page.get_by_text("free now")).to_have_count(0)
        expect(ada.card("No GPU")).to_be_checked()
        assert faint_texts(ada.page) == []
        ada.picture("unknown")
        ada.press_start()
        ada.page.wait_for_url("**/user/ada/**", timeout=SLOW)
    finally:
        installation.start("agent")
        installation.wait_ready()


@pytest.mark.parametrize("width", [1100, PHONE])
def test_many_cards_and_strange_names_do_no_harm(
    installation: Installation, person: Meet, width: int
) -> None:
    script = "<script>document.title = 'taken over'</script>"
    offers = [Offer(f"{'NVIDIAGeForceUltra' * 11}{n}", 96 * GIB, 8, n % 9) for n in range(64)]
    form = render_page(
        build_page(
            Stock((Offer(script, GIB, 2, 2), *offers), Offer("", GIB, 514, 258)),
            allow(4, 4),
            now=datetime.now(UTC),
            problem=script,
            ended=LastEnd(datetime.now(UTC), script, script),
            images=[script, "x" * 200, *default_images()],
            last={"gpus": 2, "model": script},
        )
    )

    def with_this_form(route: Route) -> None:
        response = route.fetch()
        html = re.sub(r"(?s)(id=\"spawn_form\".*?>).*?(<br>)", lambda m: m[1] + form + m[2], response.text())
        route.fulfill(response=response, body=html)

    ada = person(installation, "ada", width=width)
    ada.log_in()
    ada.page.route("**/hub/spawn", with_this_form)
    ada.visit("/hub/spawn")
    expect(ada.page.get_by_role("radio")).to_have_count(67)
    expect(ada.card(script)).to_be_checked()
    expect(ada.page).to_have_title("Start a server")
    expect(ada.page.get_by_label("How many GPUs")).to_have_value("2")
    assert ada.overflow() == 0
    ada.picture(f"strange-{width}", whole=False, for_docs=False)


def a100(installation: Installation) -> str:
    """The model's whole name."""
    return next(card.name for card in installation.simulation.cards if "A100" in card.name)


def stops(model: dict[str, Any] | None) -> bool:
    return model is None or model["pending"] == "stop"


def make_last_report_old(installation: Installation) -> None:
    """As if the agent had been silent for an hour."""
    with installation.ledger.write() as unit:
        for record in unit.inventory(HOST):
            unit.put_device(replace(record, seen_at=record.seen_at - timedelta(hours=1)))


def tab_until(page: Page, name: str) -> None:
    """Press Tab until the field of this name has the focus."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == name:
            return
    raise AssertionError(f"Tab does not come to {name!r}")
