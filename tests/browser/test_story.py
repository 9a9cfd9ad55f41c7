"""Two people, two cards, and a file that outlives the container."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from browser.person import Person
from support.images import default_images
from support.installation import Installation

pytestmark = [pytest.mark.docker, pytest.mark.browser]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with Installation(limits={"memory": "1G"}) as installation:
        yield installation


def test_two_people_get_two_cards_and_keep_their_files(
    installation: Installation, person: Callable[..., Person]
) -> None:
    images = list(default_images())
    assert len(images) > 1, "the test needs two images"
    ada, grace = person(installation, "ada"), person(installation, "grace")
    for someone in (ada, grace):
        someone.log_in()
        someone.choose("A100", images[0])
        someone.press_start()
        someone.page.wait_for_url("**/hub/spawn-pending/**", wait_until="commit")
    seen = {}
    for someone in (ada, grace):
        someone.wait_for_lab()
        someone.page.set_viewport_size({"width": 1100, "height": 400})
        someone.open_terminal()
        seen[someone.name] = someone.cards_seen()
        assert seen[someone.name] == list(installation.lease_of(someone.name).devices)
        assert len(seen[someone.name]) == 1
    assert seen["ada"] != seen["grace"]
    ada.picture("terminal", whole=False)
    ada.type_command("echo what was written > note.txt && ls *.txt", re.compile(r"\.txt\s*note\.txt"))
    ada.stop_server()
    assert installation.client("ada").model() is None
    ada.page.get_by_role("button", name="Start My Server").click()
    ada.start("No GPU", images[1])
    ada.open_terminal()
    ada.type_command("cat note.txt", re.compile("what was written"))
    chosen = installation.engine.inspect_image(default_images()[images[1]])
    assert installation.container("ada")["Image"] == chosen["Id"]
