"""Pages of a Chinese reader, in a browser: the Hub's that are ours, and two of the controller's."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser.conftest import PATIENCE
from gpuspawner.allocator import Stock
from gpuspawner.core.endings import LastEnd
from gpuspawner.core.errors import InLine, RefusalKind, Refused
from gpuspawner.core.placement import Offer
from gpuspawner.spawner.refusals import CPU_HINT, refuse_for, refuse_in_line
from pages.reader import Reader
from pages.test_queue import join
from pages.test_start import A100, L40S, QUEUE, Form
from playwright.sync_api import Browser, expect
from support.build import GIB, NOW
from support.chinese import find_english
from support.controller import Office
from support.fake_hub import serving
from support.hub_pages import HubPages

pytestmark = pytest.mark.browser
SHORTAGE = "You asked for 1 GPU; 0 of 2 GPUs are free now (2 in use)."
Visit = Callable[[str], Reader]


@pytest.fixture
def form() -> Form:
    form = Form()
    form.language = "zh"
    return form


@pytest.fixture
def hub(form: Form) -> Iterator[HubPages]:
    pages = HubPages(form)
    with serving(pages.app) as pages.url:
        yield pages


@pytest.fixture
def visit(hub: HubPages, browser: Browser, pictures: Path) -> Iterator[Visit]:
    """A Chinese reader comes to one of the Hub's pages."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1100, "height": 600})
    context.set_default_timeout(PATIENCE)

    def come(path: str) -> Reader:
        reader = Reader(hub, context.new_page(), pictures)  # type: ignore[arg-type]
        reader.page.goto(f"{hub.url}{path}")
        return reader

    yield come
    context.close()


def all_text(reader: Reader) -> str:
    """What is on the page, also what is hidden for the moment."""
    return str(reader.page.title() + " " + (reader.page.locator("body").text_content() or ""))


def test_the_start_page(form: Form, visit: Visit) -> None:
    now = datetime.now(UTC)
    text = "Your last server was ended because its memory ran out. It may use 512 MiB."
    form.values["ended"] = LastEnd(NOW, text, "lease1")
    form.offer(
        replace(
            A100,
            until=now + timedelta(hours=2),
            because="somebody who has waited longer is to have these GPUs then",
        ),
        replace(L40S, soonest=now + timedelta(minutes=12), latest=now + timedelta(minutes=36)),
        Offer("NVIDIA T4", 16 * GIB, 2, 2, barred="not allowed to you: group `lab` allows A100, L40S"),
    )
    reader = visit("/hub/spawn")
    expect(reader.page.get_by_role("heading", name="启动服务器")).to_be_visible()
    expect(reader.page.get_by_text("不允许您使用：组 `lab` 只允许 A100, L40S")).to_be_visible()
    said = reader.page.locator("#gpu-start fieldset, .gpu-strip, .alert").all_text_contents()
    assert find_english(" ".join(said)) == []
    reader.check("chinese-start")


def test_nothing_is_known(form: Form, visit: Visit) -> None:
    form.stock = Stock(
        problem="No GPU is known on this server yet. The administrator should check that the GPU agent runs."
    )
    reader = visit("/hub/spawn")
    expect(reader.page.get_by_text("这台服务器上尚无已知的 GPU。")).to_be_visible()


def test_a_place_in_line_and_a_refusal(form: Form, visit: Visit, hub: HubPages) -> None:
    form.values["refused"] = True
    placed = refuse_in_line(InLine(SHORTAGE, ticket_id="t", ahead=1), QUEUE)
    hub.error = placed.jupyterhub_message, placed.jupyterhub_html_message
    reader = visit("/hub/spawn")
    reader.page.locator("#spawn_form [type=submit]").click()
    expect(reader.page.get_by_role("heading", name="您正在排队")).to_be_visible()
    told = reader.page.locator(".gpu-placed")
    expect(told).to_contain_text(
        "您在队列中排第 2 位。您请求 1 个 GPU；2 个 GPU 中现有 0 个空闲（2 个使用中）。"
    )
    expect(told.get_by_role("link", name="查看您的排队位置")).to_have_attribute("href", QUEUE)
    assert find_english(told.text_content() or "") == []
    reader.page.goto(f"{hub.url}/hub/not_running")
    expect(reader.page.get_by_role("button", name="不使用 GPU 启动")).to_be_visible()
    error = refuse_for(Refused(RefusalKind.NOT_NOW, SHORTAGE), hint=CPU_HINT)
    hub.error = error.jupyterhub_message, error.jupyterhub_html_message
    reader.page.reload()
    told = reader.page.locator(".alert-danger[role=status]")
    expect(told).to_contain_text("您请求 1 个 GPU")
    assert find_english(told.text_content() or "") == []
    reader.errors.clear()
    reader.check("chinese-not-running")


def test_a_start_that_goes_on(visit: Visit) -> None:
    reader = visit("/hub/spawn_pending")
    expect(reader.page.get_by_role("heading", name="您的服务器正在启动")).to_be_visible()
    expect(reader.page.locator("#progress-message")).to_have_text("正在创建您的服务器")
    expect(reader.page.get_by_role("button", name="停止服务器")).to_be_visible()
    reader.errors.clear()
    reader.check("chinese-pending")


def test_queue_and_board(office: Office, reader: Callable[..., Reader]) -> None:
    office.fill()
    join(office)
    ada = reader("ada", language="zh-CN")
    page = ada.visit("/queue")
    expect(page.get_by_text("您请求 1 个 GPU")).to_be_visible()
    assert find_english(all_text(ada)) == []
    page.get_by_role("button", name="退出队列").click()
    expect(page.get_by_text("您不在队列中。")).to_be_visible()
    admin = reader("admin", language="zh-CN")
    admin.visit("/board/do/drain/GPU-0")
    admin.page.get_by_label("原因").fill("风扇")
    admin.page.get_by_role("button", name="停用").click()
    expect(admin.page.get_by_role("status").first).to_contain_text("GPU-0 已停用。")
    assert find_english(all_text(admin)) == []
    admin.check("chinese-board")
