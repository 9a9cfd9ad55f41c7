"""What people of a course find in their servers: data, teams, notebooks, hand-ins; and who finds nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from gpuspawner.core.roster import Entry, Kind, Role, Roster, Who
from support.coursework import make_repository
from support.images import default_images
from support.installation import Installation

pytestmark = pytest.mark.docker

IMAGE = next((name for name in default_images() if name.startswith("Course")), "")
OTHER = next(iter(default_images()))
PEOPLE = ("grace", "ada", "bob", "eve", "mallory", "amy")


def write_policy(folder: Path) -> Path:
    rules: dict[str, Any] = {
        "groups": {
            "default": {"data": [{"path": str(folder / "public"), "target": "/data"}]},
            "cs231-2026": None,
            "ml-2026": None,
            "lab": {"data": [{"path": str(folder / "scans"), "target": "/scans"}]},
        },
        "people": {"grace": {}, "mallory": {}, "bob": {"groups": ["lab"]}},
        "courses": {
            "cs231": {
                "group": "cs231-2026",
                "teachers": ["grace"],
                "image": IMAGE,
                "hand_in": True,
                "materials": [{"path": str(folder / "course"), "target": "/courses/cs231/data"}],
                "notebooks": {
                    "repository": "file:///courses/cs231/data/notebooks.git",
                    "open": "start.ipynb",
                },
            },
            "ml": {"group": "ml-2026", "teachers": ["mallory"], "image": IMAGE, "hand_in": True},
        },
    }
    file = folder / "policy.yml"
    file.write_text(yaml.safe_dump(rules))
    return file


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gpuspawner-coursework-"))
    for name in ("public", "scans", "course"):
        (folder / name).mkdir()
        (folder / name / f"{name}.txt").write_text(name)
    make_repository(folder / "course")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Installation]:
    assert IMAGE, "needs gpuspawner/course: make images"
    settings = {
        "policy": str(write_policy(folder)),
        "courses": {"directory": str(folder / "made")},
        "homes": {"kind": "bind", "directory": str(folder / "homes")},
    }
    with Installation(users=PEOPLE, settings=settings, controller=True) as installation:
        people = (
            ("ada", Role.STUDENT, "blue"),
            ("bob", Role.STUDENT, "blue"),
            ("amy", Role.ASSISTANT, ""),
        )
        entries = tuple(Entry(Who(Kind.PERSON, name), role, team, person=name) for name, role, team in people)
        with installation.ledger.write() as unit:
            unit.put_roster(Roster("cs231", 1, entries, datetime.now(UTC), "test"), "imported")
        yield installation


def start(site: Installation, name: str, **options: Any) -> None:
    client = site.client(name)
    if client.model() is None:
        started = client.spawn({"image": IMAGE, **options})
        assert started.ready, started.message


def say(site: Installation, name: str, command: str) -> str:
    return site.exec(name, f"{{ {command}; }} 2>&1; true").strip()


def test_data_is_for_everybody_or_for_a_group_and_cannot_be_written(site: Installation) -> None:
    start(site, "bob")
    assert site.client("eve").spawn({"image": OTHER}).ready
    assert say(site, "bob", "cat /data/public.txt /scans/scans.txt") == "publicscans"
    assert (
        say(site, "eve", "cat /data/public.txt; ls /scans")
        == "public" + "ls: cannot access '/scans': No such file or directory"
    )
    for name, place in (
        ("bob", "/data"),
        ("bob", "/scans"),
        ("eve", "/data"),
        ("bob", "/courses/cs231/data"),
    ):
        assert "Read-only file system" in say(site, name, f"touch {place}/x"), place


def test_a_team_shares_a_folder_that_nobody_else_has(site: Installation) -> None:
    for name in ("ada", "bob", "grace", "mallory"):
        start(site, name)
    say(site, "ada", "umask 077; echo ada > /courses/cs231/team/a.txt")
    assert (
        say(site, "bob", "echo bob >> /courses/cs231/team/a.txt; cat /courses/cs231/team/a.txt") == "ada\nbob"
    )
    assert say(site, "grace", "cat /courses/cs231/teams/blue/a.txt") == "ada\nbob"
    assert say(site, "mallory", "ls /courses /exchange") == "/courses:\nml\n\n/exchange:\nml"
    assert "No such file" in say(site, "eve", "ls /courses")
    assert "/courses" in say(site, "ada", "readlink ~/courses")


def test_hand_ins_are_the_students_own_and_formgrader_the_teachers(site: Installation) -> None:
    for name in ("ada", "grace"):
        start(site, name)
    assert (
        say(site, "ada", "ls /exchange/cs231; ls /courses/cs231") == "feedback\ninbound\noutbound\ndata\nteam"
    )
    assert say(site, "grace", "ls /exchange/cs231/inbound") == "ada\nbob"
    page = site.client("grace").page("/user/grace/formgrader")
    assert page.status_code == 200
    assert "manage_assignments" in page.url
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert site.client("ada").page("/user/ada/formgrader").status_code == 404
    for name in ("ada", "mallory"):
        assert site.client(name).page("/user/grace/formgrader").status_code == 403
    assert "the first is yours" not in page.text


def test_an_assistant_grades_only_where_the_course_says_so(site: Installation) -> None:
    start(site, "amy")
    assert say(site, "amy", "ls /courses/cs231") == "data\nteams"
    assert say(site, "amy", "ls /exchange/cs231/inbound") == ""
    assert site.client("amy").page("/user/amy/formgrader").status_code == 404
    site.client("amy").stop()
    pages = {name: site.client(name) for name in ("amy", "grace")}
    for client in pages.values():
        client.log_in_to_controller()
    shown = {name: client.page("/services/gpu/courses/cs231").text for name, client in pages.items()}
    assert "formgrader" in shown["grace"]
    assert "formgrader" not in shown["amy"]


def test_the_link_of_a_course_starts_its_image_and_pulls_its_notebooks(site: Installation) -> None:
    site.client("ada").stop()
    link = urlsplit(site.run("gpuspawner", "course", "link", "cs231", name="hub").strip())
    course = site.client("grace")
    course.log_in_to_controller()
    shown = course.page("/services/gpu/courses/cs231")
    assert f"{link.path}?{link.query}".replace("&", "&amp;") in shown.text
    ada = site.client("ada")
    ada.page(f"{link.path}?{link.query}")
    assert ada.wait_ready().ready
    landed = ada.page("/user/ada/")
    where = urlsplit(landed.url)
    assert where.path == "/user/ada/git-pull"
    asked = {key: value[0] for key, value in parse_qs(where.query).items()}
    assert asked["urlpath"] == "lab/tree/cs231/start.ipynb"
    told = ada.page("/user/ada/git-pull/api", params={k: asked[k] for k in ("repo", "branch", "targetpath")})
    assert '"phase": "finished"' in told.text, told.text
    assert say(site, "ada", "ls ~/cs231") == "start.ipynb"
    assert ada.page("/user/ada/lab/tree/cs231/start.ipynb").status_code == 200
    again = ada.page(f"{link.path}?{link.query}")
    assert urlsplit(again.url).path == "/user/ada/git-pull", "a server that runs pulls at once"


def test_who_is_not_in_the_course_is_refused(site: Installation) -> None:
    site.client("eve").stop()
    for options, says in (
        ({"notebooks": "cs231"}, "You are in no course 'cs231' that has notebooks."),
        ({"notebooks": ["cs231"]}, "notebooks must be a text"),
        ({"notebooks": "../x"}, "You are in no course '../x'"),
    ):
        started = site.client("eve").spawn(options)
        assert not started.ready
        assert says in started.message
    site.client("bob").stop()
    refused = site.client("bob").spawn({"notebooks": "cs231", "image": OTHER})
    assert f"are opened in the image '{IMAGE}'" in refused.message
    assert "Notebooks to open" in site.client("bob").page("/hub/spawn").text
    assert "Notebooks to open" not in site.client("eve").page("/hub/spawn").text


def test_a_directory_that_is_gone_and_one_that_leads_astray_are_told(
    site: Installation, folder: Path
) -> None:
    site.client("eve").stop()
    (folder / "public").rename(folder / "kept")
    try:
        assert "at /data is not there" in site.client("eve").spawn({"image": OTHER}).message
        (folder / "public").symlink_to("/etc")
        assert "cannot be shared" in site.client("eve").spawn({"image": OTHER}).message
    finally:
        (folder / "public").unlink(missing_ok=True)
        (folder / "kept").rename(folder / "public")
    assert site.client("eve").spawn({"image": OTHER}).ready
