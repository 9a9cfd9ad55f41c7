"""The pages of the images in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from gpuspawner.passport.known import KnownImages
from pages.conftest import LOOKS, PHONE
from pages.reader import Reader
from playwright.sync_api import expect
from support.board import HOSTILE
from support.build import device, record
from support.controller import Office
from support.fake_docker import image_id
from support.fake_images import TORCH, make_passport, run

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]
NAMES = ("numpy", "pandas", "jupyterlab", "torch", "torchvision", *(f"p{n}" for n in range(40)))
PACKAGES = dict.fromkeys(NAMES, "1.2.3")


@pytest.fixture
def known(office: Office) -> None:
    """One image with a passport, one without, and cards on which the first does not run."""
    runs = {
        "sm_80": run(card="NVIDIA A100-SXM4-40GB", driver="580.82.07"),
        "cpu-avx2": run(step_seconds=0.0412),
    }
    tests = {"imports": "passed", "jupyterlab starts": "passed", "nccl": "skipped"}
    office.shelf.put(make_passport(**TORCH, runs=runs, tests=tests, packages=PACKAGES))
    frozen = {"torch": date(2031, 7, 31)}
    references = {"base": "demo/base:1", "torch": "demo/torch:1", "PyTorch 3": "demo/new:1"}
    known = KnownImages(references, office.engine, office.shelf, candidates=["PyTorch 3"], frozen=frozen)
    object.__setattr__(office.services, "images", known)
    cards = [
        device("GPU-a", model="NVIDIA A100-SXM4-40GB", compute_capability=(8, 0), driver="580.82.07"),
        device(
            "GPU-h", model="NVIDIA H100 80GB HBM3", compute_capability=(9, 0), driver="580.82.07", index=1
        ),
        device("GPU-p", model="Tesla P100-PCIE-16GB", compute_capability=(6, 0), driver="580.82.07", index=2),
    ]
    with office.services.ledger.write() as unit:
        unit.drop_devices(office.services.host, [one.uuid for one in cards])
        for one in cards:
            unit.put_device(record(device=one))


@LOOKS
@pytest.mark.usefixtures("known")
def test_the_list(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/images")
    expect(page.get_by_role("heading", name="Software images")).to_be_visible()
    expect(page.get_by_text("torch 2.9.1 · CUDA 12.8")).to_be_visible()
    expect(page.get_by_text("Validated on CPU, sm_80")).to_be_visible()
    expect(page.get_by_text("Not validated yet on what is here: sm_60, sm_90")).to_be_visible()
    expect(page.get_by_text("Does not run on Tesla P100-PCIE-16GB")).to_be_visible()
    expect(page.get_by_text("It has no passport")).to_be_visible()
    expect(page.get_by_text("On trial")).to_be_visible()
    expect(page.get_by_text("Can be chosen until")).to_be_visible()
    ada.check(f"images{suffix}")


@LOOKS
@pytest.mark.usefixtures("known")
def test_one_image(reader: Meet, dark: bool, width: int, suffix: str) -> None:
    ada = reader("ada", dark=dark, width=width)
    page = ada.visit("/images/torch")
    expect(page.get_by_text("525.60.13 or newer")).to_be_visible()
    expect(page.get_by_role("cell", name="41.2 ms")).to_be_visible()
    expect(page.get_by_text(image_id("demo/torch:1"))).to_be_visible()
    ada.check(f"image{suffix}")


@pytest.mark.usefixtures("known")
def test_packages_are_looked_for(reader: Meet) -> None:
    page = reader("ada").visit("/images/torch")
    page.get_by_label("Name contains").fill("TORCH")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="2 of 45 Python packages")).to_be_visible()
    expect(page.get_by_text("None has that in its name.")).to_be_visible()
    page.get_by_role("link", name="Show everything").click()
    expect(page.get_by_role("heading", name="45 of 45 Python packages")).to_be_visible()


def test_names_that_others_wrote(office: Office, reader: Meet) -> None:
    packages = {name: name for name in HOSTILE}
    office.shelf.put(make_passport(packages=packages, runs={"sm_80": run(card=HOSTILE[0])}))
    ada = reader("ada", width=PHONE)
    page = ada.visit("/images/torch")
    expect(page.get_by_text(HOSTILE[0]).first).to_be_visible()
    ada.check("image-hostile")
