"""The page that compares two images, in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pages.conftest import LOOKS, PHONE
from pages.reader import Reader
from playwright.sync_api import expect
from support.board import HOSTILE
from support.controller import Office
from support.fake_images import TORCH, make_passport, run

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]


@pytest.fixture
def both(office: Office) -> None:
    """Two images of which one is to take the other's place."""
    packages = {f"package-{n}": "1.0" for n in range(30)}
    office.shelf.put(
        make_passport("demo/base:1", image="base", runs={"sm_80": run(), "sm_70": run()}, packages=packages)
    )
    new = run(weights="cd" * 32, losses=[2.5, 1.0, 0.5], rng={"torch": "01" * 32}, step_seconds=0.01)
    office.shelf.put(make_passport(**TORCH, runs={"sm_80": new}))


@LOOKS
@pytest.mark.usefixtures("both")
def test_two_images_side_by_side(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/images/torch")
    page.get_by_role("link", name="What it changes").click()
    expect(page.get_by_role("heading", name="What torch changes")).to_be_visible()
    expect(page.get_by_role("cell", name="differ: torch")).to_be_visible()
    expect(page.get_by_role("cell", name="0.25 at step 2")).to_be_visible()
    expect(page.get_by_text("Only base was tried on sm_70.")).to_be_visible()
    page.get_by_label("Compared with").select_option("base")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("rowheader", name="jupyterlab")).to_be_visible()
    ada.check(f"image-changes{suffix}")


def test_names_that_others_wrote(office: Office, reader: Meet) -> None:
    office.shelf.put(make_passport("demo/base:1", image="base"))
    office.shelf.put(make_passport(packages={name: name for name in HOSTILE}))
    ada = reader("ada", width=PHONE)
    page = ada.visit("/images/torch/changes")
    expect(page.get_by_text(HOSTILE[0]).first).to_be_visible()
    ada.check("image-changes-hostile")
