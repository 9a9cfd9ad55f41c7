"""JupyterLab says when its session stops and why, keeps it, saves what is open, and stops it."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from browser.person import SLOW, Person
from gpuspawner.core.culling import NO_WISH
from gpuspawner.core.model import Lease, Sample
from playwright.sync_api import Locator, expect
from support.installation import HOST, Installation, free_port, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.browser]

POLICY = """
groups:
  default: {gpus_per_person: 1, gpus_per_server: 1}
idle_sessions: stop
"""
AGE = timedelta(hours=3)
NOTICE = re.compile(r"This server stops at \d\d:\d\d, in 1[45] min\.")


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yml"
    policy.write_text(POLICY)
    controller = {"enabled": True, "port": free_port(), "tick": 0.2, "look": "5 s"}
    with Installation(
        users=("ada",),
        layout="1xa100-40gb",
        settings={"policy": str(policy), "controller": controller},
        tick=0.3,
        controller=True,
    ) as installation:
        yield installation


def grow_old(site: Installation) -> Lease:
    """The session has run for three hours in which its GPU did nothing, as far as the ledger is told."""
    lease, now = site.lease_of("ada"), datetime.now(UTC)
    times = [now - AGE + n * timedelta(seconds=10) for n in range(int(AGE.total_seconds() / 10))]
    with site.ledger.write() as unit:
        unit.drop_watches([lease.id])
        unit.put_wish(lease.id, NO_WISH)
        unit.add_samples(HOST, [(uuid, Sample(at, 0)) for uuid in lease.devices for at in times])
        unit.update_lease(replace(unit.lease(lease.id) or lease, created_at=now - AGE))
    return lease


def wait_for_warning(site: Installation, lease: Lease) -> None:
    def warned() -> bool:
        with site.ledger.read() as unit:
            watch = unit.watch_of(lease.id)
        return watch is not None and watch.warned == 15

    wait_for(warned, "the first warning")


def change(site: Installation, **changes: Any) -> None:
    with site.ledger.write() as unit:
        unit.update_lease(replace(site.lease_of("ada"), **changes))


def read_home(site: Installation, name: str) -> str:
    """A file in ada's home, whether her server runs or not."""
    lease_home = next(iter(site._known_homes()))
    made = site.engine.create_container(
        next(iter(site.settings["images"].values())),
        host_config=site.engine.create_host_config(binds=[f"{lease_home}:/home/jovyan"]),
    )
    try:
        stream, _ = site.engine.get_archive(made["Id"], f"/home/jovyan/{name}")
        with tarfile.open(fileobj=BytesIO(b"".join(stream))) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read().decode()
    finally:
        site.engine.remove_container(made["Id"], force=True)


class Lab:
    """What ada sees of the extension."""

    def __init__(self, person: Person) -> None:
        self.person, self.page = person, person.page

    @property
    def chip(self) -> Locator:
        return self.page.locator(".gpuspawner-Chip button")

    @property
    def notice(self) -> Locator:
        return self.page.get_by_role("alert").filter(has_text="This server stops")

    def choose(self, item: str) -> None:
        """Open the menu with the keyboard, and choose."""
        self.chip.focus()
        self.page.keyboard.press("Enter")
        self.page.get_by_role("menuitem", name=item).or_(
            self.page.get_by_role("menuitemcheckbox", name=item)
        ).click()

    def ask_again(self) -> None:
        """Look at the menu, for which the controller is asked."""
        self.chip.click()
        expect(self.page.get_by_role("menu").last).to_be_visible()
        self.page.keyboard.press("Escape")

    def obstacles(self, where: str) -> list[str]:
        """What keeps somebody from using a part of the page, such as a faint text."""
        found = Axe().run(self.page, where).response["violations"]
        return [f"{one['id']}: {one['help']}" for one in found]

    def write(self, text: str) -> None:
        """Change the file that is open, and do not save it."""
        self.page.locator(".jp-FileEditor .cm-content").click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.type(text)
        expect(self.page.locator("#jp-main-dock-panel .jp-mod-dirty").first).to_be_attached()


def test_jupyterlab_warns_keeps_saves_and_stops(
    installation: Installation, person: Callable[..., Person]
) -> None:
    ada = person(installation, "ada", zone="Asia/Kolkata")
    ada.log_in()
    ada.start("A100")
    lab = Lab(ada)
    installation.exec("ada", "echo first > notes.txt")
    ada.visit("/user/ada/lab/tree/notes.txt")
    lab.write("second\n")
    is_safe_from_others(installation, lab)
    is_warned_and_keeps(installation, lab)
    is_saved_before_an_end_that_was_set(installation, lab)
    sees_the_figures(installation, lab)
    lab.write("third\n")
    is_not_stopped_while_something_is_not_saved(installation, lab)
    saves_all_and_stops(installation, lab)


