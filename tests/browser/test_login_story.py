"""People log in by a real OpenID Connect provider: who may, who may not, and what a name is worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from browser.person import Person
from playwright.sync_api import expect
from support.installation import Installation
from support.oidc import Provider

pytestmark = [pytest.mark.docker, pytest.mark.browser]

PEOPLE = {
    "s-1": {"preferred_username": "ada", "name": "Ada", "groups": ["/gpu", "/staff"]},
    "s-2": {"preferred_username": "ada", "name": "Another Ada", "groups": ["/gpu"]},
    "s-3": {"preferred_username": "eve", "name": "Eve", "groups": ["/GPU"]},
}
POLICY = """
groups:
  default: {gpus_per_person: 0}
  /gpu: {gpus_per_person: 1}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(PEOPLE) as provider:
        yield provider


@pytest.fixture(scope="module")
def installation(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("login")
    policy = folder / "policy.yml"
    policy.write_text(POLICY)
    login = provider.login(
        folder, title="the University", allow={"groups": ["/gpu"]}, admins={"groups": ["/staff"]}
    )
    settings = {"login": login, "demo_users": {}, "policy": str(policy)}
    with Installation(settings=settings, limits={"gpus_per_server": 1}) as installation:
        provider.start(installation.url)
        yield installation


def log_in(person: Person, subject: str) -> None:
    """Go to the hub, and by way of the provider come back to it."""
    page = person.page
    person.visit("/hub/")
    page.get_by_role("button", name="Sign in with the University").click()
    page.get_by_placeholder("Enter any login").fill(subject)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def list_people(installation: Installation) -> dict[str, str]:
    """The names here, by subject."""
    command = ["gpuspawner", "people", "list", "--json", "--ledger", str(installation.ledger_path)]
    found = json.loads(installation.run(*command))["people"]
    return {one["subject"]: one["name"] for one in found}


def test_people_come_by_the_provider(
    installation: Installation, provider: Provider, person: Callable[..., Person]
) -> None:
    ada, other, eve = (person(installation, name) for name in ("ada", "other", "eve"))
    callbacks: list[str] = []
    ada.page.on("request", lambda request: "oauth_callback" in request.url and callbacks.append(request.url))
    log_in(ada, "s-1")
    expect(ada.start_button).to_be_visible()
    expect(ada.page.get_by_role("radio", name="Any GPU")).to_be_enabled()  # the group's right
    expect(ada.page.get_by_role("link", name="Admin")).to_be_visible()
    log_in(other, "s-2")
    expect(other.start_button).to_be_visible()
    expect(other.page.get_by_role("link", name="Admin")).to_be_hidden()
    log_in(eve, "s-3")
    expect(eve.page.get_by_role("heading", name="this hub is not open to you")).to_be_visible()
    assert list_people(installation) == {"s-1": "ada", "s-2": "ada-2"}
    ada.page.goto(callbacks[0])  # once more, by somebody who has the whole address
    expect(ada.page.get_by_text("This login is not valid any more")).to_be_visible()

    provider.stop()  # throws nobody out, though the hub asks again before every start
    ada.visit("/hub/spawn")
    ada.choose("No GPU")
    ada.press_start()
    ada.wait_for_lab()
