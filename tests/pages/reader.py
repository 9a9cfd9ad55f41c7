"""Somebody who reads the controller's pages in a browser: what they see, and whether it can be used."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from browser.legibility import faint_texts
from browser.person import OWN_PICTURES
from playwright.sync_api import ConsoleMessage, Page
from support.controller import Office

GRAVE = ("serious", "critical")
IN_DOCS = (
    "queue", "servers", "courses", "course", "seat", "course-message", "course-extend",
    "reservations", "reservations-list", "reservation", "reserve", "import", "address", "calendar-addresses",
    "reports", "board", "board-action", "board-audit", "ssh", "not-running-in-line", "not-running-refused",
)  # fmt: skip
"""Pages of which docs/pages.md shows the pictures, light and dark."""


class Reader:
    """One login in one browser window.

    Args:
        office: Whose pages.
        page: The window.
        pictures: Where pictures go.
    """

    def __init__(self, office: Office, page: Page, pictures: Path) -> None:
        self.office, self.page, self._pictures = office, page, pictures
        self.errors: list[str] = []
        """What went wrong in scripts, or was refused by the content security policy."""
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._tools_done_ms = 0.0
        page.on("console", self._hear)

    def _hear(self, said: ConsoleMessage) -> None:
        """Keep an error, unless a picture or axe-core was at work: what they put in is against the policy.

        Such a message may arrive long after they have ended, so its own time is what counts.
        """
        if said.type == "error" and said.timestamp > self._tools_done_ms:
            self.errors.append(said.text)

    def visit(self, path: str) -> Page:
        self.page.goto(f"{self.office.url}/services/gpu{path}")
        return self.page

    def check(self, name: str) -> None:
        """The page can be used by everybody, and is kept as a picture."""
        assert self.errors == [], self.errors
        folder = self._pictures if name.removesuffix("-dark") in IN_DOCS else OWN_PICTURES
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=True, animations="disabled")
        overflow = self.overflow()
        assert overflow == 0, overflow
        faint = faint_texts(self.page)
        assert faint == [], faint
        violations = self.violations()
        assert violations == [], violations
        self._tools_done_ms = time.time() * 1000
        self.errors.clear()

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def violations(self) -> list[Any]:
        """Serious violations that axe-core finds, each with the places."""
        found = Axe().run(self.page).response["violations"]
        return [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in found
            if one["impact"] in GRAVE
        ]
