"""The start page in the Hub's own frame, in a browser and without a Hub; and the other pages of a start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browser.conftest import PATIENCE
from gpuspawner.allocator import OwnPlace, Stock
from gpuspawner.core.budget import Balance
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.errors import InLine
from gpuspawner.core.placement import Offer
from gpuspawner.core.policy import Limit, allow
from gpuspawner.core.prospects import add_up
from gpuspawner.spawner.refusals import CPU_HINT, refuse, refuse_in_line
from gpuspawner.spawner.startform import render_page
from gpuspawner.spawner.startpage import build_page
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import Browser, Page, expect
from support.build import GIB, NOW
from support.fake_hub import serving
from support.fake_images import TORCH, make_passport, run
from support.hub_pages import OTHER_SERVICE, SERVICE, HubPages

pytestmark = pytest.mark.browser
QUEUE = "/services/gpu/queue"
A100 = Offer("NVIDIA A100-SXM4-40GB", 40 * GIB, 4, 1)
L40S = Offer("NVIDIA L40S", 48 * GIB, 2, 0, waits="in use", ahead=3)
Visit = Callable[..., Reader]


class Form:
    """What the start page is made of; tests change it while somebody looks."""

    def __init__(self) -> None:
        self.stock = Stock((A100, L40S), Offer("", 40 * GIB, 6, 1), waiting=3)
        self.allowance = allow(4, 4, longest_session=timedelta(hours=8))
        self.values: dict[str, Any] = {
            "queue_url": QUEUE,
            "last": {},
            "images": ["PyTorch 2.9", "PyTorch 2.7"],
        }
        self.language = "en"

    def __call__(self) -> str:
        page = build_page(self.stock, self.allowance, now=datetime.now(UTC), **self.values)
        return render_page(page, self.language)

    def offer(self, *offers: Offer, **changes: Any) -> None:
        any_gpu = add_up([one for one in offers if not one.sliced and one.barred is None])
        if any_gpu is not None and not any_gpu.free:
            any_gpu = replace(any_gpu, waits="in use")
        self.stock = replace(self.stock, offers=offers, any_gpu=any_gpu, **changes)


@pytest.fixture
def form() -> Form:
    return Form()


@pytest.fixture
def hub(form: Form) -> Iterator[HubPages]:
    pages = HubPages(form)
    with serving(pages.app) as pages.url:
        yield pages


@pytest.fixture
def visit(hub: HubPages, browser: Browser, pictures: Path) -> Iterator[Visit]:
    """Somebody comes to one of the Hub's pages."""
    contexts = []

    def come(
        path: str = "/hub/spawn", *, dark: bool = False, width: int = 1100, clock: bool = False
    ) -> Reader:
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 600},
            timezone_id="Europe/Zurich",
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        pictures.mkdir(parents=True, exist_ok=True)
        reader = Reader(hub, context.new_page(), pictures)  # type: ignore[arg-type]
        if clock:
            reader.page.clock.install()
        reader.page.goto(f"{hub.url}{path}")
        return reader

    yield come
    for context in contexts:
        context.close()


def card(page: Page, title: str) -> Any:
    return page.get_by_role("radio", name=title)


def state(page: Page, title: str) -> Any:
    return page.locator(".gpu-choice", has=card(page, title)).locator(".gpu-state")


def button(page: Page) -> Any:
    return page.locator("#spawn_form [type=submit]")


def look_again(page: Page, hub: HubPages) -> None:
    """Let the time pass after which the page looks again."""
    before = hub.looks
    page.clock.run_for(16_000)
    page.wait_for_function("() => true")
    for _ in range(200):
        if hub.looks > before:
            return
        page.wait_for_timeout(10)
    raise AssertionError("the page did not look again")


