"""People log in by accounts here: invited, refused, locked out, removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from browser.person import SLOW, Person
from playwright.sync_api import expect
from support.installation import Installation, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.browser]

PASSWORD, ANOTHER = "nine blue teapots", "seven green kettles"
POLICY = """
groups:
  default: {gpus_per_person: 0}
  gpu: {gpus_per_person: 1}
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("accounts") / "policy.yml"
    policy.write_text(POLICY)
    login = {
        "provider": "local",
        "allow": {"everybody": True},
        "admins": {"groups": ["staff"]},
        "refresh": "1 min",
        "stay": "1 h",
    }
    settings = {"login": login, "demo_users": {}, "policy": str(policy)}
    with Installation(settings=settings, limits={"gpus_per_server": 1}, controller=True) as installation:
        yield installation


def run(installation: Installation, *words: str, settings: bool = False) -> Any:
    command = ["gpuspawner", "people", *words, "--ledger", str(installation.ledger_path), "--json"]
    command += ["--settings", str(installation.settings_file)] if settings else []
    return json.loads(installation.run(*command))


def choose_password(person: Person, password: str, again: str | None = None) -> None:
    page = person.page
    page.get_by_label("New password", exact=True).fill(password)
    page.get_by_label("New password, once more").fill(password if again is None else again)
    page.get_by_role("button", name="Save the password").click()


def log_in(person: Person, password: str, name: str = "") -> None:
    person.visit("/hub/login")
    person.page.get_by_label("Username").fill(name or person.name)
    person.page.get_by_label("Password").fill(password)
    person.page.get_by_role("button", name="Sign in").click()


def test_from_the_invitation_to_another_password(
    installation: Installation, person: Callable[..., Person]
) -> None:
    ada, elsewhere, eve = (person(installation, name) for name in ("ada", "ada", "eve"))
    link = run(installation, "invite", "ada", "--group", "gpu", "--group", "staff", settings=True)["link"]
    assert link.startswith(f"{installation.url}/hub/invitation?token=")

    ada.visit("/hub/login")
    assert ada.page.get_by_role("link", name="Sign up").count() == 0
    for path in ("/hub/signup", "/hub/authorize", "/hub/authorize/eve", "/hub/change-password/ada"):
        assert requests.get(f"{installation.url}{path}", timeout=10, allow_redirects=False).status_code == 404
    ada.page.goto(link)
    ada.picture("accounts-invitation", for_docs=False)
    choose_password(ada, PASSWORD, ANOTHER)
    expect(ada.page.get_by_role("alert")).to_contain_text("are not the same")
    choose_password(ada, "leavemealone")
    expect(ada.page.get_by_role("alert")).to_contain_text("too easy to guess")
    ada.picture("accounts-too-easy", for_docs=False)
    choose_password(ada, PASSWORD)
    expect(ada.page.get_by_label("Username")).to_have_value("ada")
    eve.page.goto(link)  # it was used
    expect(eve.page.get_by_role("alert")).to_contain_text("not valid any more")

    log_in(ada, PASSWORD)
    expect(ada.start_button).to_be_visible()
    expect(ada.page.get_by_role("radio", name="Any GPU")).to_be_enabled()  # the group's right
    expect(ada.page.get_by_role("link", name="Admin")).to_be_visible()
    (cookie,) = [one for one in ada.page.context.cookies() if one["name"] == "jupyterhub-hub-login"]
    assert cookie["httpOnly"]
    lasts = ada.page.evaluate("seconds => seconds - Date.now() / 1000", cookie["expires"])
    assert 3000 < lasts < 3660
    log_in(elsewhere, PASSWORD)
    expect(elsewhere.start_button).to_be_visible()

    ada.page.get_by_role("link", name="Password").click()
    ada.picture("accounts-change", for_docs=False)
    ada.page.emulate_media(color_scheme="dark")
    ada.page.set_viewport_size({"width": 360, "height": 640})
    ada.page.reload()
    assert ada.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ada.picture("accounts-change-phone-dark", for_docs=False)
    ada.page.emulate_media(color_scheme="light")
    ada.page.set_viewport_size({"width": 1100, "height": 800})
    ada.page.get_by_label("Password of now").fill("wrong wrong wrong")
    choose_password(ada, ANOTHER)
    expect(ada.page.get_by_role("alert")).to_contain_text("not right")
    ada.page.get_by_label("Password of now").fill(PASSWORD)
    choose_password(ada, ANOTHER)
    expect(ada.page.get_by_role("status")).to_contain_text("The new password holds")
    ada.visit("/hub/spawn")
    expect(ada.start_button).to_be_visible()
    elsewhere.visit("/hub/spawn")
    expect(elsewhere.page.get_by_label("Username")).to_be_visible()


def test_from_guessing_to_the_end(installation: Installation, person: Callable[..., Person]) -> None:
    ada, eve = person(installation, "ada"), person(installation, "eve")
    log_in(ada, ANOTHER)
    expect(ada.start_button).to_be_visible()
    for _ in range(5):
        log_in(eve, "a guess of somebody", "ada")
        expect(eve.page.locator(".login_error")).to_contain_text("Wrong name or password")
    eve.picture("accounts-refused", for_docs=False)
    log_in(eve, ANOTHER, "ada")  # right, and too late
    expect(eve.page.locator(".login_error")).to_contain_text("takes none for 15 minutes")
    ada.visit("/services/gpu/board")  # who is logged in notices nothing, and an administrator sees it
    expect(ada.page.locator("#board-login-trouble")).to_contain_text("1 login")
    ada.picture("accounts-board", for_docs=False)

    ada.visit("/hub/token")
    ada.wait_for_scripts()
    ada.page.get_by_role("button", name="Request new API token").click()
    expect(ada.page.locator("#token-result")).to_have_text(re.compile(r"[0-9a-f]{16}"))
    token = ada.page.locator("#token-result").inner_text().strip()

    def ask() -> int:
        headers = {"Authorization": f"token {token}"}
        return requests.get(f"{installation.url}/hub/api/user", headers=headers, timeout=10).status_code

    assert ask() == 200
    ada.visit("/hub/spawn")
    ada.start("No GPU")
    ada.visit("/hub/home")  # JupyterLab would go on asking a server that is gone
    run(installation, "remove", "ada", "--reason", "left")
    wait_for(lambda: ask() == 403, "the end of the API token", 90)

    def is_gone() -> bool:
        (one,) = run(installation, "list")["people"]
        with installation.ledger.read() as unit:
            return bool(one["removed"]) and not unit.leaving()

    wait_for(is_gone, "the end of everything of somebody who was removed", 90)
    wait_for(lambda: not installation.containers(), "the end of the container")
    ada.visit("/hub/spawn")
    expect(ada.page.get_by_label("Username")).to_be_visible(timeout=SLOW)
    with installation.ledger.read() as unit:
        home = unit.home_of("ada")
    assert home is not None
    assert home.source in {one["Name"] for one in installation.engine.volumes()["Volumes"]}
