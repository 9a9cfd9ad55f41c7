"""The page of SSH and editors in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.allocator.ssh import SshDesk, Told
from pages.conftest import LOOKS
from pages.reader import Reader
from playwright.sync_api import expect
from support.build import HOST
from support.controller import Office
from support.ssh import KEYS, give_gateway

pytestmark = pytest.mark.browser
Meet = Callable[..., Reader]


@pytest.fixture(autouse=True)
def gateway(office: Office, tmp_path: Path) -> None:
    give_gateway(office, tmp_path)


@LOOKS
def test_the_page(office: Office, reader: Meet, dark: bool, width: int, suffix: str) -> None:
    ada = reader("keys-ada", dark=dark, width=width)
    page = ada.visit("/ssh")
    page.get_by_label("Public key").fill(f"{KEYS[0]} ada@laptop")
    page.get_by_role("button", name="Add this key").click()
    expect(page.get_by_text("The key ada@laptop lets you in from now on.")).to_be_visible()
    (key,) = office.services.keys.list("ada")
    desk = SshDesk(office.services.ledger, HOST, lambda _: None, office.services.clock)
    office.add_lease("ada", "l1", container_id="c1")
    office.add_lease("ada", "l2", devices=(), server="a comparison", container_id="c2")
    entered = desk.enter(key.fingerprint, "127.64.0.0", "192.0.2.17", "g")
    desk.report("g", [Told(entered.session.id, 71_000, 52_000_000, "The person closed it.")])
    office.now[0] += timedelta(minutes=3)
    desk.enter(key.fingerprint, "127.99.0.0", "192.0.2.17", "g")
    page = ada.visit("/ssh")
    expect(page.locator("#refused")).to_contain_text("There is no such server of yours.")
    expect(page.get_by_role("link", name="Open in VS Code gpu", exact=True)).to_be_visible()
    ada.check(f"ssh{suffix}")