@LOOKS
def test_the_page(form: Form, visit: Visit, dark: bool, width: int, suffix: str) -> None:
    now = datetime.now(UTC)
    form.offer(
        replace(
            A100,
            until=now + timedelta(hours=2),
            because="somebody who has waited longer is to have these GPUs then",
        ),
        replace(L40S, soonest=now + timedelta(minutes=12), latest=now + timedelta(minutes=36)),
        Offer(
            "NVIDIA H100 PCIe",
            80 * GIB,
            2,
            2,
            waits="x",
            reserved="CS231: convolutional networks",
            until=now + timedelta(hours=3),
        ),
        Offer("NVIDIA T4", 16 * GIB, 2, 2, barred="not allowed to you: group `vision-lab` allows A100, L40S"),
        Offer("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5 * GIB, 7, 4, sliced=True),
        balance=Balance(Limit(20.0, ("group `lab`",)), 11 + 1 / 3, 9.0, None, None),
        places=(OwnPlace("", 1, None, 2),),
    )
    runs = {"sm_80": run(), "sm_89": run(), "cpu-avx2": run()}
    form.values["passports"] = {"PyTorch 2.9": make_passport(versions=TORCH["versions"], runs=runs)}
    reader = visit(dark=dark, width=width)
    page = reader.page
    card(page, "NVIDIA L40S").check()
    chosen = page.get_by_label("Software image").locator("option:checked")
    expect(chosen).to_have_text("PyTorch 2.9 · torch 2.9.1 · validated on CPU, sm_80, sm_89")
    about = page.locator("#gpu-image-about")
    expect(about).to_have_text("torch 2.9.1 · validated on CPU, sm_80, sm_89")
    # A phone cuts what the closed list shows.
    expect(about).to_be_visible(visible=width < 576)
    expect(button(page)).to_have_text("Join the line")
    expect(card(page, "NVIDIA H100")).to_be_enabled()
    expect(card(page, "NVIDIA T4")).to_be_disabled()
    expect(page.locator("#gpu-strip")).to_contain_text("your week: 11 h 20 min of 20 h")
    reader.check(f"start{suffix}")


@LOOKS
def test_nothing_is_free(form: Form, visit: Visit, dark: bool, width: int, suffix: str) -> None:
    form.offer(replace(A100, free=0, waits="in use"), L40S, waiting=0)
    reader = visit(dark=dark, width=width)
    reader.check(f"start-none-free{suffix}")


def test_no_gpus_and_a_notice(form: Form, visit: Visit) -> None:
    form.stock = Stock(
        problem="No GPU is known on this server yet. The administrator should check that the GPU agent runs."
    )
    text = "Your last server was ended because its memory ran out. It may use 512 MiB."
    form.values["ended"] = LastEnd(NOW, text, "lease1")
    reader = visit()
    expect(button(reader.page)).to_have_text("Start")
    reader.check("start-unknown")


def test_what_the_button_does(form: Form, visit: Visit, hub: HubPages) -> None:
    page = visit().page
    expect(button(page)).to_have_text("Start")
    expect(page.get_by_label("How many GPUs")).to_be_hidden()
    card(page, "NVIDIA A100").check()
    expect(button(page)).to_have_text("Start")
    page.get_by_label("How many GPUs").fill("2")
    expect(button(page)).to_have_text("Join the line")
    card(page, "NVIDIA L40S").check()
    page.get_by_label("How many GPUs").fill("3")
    button(page).click()
    assert hub.posted == [], "there are only two of that model"
    page.get_by_label("How many GPUs").fill("2")
    page.get_by_label("How long do you need it?").select_option("2 h")
    button(page).click()
    expect(page.get_by_role("heading", name="Start a server")).to_be_visible()
    (sent,) = hub.posted
    assert sent == {"device": ["NVIDIA L40S"], "count": ["2"], "session": ["2 h"], "image": ["PyTorch 2.9"]}


def test_it_stays_true_and_keeps_what_was_filled_in(form: Form, visit: Visit, hub: HubPages) -> None:
    page = visit(clock=True).page
    card(page, "NVIDIA A100").check()
    page.get_by_label("Software image").select_option("PyTorch 2.7")
    page.get_by_label("How many GPUs").fill("2")
    count = page.get_by_label("How many GPUs")
    form.offer(replace(A100, free=3), replace(L40S, free=1, waits=None), waiting=0)
    look_again(page, hub)
    expect(state(page, "NVIDIA L40S")).to_have_text("1 of 2 free now")
    expect(page.locator("#gpu-strip")).to_contain_text("4 of 6 GPUs free")
    expect(button(page)).to_have_text("Start")
    expect(card(page, "NVIDIA A100")).to_be_checked()
    expect(count).to_have_value("2")
    expect(count).to_be_focused()
    expect(page.get_by_label("Software image")).to_have_value("PyTorch 2.7")
    form.offer(Offer("NVIDIA T4", 16 * GIB, 1, 1), replace(A100, free=0, waits="in use"))
    card(page, "NVIDIA A100").focus()
    look_again(page, hub)
    expect(card(page, "NVIDIA T4")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(4)
    expect(card(page, "NVIDIA A100")).to_be_checked()
    expect(card(page, "NVIDIA A100")).to_be_focused()
    expect(button(page)).to_have_text("Join the line")


def test_what_was_chosen_and_is_gone(form: Form, visit: Visit, hub: HubPages) -> None:
    form.values["queue_url"] = ""
    reader = visit(clock=True)
    page = reader.page
    card(page, "NVIDIA A100").check()
    form.offer(replace(A100, free=0, waits="in use"), replace(L40S, free=1, waits=None))
    look_again(page, hub)
    expect(button(page)).to_have_text("Choose something else")
    expect(button(page)).to_be_disabled()
    expect(card(page, "NVIDIA A100")).to_be_checked()
    expect(card(page, "NVIDIA A100")).to_be_focused()
    expect(page.get_by_text("What is chosen cannot be had now.")).to_be_visible()
    reader.check("start-gone")
    card(page, "NVIDIA L40S").check()
    expect(card(page, "NVIDIA A100")).to_be_disabled()
    expect(button(page)).to_have_text("Start")
    expect(button(page)).to_be_enabled()


def test_an_image_that_needs_a_newer_card(form: Form, visit: Visit) -> None:
    form.offer(replace(A100, capability=(8, 0)), replace(L40S, free=1, waits=None, capability=(7, 5)))
    form.values["passports"] = {"PyTorch 2.9": make_passport(compute_capabilities=["8.0"])}
    reader = visit()
    page = reader.page
    expect(card(page, "NVIDIA L40S")).to_be_disabled()
    expect(page.get_by_text("The chosen image does not run on this").locator("visible=true")).to_have_count(1)
    page.get_by_label("Software image").select_option("PyTorch 2.7")
    expect(page.get_by_text("The chosen image does not run on this").locator("visible=true")).to_have_count(0)
    card(page, "NVIDIA L40S").check()
    expect(button(page)).to_be_enabled()
    page.get_by_label("Software image").select_option("PyTorch 2.9")
    expect(card(page, "NVIDIA L40S")).to_be_checked()
    expect(button(page)).to_be_disabled()
    reader.check("start-unfit")
    card(page, "Any GPU").check()
    expect(button(page)).to_have_text("Start")
    expect(card(page, "NVIDIA L40S")).to_be_disabled()


def test_a_hub_that_does_not_answer(visit: Visit, hub: HubPages) -> None:
    page = visit(clock=True).page
    old = page.get_by_text("The hub does not answer")
    hub.away = True
    for _ in range(5):
        look_again(page, hub)
    expect(old).to_be_visible()
    expect(state(page, "NVIDIA A100")).to_have_text("1 of 4 free now")
    hub.away = False
    look_again(page, hub)
    expect(old).to_be_hidden()


def test_the_server_starts_while_its_start_page_is_open(visit: Visit, hub: HubPages) -> None:
    page = visit(clock=True).page
    hub.runs = True
    look_again(page, hub)
    expect(page.get_by_text("Your server has been started meanwhile")).to_be_visible()
    page.get_by_role("link", name="Go on from here").click()
    expect(page.get_by_role("heading", name="Your server is starting")).to_be_visible()


def test_the_hub_s_page_of_tokens_is_filled_in_for_ssh(visit: Visit) -> None:
    page = visit("/hub/token#ssh").page
    expect(page.get_by_role("heading", name="A token for SSH through port 443")).to_be_visible()
    expect(page.get_by_label("Permissions")).to_have_value("custom:gpu:ssh")
    expect(page.get_by_label("Token expires in")).to_have_value("2592000")
    expect(page.get_by_label("Note")).to_have_value("SSH through port 443")
    page = visit("/hub/token").page
    expect(page.get_by_role("button", name="Request new API token")).to_be_visible()
    expect(page.get_by_text("A token for SSH through port 443")).to_be_hidden()
    expect(page.get_by_label("Permissions")).to_have_value("")


def test_the_keyboard_alone(visit: Visit, hub: HubPages) -> None:
    page = visit().page
    tab_until(page, "device")
    page.keyboard.press("ArrowRight")
    expect(card(page, "Any GPU")).to_be_checked()
    page.keyboard.press("ArrowRight")
    tab_until(page, "count")
    page.keyboard.type("2")
    tab_until(page, "image")
    page.keyboard.press("Tab")
    expect(button(page)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/spawn?_xsrf=x")
    assert hub.posted[0]["device"] == ["NVIDIA A100-SXM4-40GB"]


@LOOKS
def test_in_line(visit: Visit, hub: HubPages, dark: bool, width: int, suffix: str) -> None:
    form = hub.form
    assert isinstance(form, Form)
    form.values["refused"] = True
    form.stock = replace(form.stock, places=(OwnPlace("", 1, None, 2),))
    placed = refuse_in_line(
        InLine("You asked for 1 GPU; 0 of 2 GPUs are free now (2 in use).", ticket_id="t", ahead=1), QUEUE
    )
    hub.error = placed.jupyterhub_message, placed.jupyterhub_html_message
    reader = visit(dark=dark, width=width)
    page = reader.page
    button(page).click()
    expect(page.get_by_role("heading", name="You are in line")).to_be_visible()
    expect(page.locator(".alert-danger")).to_have_count(1)  # the Hub's empty dialogue
    leads = page.locator(".gpu-placed").get_by_role("link", name="See your place in line")
    expect(leads).to_have_attribute("href", QUEUE)
    expect(leads).to_be_in_viewport()
    reader.errors.clear()  # the status 409 is what is to be shown
    reader.check(f"start-in-line{suffix}")
    page.goto(f"{hub.url}/hub/not_running")
    expect(page.get_by_role("heading", name="You are in line")).to_be_visible()
    expect(page.get_by_role("link", name="See your place in line")).to_be_visible()
    reader.check(f"not-running-in-line{suffix}")


@LOOKS
def test_refused(visit: Visit, hub: HubPages, dark: bool, width: int, suffix: str) -> None:
    form = hub.form
    assert isinstance(form, Form)
    form.values |= {"refused": True, "queue_url": ""}
    form.offer(replace(A100, free=0, waits="in use"))
    error = refuse(
        "You asked for 1 GPU; 0 of 4 GPUs are free now (4 in use).",
        reason="not_free_now",
        status=409,
        hint=CPU_HINT,
    )
    hub.error = error.jupyterhub_message, error.jupyterhub_html_message
    reader = visit(clock=True, dark=dark, width=width)
    page = reader.page
    button(page).click()
    expect(page.locator(".spawn-error-msg.alert-danger")).to_contain_text("You asked for 1 GPU")
    expect(page.get_by_role("heading", name="Start a server")).to_be_visible()
    reader.errors.clear()
    reader.check(f"start-refused{suffix}")
    looks = hub.looks
    page.clock.run_for(60_000)
    assert hub.looks == looks, "a refusal stays until it has been read"
    page.goto(f"{hub.url}/hub/not_running")
    expect(page.get_by_role("heading", name="Your server did not start")).to_be_visible()
    start = page.get_by_role("button", name="Start without a GPU")
    expect(start).to_have_attribute("href", "/hub/spawn/ada/?opt-gpus=0")
    reader.check(f"not-running-refused{suffix}")


def test_text_that_looks_like_a_place_in_line_is_an_error(form: Form, visit: Visit, hub: HubPages) -> None:
    error = refuse('<span class="gpu-in-line">', reason="invalid_request", status=400)
    hub.error = error.jupyterhub_message, error.jupyterhub_html_message
    page = visit().page
    button(page).click()
    expect(page.locator(".spawn-error-msg.alert-danger")).to_have_text('<span class="gpu-in-line">')


@pytest.mark.parametrize("width", [1100, 360])
def test_links_to_the_controller(visit: Visit, hub: HubPages, width: int) -> None:
    hub.services, hub.scopes = [SERVICE, OTHER_SERVICE], ("admin-ui",)
    reader = visit(width=width)
    page = reader.page
    if width < 500:
        page.get_by_role("button", name="Toggle navigation").click()
    expect(page.get_by_role("link", name="Your place in line", exact=True)).to_have_attribute("href", QUEUE)
    expect(page.get_by_role("link", name="GPUs", exact=True)).to_have_attribute("href", "/services/gpu/")
    page.get_by_role("button", name="Services").click()
    expect(page.locator(".dropdown-item")).to_have_text(["docs"])
    reader.check(f"start-navigation-{width}")
    hub.services = [SERVICE]
    page.reload()
    expect(page.get_by_role("button", name="Services")).to_have_count(0)
    hub.services = []
    page.reload()
    expect(page.get_by_role("link", name="GPUs")).to_have_count(0)


@pytest.mark.parametrize("path", ["not_running", "spawn_pending", "login"])
def test_other_pages_of_the_hub(visit: Visit, hub: HubPages, path: str) -> None:
    text = "Your last server was ended because its memory ran out. It may use 512 MiB."
    hub.ended = LastEnd(NOW, text, "lease1")
    reader = visit(f"/hub/{path}")
    reader.errors.clear()
    reader.check(f"hub-{path}")


@pytest.mark.parametrize("width", [1100, 360])
def test_many_models_and_strange_names(form: Form, visit: Visit, width: int) -> None:
    script = "<script>document.title = 'taken over'</script>"
    offers = [Offer(f"{'NVIDIAGeForceUltra' * 11}{n}", 96 * GIB, 8, n % 9) for n in range(64)]
    form.offer(Offer(script, GIB, 2, 2), *offers, places=(OwnPlace(script, 1, script, 1),))
    form.values |= {
        "problem": script,
        "ended": LastEnd(NOW, script, script),
        "images": [script, "x" * 200],
        "last": {"gpus": 2, "model": script},
    }
    reader = visit(width=width)
    expect(reader.page.get_by_role("radio")).to_have_count(67)
    expect(card(reader.page, script)).to_be_checked()
    expect(reader.page).to_have_title("Start a server")
    reader.check(f"start-strange-{width}")


def tab_until(page: Page, name: str) -> None:
    """Press Tab until the field of this name has the focus."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == name:
            return
    raise AssertionError(f"Tab does not come to {name!r}")


def test_which_course_it_is_for(form: Form, visit: Visit) -> None:
    """The course goes with the image, and who has several with one image says which."""
    form.values["courses"] = {"vision": "PyTorch 2.7", "sound": "PyTorch 2.7", "maps": "maps"}
    form.values["notebooks"] = {"sound": "PyTorch 2.7"}
    form.values["images"] = ["PyTorch 2.9", "PyTorch 2.7", "maps"]
    reader = visit()
    page = reader.page
    course, image = page.get_by_label("Course that your server is for"), page.get_by_label("Software image")
    notebooks = page.get_by_label("Notebooks to open")
    expect(course).to_have_value("none")
    image.select_option("maps")
    expect(course).to_have_value("course:maps")
    image.select_option("PyTorch 2.7")
    expect(course).to_have_value("")
    assert course.evaluate("one => !one.checkValidity()"), "nothing is started before it is said"
    notebooks.select_option("sound")
    expect(course).to_have_value("course:sound")
    course.select_option("course:vision")
    expect(notebooks).to_have_value("")
    course.select_option("none")
    expect(image).to_have_value("PyTorch 2.7")
    course.select_option("course:maps")
    expect(image).to_have_value("maps")
    image.select_option("PyTorch 2.9")
    expect(course).to_have_value("none")
