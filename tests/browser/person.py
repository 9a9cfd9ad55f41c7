"""A person with a browser: what they do, and what they read."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, Route, expect
from support.installation import CHECKOUT, PASSWORD, Installation

SLOW = 60_000
"""Milliseconds in which a server starts or stops on a busy machine."""
OWN_PICTURES = CHECKOUT / ".gpuspawner" / "pictures"
"""For looking at, outside the tree."""
UUID = re.compile(r"UUID: (GPU-[0-9a-f-]{36})\)")


class Person:
    """One login in one browser window.

    Args:
        installation: Where.
        name: The login.
        page: The window.
        pictures: Where pictures go.
    """

    def __init__(self, installation: Installation, name: str, page: Page, pictures: Path) -> None:
        self.installation, self.name = installation, name
        self._pictures = pictures
        self._console: list[str] = []
        self._use(page)

    def _use(self, page: Page) -> None:
        self.page = page
        page.route(re.compile(r"/lab/api/settings"), _use_screen_reader)
        page.on("console", lambda message: self._console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._console.append(f"error: {error}"))

    # -- at the Hub -----------------------------------------------------------------------------------------

    def log_in(self) -> None:
        """Log in, and come to the start page."""
        self.visit("/hub/login")
        self.page.get_by_label("Username").fill(self.name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.start_button).to_be_visible()

    def visit(self, path: str) -> None:
        self.page.goto(f"{self.installation.url}{path}")

    def wait_for_scripts(self) -> None:
        """Wait for the scripts of a page of the Hub itself, before which its buttons do nothing."""
        self.page.wait_for_function("window._jupyterhub_page_loaded")

    def close_and_open_again(self) -> None:
        """Close the tab, and open its address in a new one."""
        old = self.page
        self._use(old.context.new_page())
        self.page.goto(old.url)
        old.close()

    def count_loads(self) -> list[str]:
        """Addresses of pages that this tab loads from now on."""
        loads: list[str] = []
        self.page.wait_for_load_state()
        self.page.on("load", lambda loaded: loads.append(loaded.url))
        return loads

    @property
    def start_button(self) -> Locator:
        """Where there is a line, it says so when what is chosen would have to be waited for."""
        return self.page.get_by_role("button", name=re.compile("^(Start|Join the line)$"))

    def card(self, title: str) -> Locator:
        """One of the choices on the start page."""
        return self.page.get_by_role("radio", name=title)

    def says_of(self, title: str) -> Locator:
        """What the start page says of one of its choices."""
        return self.page.locator(".gpu-choice", has=self.card(title))

    def choose(self, title: str, image: str | None = None) -> None:
        """Fill in the start page."""
        self.card(title).check()
        if image:
            self.page.get_by_label("Software image").select_option(image)

    def start(self, title: str, image: str | None = None) -> None:
        """Start a server from the start page, and wait for JupyterLab."""
        self.choose(title, image)
        self.press_start()
        self.wait_for_lab()

    def press_start(self) -> None:
        self.start_button.click()

    def wait_for_lab(self) -> None:
        self.page.wait_for_url(f"**/user/{self.name}/lab**", timeout=SLOW)
        expect(self.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=SLOW)

    def stop_server(self) -> None:
        """Stop the own server at the Hub's control panel."""
        self.visit("/hub/home")
        self.wait_for_scripts()
        self.page.get_by_role("button", name="Stop My Server").click()
        expect(self.page.get_by_role("button", name="Stop My Server")).to_be_hidden(timeout=SLOW)
        expect(self.page.get_by_role("button", name="Start My Server")).to_be_visible()

    # -- in JupyterLab --------------------------------------------------------------------------------------

    def open_terminal(self) -> None:
        """Open a terminal with the launcher's card, or use the one of last time; wait for its prompt."""
        card = self.page.locator(".jp-LauncherCard", has_text="Terminal")
        expect(card.or_(self._rows)).to_be_visible(timeout=SLOW)
        if card.is_visible():
            card.click()
        expect(self._rows).to_contain_text("$", timeout=SLOW)

    def type_command(self, command: str, answer: re.Pattern[str]) -> str:
        """Type a command into the terminal and wait for its answer; what the terminal shows then."""
        self.page.locator(".jp-Terminal .xterm-screen").click()
        self.page.keyboard.type(f"{command}\n")
        expect(self._rows).to_contain_text(answer)
        return self.terminal_text()

    def cards_seen(self) -> list[str]:
        """UUIDs of the cards that ``nvidia-smi -L`` lists in the terminal."""
        text = self.type_command("nvidia-smi -L", re.compile(rf"{UUID.pattern}.*\$\s*$", re.DOTALL))
        return UUID.findall(text.replace("\n", ""))

    def terminal_text(self) -> str:
        return "\n".join(self._rows.locator("> div").all_text_contents())

    @property
    def _rows(self) -> Locator:
        return self.page.locator(".jp-Terminal .xterm-accessibility-tree")

    # -- for people who look --------------------------------------------------------------------------------

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def picture(self, name: str, *, whole: bool = True, for_docs: bool = True) -> None:
        """Keep a picture of the page."""
        folder = self._pictures if for_docs else OWN_PICTURES
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", full_page=whole, animations="disabled")

    def keep_evidence(self, folder: Path, test: str) -> None:
        """Keep what was seen last, after a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"\W+", "-", f"{test}-{self.name}")
        self.page.screenshot(path=folder / f"{stem}.png")
        (folder / f"{stem}.html").write_text(self.page.content())
        lines = [self.page.url, *self._console, self.installation.tail()]
        (folder / f"{stem}.log").write_text("\n".join(lines))


def _use_screen_reader(route: Route) -> None:
    """Switch the terminal's screen reader mode on: its text is then in the page, not only in a drawing."""
    response = route.fetch()
    if route.request.method != "GET" or not response.ok:
        route.fulfill(response=response)
        return
    data = response.json()
    for setting in data.get("settings", [data]):
        if setting.get("id") == "@jupyterlab/terminal-extension:plugin":
            setting["raw"], setting["settings"] = '{"screenReaderMode": true}', {"screenReaderMode": True}
    route.fulfill(response=response, json=data)