def is_safe_from_others(installation: Installation, lab: Lab) -> None:
    """What JupyterLab asks can be asked by nobody else, and by no other site in ada's browser."""
    asked = f"{installation.url}/user/ada/gpuspawner/session"
    for method, path in (("GET", ""), ("POST", "/stop"), ("POST", "/keep")):
        answer = requests.request(method, f"{asked}{path}", timeout=10, allow_redirects=False)
        assert answer.status_code == 403, "nobody is logged in"
    without_xsrf = """async ([path, body]) =>
        (await fetch(`/user/ada/gpuspawner/session/${path}`, { method: "POST", body })).status"""
    for path in ("stop", "keep", "finish"):
        assert lab.page.evaluate(without_xsrf, [path, '{"finish": true}']) == 403, path
    with_xsrf = """async ([method, path, body]) => (await fetch(`/user/ada/gpuspawner/session${path}`, {
        method, body, headers: {
            "X-XSRFToken": document.cookie.match(/_xsrf=([^;]*)/)[1], "Content-Type": "application/json",
        } })).status"""
    for body, status in (('{"finish": 1}', 400), ("[]", 400), ("{", 400), ('{"finish": false}', 200)):
        assert lab.page.evaluate(with_xsrf, ["POST", "/finish", body]) == status, body
    assert lab.page.evaluate(with_xsrf, ["POST", "", "{}"]) == 405
    assert lab.page.evaluate(with_xsrf, ["POST", "/extend", "{}"]) == 404
    assert installation.events("session.") == []


def is_warned_and_keeps(installation: Installation, lab: Lab) -> None:
    page = lab.page
    lease = grow_old(installation)
    wait_for_warning(installation, lease)
    lab.ask_again()
    expect(lab.notice).to_contain_text(NOTICE)
    expect(lab.chip).to_contain_text(re.compile(r"stops \d\d:\d\d · extend"))
    assert lab.obstacles(".gpuspawner-Chip") == []
    lab.person.picture("lab-notice", whole=False)
    lab.notice.get_by_role("button", name="Why?").click()
    why = page.get_by_role("dialog")
    expect(why).to_contain_text("Its GPUs have been idle for")
    expect(why.get_by_role("row", name="Notebooks and terminals")).to_be_visible()
    assert lab.obstacles(".gpuspawner-Why") == []
    lab.person.picture("lab-why", whole=False)
    why.get_by_role("button", name="Close").click()
    lab.notice.get_by_role("button", name="Keep for 1 h").click()
    expect(page.get_by_role("alert").filter(has_text="Kept until")).to_be_visible()
    expect(lab.notice).to_be_hidden()
    expect(lab.chip).to_contain_text("kept until")
    assert any("it is kept until" in one for one in installation.events("session.kept"))
    assert installation.exec("ada", "cat notes.txt") == "first\n", "nobody saved it"


def is_saved_before_an_end_that_was_set(installation: Installation, lab: Lab) -> None:
    end = datetime.now(UTC) + timedelta(seconds=92)
    change(installation, ends_at=end, end_reason="grace stops it: exam", warned=5)
    lab.ask_again()
    expect(lab.notice).to_be_visible()
    wait_for(lambda: installation.exec("ada", "cat notes.txt") == "first\nsecond\n", "the saving")
    assert installation.lease_of("ada").ends_at == end, "long before the end"
    change(installation, ends_at=None, end_reason="", warned=None)
    lab.ask_again()
    expect(lab.notice).to_be_hidden()


def sees_the_figures(installation: Installation, lab: Lab) -> None:
    (uuid,) = installation.uuids
    installation.simulation.set_load(uuid, utilization=60, memory_mib=2048)

    def shows(text: str) -> bool:
        lab.ask_again()
        return text in (lab.chip.text_content() or "")

    wait_for(lambda: shows("GPU 60 % · 2"), "the figures")
    label = re.compile("GPU 60 %.* of 40 GiB.*Show what can be done")
    expect(lab.chip).to_have_attribute("aria-label", label)
    installation.simulation.idle(uuid)


def is_not_stopped_while_something_is_not_saved(installation: Installation, lab: Lab) -> None:
    installation.exec("ada", "rm notes.txt && mkdir notes.txt")
    lab.choose("Save all and stop")
    told = lab.page.get_by_role("alert")
    expect(told.filter(has_text="notes.txt could not be saved")).to_be_visible()
    expect(told.filter(has_text="This server was not stopped")).to_be_visible()
    lab.person.picture("lab-not-saved", whole=False, for_docs=False)
    assert installation.events("session.stopping") == []
    lab.page.get_by_role("dialog").get_by_role("button", name="Close").click()  # JupyterLab's own word
    installation.exec("ada", "rmdir notes.txt && printf 'first\\nsecond\\n' > notes.txt")


def saves_all_and_stops(installation: Installation, lab: Lab) -> None:
    lab.choose("Save all and stop")
    lab.page.wait_for_url("**/services/gpu/servers", timeout=SLOW)
    wait_for(lambda: not installation.containers("ada"), "the end of the server", 60)
    assert read_home(installation, "notes.txt") == "first\nsecond\nthird\n"
    assert installation.events("session.stopping") == ["its person stopped it in JupyterLab"]
    expect(lab.page.get_by_role("link", name="Start a server")).to_be_visible()
