"""Browser tests: people at a real Hub in Debian's chromium, and the pictures of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser.person import OWN_PICTURES, Person
from playwright.sync_api import Browser, expect, sync_playwright
from support.installation import CHECKOUT, Installation
from support.reporting import invariants, pytest_runtest_makereport

__all__ = ["invariants", "pytest_runtest_makereport"]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
KEPT = CHECKOUT / "docs" / "pictures"
PATIENCE = 30_000
"""Milliseconds that a page has for anything; the machine may be busy with other tests."""
FAILURES = CHECKOUT / ".gpuspawner" / "failures"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures", action="store_true", help=f"make the pictures in {KEPT.relative_to(CHECKOUT)} anew"
    )


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path:
    """Where pictures of the pages go: only on request into the tree."""
    return KEPT if request.config.getoption("--pictures", default=False) else OWN_PICTURES


# Not for the whole session: while it lives, this thread can run no other event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def person(
    browser: Browser, pictures: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Person]]:
    """Make people, each with a browser of their own; a failed test keeps what they saw last."""
    people: list[Person] = []

    def make(
        installation: Installation, name: str, *, dark: bool = False, width: int = 1100, zone: str = "UTC"
    ) -> Person:
        context = browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 480},
            locale="en-GB",
            timezone_id=zone,
        )
        context.set_default_timeout(PATIENCE)
        people.append(Person(installation, name, context.new_page(), pictures))
        return people[-1]

    failed_before = request.session.testsfailed
    yield make
    for someone in people:
        if request.session.testsfailed > failed_before:
            someone.keep_evidence(FAILURES, request.node.name)
        # A page may be in the middle of loading: what it still asks for is answered by nobody.
        someone.page.unroute_all(behavior="ignoreErrors")
        someone.page.context.close()
