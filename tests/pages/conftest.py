"""The controller's pages in Debian's chromium, without a Hub: quick, with any state of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.conftest import PATIENCE, browser, pictures
from pages.reader import Reader
from playwright.sync_api import Browser
from support.controller import Office, empty_ledger, office

__all__ = ["browser", "empty_ledger", "office", "pictures"]

PHONE = 360
LOOKS = pytest.mark.parametrize(
    ("dark", "width", "suffix"),
    [
        pytest.param(False, 1100, "", id="light"),
        pytest.param(True, 1100, "-dark", id="dark"),
        pytest.param(False, PHONE, "-phone", id="phone"),
        pytest.param(True, PHONE, "-phone-dark", id="phone-dark"),
    ],
)


@pytest.fixture
def reader(office: Office, browser: Browser, pictures: Path) -> Iterator[Callable[..., Reader]]:
    """Make people who read, each in a browser of their own."""
    contexts = []

    def make(who: str = "ada", *, dark: bool = False, width: int = 1100, language: str = "en") -> Reader:
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 600},
            locale=language,
            timezone_id="Europe/Zurich",
        )
        context.set_default_timeout(PATIENCE)
        context.add_cookies(
            [{"name": "service-gpu", "value": office.cookie(who), "url": f"{office.url}/services/gpu/"}]
        )
        contexts.append(context)
        pictures.mkdir(parents=True, exist_ok=True)
        return Reader(office, context.new_page(), pictures)

    yield make
    for context in contexts:
        context.close()
