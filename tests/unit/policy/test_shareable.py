"""What a policy may put into servers: data of groups, and what courses have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from gpuspawner.core.coursework import Coursework, Notebooks
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import Policy, choose_mounts, find_part
from gpuspawner.core.sharing import Mount, Places
from gpuspawner.policy.policy import load_policy

PLACES = Places({"/srv/homes": "people's homes"}, courses=True)


def load(folder: Path, places: Places | None = PLACES, **changes: Any) -> Policy:
    course = {"group": "students", "image": "base", **changes.pop("course", {})}
    groups = {"default": None, "students": None, "lab": None, **changes.pop("groups", {})}
    file = folder / "policy.yml"
    file.write_text(yaml.safe_dump({"groups": groups, "courses": {"cs231": course}, **changes}))
    return load_policy(file, images=["base"], places=places)


def data(path: str = "/srv/data", target: str = "/data") -> dict[str, Any]:
    return {"data": [{"path": path, "target": target}]}


def test_data_is_for_the_people_of_a_group_and_for_nobody_else(tmp_path: Path) -> None:
    policy = load(tmp_path, groups={"default": data("/srv/all", "/all"), "lab": data()})
    everybody, lab = Mount("/srv/all", "/all"), Mount("/srv/data", "/data")
    assert choose_mounts(policy, "ada", ["lab"], None) == (everybody, lab)
    assert choose_mounts(policy, "bob", ["students"], None) == (everybody,)
    assert choose_mounts(policy, "eve", ["Lab", "lab "], None) == (everybody,)


@pytest.mark.parametrize("path", ["/etc", "/srv/homes/ada", "/srv", "/proc", "/var/run/docker.sock"])
@pytest.mark.parametrize("section", ["data", "materials", "mounts"])
def test_what_is_private_is_not_shared(tmp_path: Path, path: str, section: str) -> None:
    one = {"path": path, "target": "/data", **({"mode": "ro"} if section == "mounts" else {})}
    changes = {"groups": {"lab": {"data": [one]}}} if section == "data" else {"course": {section: [one]}}
    with pytest.raises(SettingsError, match=rf"line \d+: \S+\.{section}\.0\.path: .*Share a directory"):
        load(tmp_path, **changes)


def test_homes_are_known_only_with_settings(tmp_path: Path) -> None:
    load(tmp_path, places=None, groups={"lab": data("/srv/homes")})


@pytest.mark.parametrize("target", ["/opt/jupyter", "/tmp", "/etc/ssl", "/courses", "/courses/cs231/team"])
def test_places_that_are_taken(tmp_path: Path, target: str) -> None:
    with pytest.raises(SettingsError, match=r"groups\.lab\.data\.0\.target: "):
        load(tmp_path, groups={"lab": data(target=target)})


def test_a_directory_of_a_course_lies_beside_its_folders(tmp_path: Path) -> None:
    one = {"path": "/srv/data", "target": "/courses/cs231/data"}
    assert load(tmp_path, course={"materials": [one]}).courses[0].mounts == (
        Mount("/srv/data", "/courses/cs231/data"),
    )


@pytest.mark.parametrize("other", ["/data", "/data/more"])
def test_two_things_at_one_place_are_refused(tmp_path: Path, other: str) -> None:
    course = {"materials": [{"path": "/srv/other", "target": other}]}
    with pytest.raises(SettingsError, match="groups 'lab' has something else at /data"):
        load(tmp_path, groups={"lab": data()}, course=course)
    with pytest.raises(SettingsError, match="has something else at /data"):
        load(tmp_path, groups={"lab": data(), "students": data("/srv/other", other)})


def test_two_groups_may_have_the_same(tmp_path: Path) -> None:
    policy = load(tmp_path, groups={"lab": data(), "students": data()})
    assert choose_mounts(policy, "ada", ["lab", "students"], None) == (Mount("/srv/data", "/data"),)


def test_nothing_is_shared_out_of_a_directory_that_people_can_write(tmp_path: Path) -> None:
    course = {"mounts": [{"path": "/srv/in", "target": "/in", "mode": "rw"}]}
    with pytest.raises(SettingsError, match=r"it lies in /srv/in, where people can write"):
        load(tmp_path, groups={"lab": data("/srv/in/data")}, course=course)


def test_hand_in_and_notebooks_of_a_course(tmp_path: Path) -> None:
    notebooks = {"repository": "https://git.example.org/cs231.git", "open": "week1/start.ipynb"}
    course = load(tmp_path, course={"hand_in": True, "notebooks": notebooks}).courses[0]
    assert course.work == Coursework(
        True, Notebooks("https://git.example.org/cs231.git", "main", "week1/start.ipynb")
    )


@pytest.mark.parametrize("assistants", [False, True])
def test_assistants_grade_if_the_policy_says_so(tmp_path: Path, assistants: bool) -> None:
    course = {"hand_in": True, "assistants": ["amy"]} | ({"assistants_grade": True} if assistants else {})
    policy = load(tmp_path, course=course, people={"amy": {}})
    part = find_part(policy, "amy", (), policy.courses[0].name)
    assert part is not None
    assert part.grades is assistants


def test_what_all_of_a_course_can_read(tmp_path: Path) -> None:
    course = {
        "hand_in": True,
        "materials": [{"path": "/srv/notes", "target": "/notes"}],
        "mounts": [
            {"path": "/srv/ro", "target": "/ro", "mode": "ro"},
            {"path": "/srv/rw", "target": "/rw", "mode": "rw"},
        ],
    }
    groups = {
        "default": data("/srv/all", "/all"),
        "lab": data("/srv/lab", "/lab"),
        "students": data("/srv/s", "/s"),
    }
    policy = load(tmp_path, groups=groups, course=course, people={"amy": {"groups": ["students", "lab"]}})
    part = find_part(policy, "amy", (), policy.courses[0].name)
    assert part is not None
    assert [mount.target for mount in part.data] == ["/all", "/s", "/notes", "/ro"]


def test_hand_in_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"courses\.cs231\.hand_in: .*Set courses\.directory"):
        load(tmp_path, Places({}, courses=False), course={"hand_in": True})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repository", "https://ada:geheim@git.example.org/a"),
        ("repository", "ext::geheim"),
        ("branch", "-x"),
        ("open", "../geheim"),
    ],
)
def test_notebooks_that_are_none(tmp_path: Path, key: str, value: str) -> None:
    notebooks = {"repository": "https://git.example.org/cs231.git", key: value}
    with pytest.raises(SettingsError, match=rf"courses\.cs231\.notebooks\.{key}: write ") as told:
        load(tmp_path, course={"notebooks": notebooks})
    assert key != "repository" or "geheim" not in str(told.value)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'repository'"):
        load(tmp_path, course={"notebooks": {"repositry": "https://git.example.org/a"}})
