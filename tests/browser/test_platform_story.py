"""People come from the courses of a certified provider that speaks LTI 1.3."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from browser.person import Person
from playwright.sync_api import expect
from support.installation import Installation
from support.oidc import CoursePlatform

pytestmark = [pytest.mark.docker, pytest.mark.browser]

LIS = "http://purl.imsglobal.org/vocab/lis/v2/membership"
LEARNER, TEACHER = f"{LIS}#Learner", f"{LIS}#Instructor"
PEOPLE = {
    "s-1": {
        "claims": {"email": "ada@example.org", "name": "Ada"},
        "roles": {"42": [LEARNER], "43": [TEACHER], "77": [LEARNER]},
    },
    "s-2": {"claims": {"email": "ada@example.org"}, "roles": {"77": [LEARNER, TEACHER]}},
}
POLICY = """
groups:
  default: {gpus_per_person: 0}
  course:cs231:students: {gpus_per_person: 1}
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[CoursePlatform]:
    with CoursePlatform(PEOPLE) as platform:
        yield platform


@pytest.fixture(scope="module")
def installation(
    platform: CoursePlatform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("platform") / "policy.yml"
    policy.write_text(POLICY)
    login = platform.login(
        {"1": {"42": "cs231", "43": "ml"}},
        allow={"groups": ["course:cs231", "course:ml"]},
        admins={"groups": ["course:ml:teachers"]},
    )
    settings = {"login": login, "demo_users": {}, "policy": str(policy)}
    with Installation(settings=settings, limits={"gpus_per_server": 1}) as installation:
        platform.start(installation.url)
        yield installation


def log_in(person: Person, platform: CoursePlatform, subject: str) -> None:
    """Log in at the platform, and come to its courses."""
    page = person.page
    page.goto(platform.login_page)
    page.get_by_placeholder("Enter any login").fill(subject)
    page.get_by_placeholder("and password").fill("anything")
    page.get_by_role("button", name="Sign-in").click()
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()


def launch(person: Person, platform: CoursePlatform, course: str) -> None:
    person.page.goto(f"{platform.url}/courses")
    person.page.get_by_role("button", name=f"Open the hub from course {course}").click()


def read_database(installation: Installation, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(installation.state_dir / "jupyterhub.sqlite") as database:
        return database.execute(query).fetchall()


def test_people_come_from_their_courses(
    installation: Installation, platform: CoursePlatform, person: Callable[..., Person]
) -> None:
    ada, other = person(installation, "ada@example.org"), person(installation, "other")
    ada.visit("/hub/")
    expect(ada.page.get_by_text("Open this hub by the link in your course")).to_be_visible()
    ada.picture("platform-not-from-a-course", for_docs=False)

    log_in(ada, platform, "s-1")
    forms: list[dict[str, str]] = []
    ada.page.on(
        "request",
        lambda request: (
            request.url.endswith("oauth_callback") and forms.append(dict(request.post_data_json or {}))
        ),
    )
    launch(ada, platform, "42")
    expect(ada.start_button).to_be_visible()
    expect(ada.page.get_by_role("radio", name="Any GPU")).to_be_enabled()  # the role's right
    expect(ada.page.get_by_role("link", name="Admin")).to_be_hidden()
    assert len(forms) == 1

    launch(ada, platform, "43")  # teaches there, and stays a student here
    expect(ada.page.get_by_role("radio", name="Any GPU")).to_be_enabled()
    expect(ada.page.get_by_role("link", name="Admin")).to_be_visible()
    launch(ada, platform, "77")  # not a course of this hub: nothing is gained, nothing lost
    expect(ada.page.get_by_role("link", name="Admin")).to_be_visible()

    log_in(other, platform, "s-2")
    launch(other, platform, "77")
    expect(other.page.get_by_text("this hub is not open to you")).to_be_visible()
    other.picture("platform-refused", for_docs=False)

    # Whoever has the whole form of somebody's launch sends it once more.
    replay = f"""<form method="post" action="{installation.url}/hub/lti13/oauth_callback">
      <input name="id_token" value="{forms[0]["id_token"]}"><input name="state" value="{forms[0]["state"]}">
      <button>Replay</button></form>"""
    for somebody in (other, ada):
        somebody.page.goto(f"{platform.url}/courses")
        somebody.page.set_content(replay)
        somebody.page.get_by_role("button", name="Replay").click()
        expect(somebody.page.get_by_text("This login is not valid any more")).to_be_visible()

    command = ["gpuspawner", "people", "list", "--json", "--ledger", str(installation.ledger_path)]
    (known,) = json.loads(installation.run(*command))["people"]
    assert (known["subject"], known["name"]) == ("s-1", "ada@example.org")
    log = installation.logs("hub")
    assert forms[0]["id_token"].split(".")[1][:24] not in log
    ((state,),) = read_database(installation, "SELECT encrypted_auth_state FROM users WHERE name LIKE 'ada%'")
    assert isinstance(state, bytes)
    assert b"cs231" not in state

    platform.stop()  # throws nobody out
    ada.visit("/hub/spawn")
    ada.choose("No GPU")
    ada.press_start()
    ada.wait_for_lab()
