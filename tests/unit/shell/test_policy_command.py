"""``gpuspawner policy``: what it prints, and where it looks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Rosters
from gpuspawner.cli import main
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.roster import Entry, Kind, Role, Who

SETTINGS = """\
state_dir: /srv/gpuspawner
images: {base: demo/base:1, torch: demo/torch:1}
policy: policy.yml
limits: {gpus_per_server: 2, gpus_per_person: 2, memory: 8G}
"""
POLICY = """\
groups:
  default: {gpus_per_person: 1, images: [base]}
  lab: {gpus_per_person: 4, longest_session: 8 h, models: [A100]}
  students:
people:
  ada: {groups: [lab]}
  grace:
courses:
  cs231:
    group: students
    teachers: [grace]
    image: torch
    seats: 30
    mounts: [{path: /srv/data, target: /data, mode: rw}]
    materials: [{path: /srv/notes, target: /notes}]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUSPAWNER_CONFIG", raising=False)
    (tmp_path / "gpuspawner.yml").write_text(SETTINGS)
    (tmp_path / "policy.yml").write_text(POLICY)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["policy", *words])


def test_check() -> None:
    found = run("check")
    assert found.exit_code == 0
    assert found.output.splitlines() == [
        "policy.yml is right: 3 groups, 2 people, 1 course.",
        "note: group `lab`: models and pools A100 changes nothing: everybody has all (settings), and the "
        "best of all rules counts.",
        "note: group `lab`: longest_session 8 h changes nothing: everybody has unlimited (settings), and the "
        "best of all rules counts.",
        "note: there is no directory /srv/data on this host: starts that need it are refused.",
        "note: there is no directory /srv/notes on this host: starts that need it are refused.",
    ]


def test_check_finds_the_directories_that_are_there(folder: Path) -> None:
    (folder / "data").mkdir()
    groups = f"groups: {{lab: {{data: [{{path: {folder}/data, target: /data}}]}}}}\n"
    (folder / "new.yml").write_text(groups)
    assert run("check", "new.yml").output == "new.yml is right: 1 group, 0 people, 0 courses.\n"
    (folder / "data").rmdir()
    assert f"there is no directory {folder}/data on this host" in run("check", "new.yml").output


def test_check_a_file_by_name(folder: Path) -> None:
    (folder / "new.yml").write_text("groups: {default: {gpu_per_person: 1}}")
    found = run("check", "new.yml")
    assert found.exit_code == 1
    assert found.output == (
        "Error: new.yml, line 1: groups.default.gpu_per_person is not a key of the policy; did you mean "
        "'gpus_per_person'?\n"
    )
    (folder / "new.yml").write_text("groups: {default: {gpus_per_person: 1}}")
    assert run("check", "new.yml").output == "new.yml is right: 1 group, 0 people, 0 courses.\n"


def test_images_are_those_of_the_settings(folder: Path) -> None:
    (folder / "policy.yml").write_text("groups: {default: {images: [bas]}}")
    assert "there is no image 'bas'; did you mean 'base'?" in run("check").output
    (folder / "gpuspawner.yml").unlink()
    found = run("check", "policy.yml")
    assert found.exit_code == 0
    assert "No settings file was found: the names of images were not checked." in found.output


def test_settings_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gpuspawner.yml").rename(folder / "other.yml")
    assert "There is no settings file here." in run("check").output
    assert run("check", "--settings", "other.yml").exit_code == 0
    monkeypatch.setenv("GPUSPAWNER_CONFIG", "other.yml")
    assert run("check").exit_code == 0
    monkeypatch.setenv("GPUSPAWNER_CONFIG", "missing.yml")
    assert "The settings file missing.yml cannot be read" in run("check").output


def test_demo_settings(folder: Path) -> None:
    demo = folder / ".gpuspawner" / "demo"
    demo.mkdir(parents=True)
    (folder / "gpuspawner.yml").rename(demo / "gpuspawner.yml")
    assert run("check").exit_code == 0


def test_settings_without_a_policy(folder: Path) -> None:
    (folder / "gpuspawner.yml").write_text(SETTINGS.replace("policy: policy.yml\n", ""))
    found = run("explain", "ada")
    assert found.exit_code == 1
    assert "gpuspawner.yml names no policy. Set `policy: PATH` there, or give the file." in found.output
    assert run("explain", "ada", "--policy", "policy.yml").exit_code == 0


def test_explain() -> None:
    assert (
        run("explain", "ada", "--group", "students", "--group", "campus").output
        == """\
ada: in lab, students
not in the policy, without an effect: campus
course cs231 (student), image torch
  /srv/notes at /notes, ro
  /srv/data at /data, rw

LIMIT               VALUE        RULE
gpus_per_person     4            group `lab`
gpus_per_server     2            settings
models and pools    all          settings
slices              all          settings
images              base, torch  default and course `cs231`
memory              8G           settings
cpus                unlimited    settings
shm                 1G           settings
longest_session     unlimited    settings
extension           0            settings
idle_gpu            2 h          settings
idle_gpu_wanted     30 min       settings
keep                4 h          settings
idle_cpu            unlimited    settings
gpu_hours_per_week  unlimited    settings
weight              1            settings
guaranteed_share    0 %          settings
ssh                 true         settings
"""
    )


def test_explain_a_teacher_and_a_stranger() -> None:
    assert run("explain", "grace").output.startswith(
        "grace: in no group of the policy\ncourse cs231 (teacher), image torch\n"
    )
    assert run("explain", "zoe").output.startswith("zoe: in no group of the policy\n\nLIMIT")


def test_explain_for_programs() -> None:
    found = json.loads(run("explain", "ada", "--group", "students", "--group", "x", "--json").output)
    limits = found.pop("limits")
    assert found == {
        "schema": 1,
        "user": "ada",
        "groups": ["lab", "students"],
        "unknown_groups": ["x"],
        "data": [],
        "courses": [
            {
                "name": "cs231",
                "teacher": False,
                "role": "student",
                "image": "torch",
                "team": "",
                "hand_in": False,
                "folders": [],
                "mounts": [
                    {"path": "/srv/notes", "target": "/notes", "read_only": True},
                    {"path": "/srv/data", "target": "/data", "read_only": False},
                ],
            }
        ],
    }
    assert limits["images"] == {
        "value": ["base", "torch"],
        "rules": ["default", "course `cs231`"],
    }
    assert limits["memory"] == {"value": 8 * 2**30, "rules": ["settings"]}
    assert limits["longest_session"] == {"value": None, "rules": ["settings"]}


def test_explain_data_folders_and_hand_ins(folder: Path) -> None:
    """All that will be in somebody's servers, and how they take part."""
    (folder / "gpuspawner.yml").write_text(f"{SETTINGS}courses: {{directory: /srv/courses}}\n")
    data = "students: {data: [{path: /srv/scans, target: /scans}]}"
    everybody = "images: [base], data: [{path: /srv/all, target: /all}]}"
    text = POLICY.replace("students:", data, 1).replace("images: [base]}", everybody)
    (folder / "policy.yml").write_text(text.replace("    seats: 30", "    hand_in: true"))
    ledger = Ledger(folder / "ledger.db")
    entry = Entry(Who(Kind.PERSON, "ada"), Role.STUDENT, "blue")
    Rosters(ledger).apply("cs231", [entry], seen=0, actor=Actor("root", ActorKind.SHELL))
    ledger.close()
    found = run("explain", "ada", "--ledger", "ledger.db")
    assert found.output.splitlines()[1:9] == [
        "data of default: /srv/all at /all, ro",
        "data of students: /srv/scans at /scans, ro",
        "course cs231 (student), image torch, team blue, hands in",
        "  /srv/notes at /notes, ro",
        "  /srv/data at /data, rw",
        "  /srv/courses/cs231/teams/blue at /courses/cs231/team, rw",
        "  /srv/courses/cs231/outbound at /exchange/cs231/outbound, ro",
        "  /srv/courses/cs231/inbound/ada at /exchange/cs231/inbound, rw",
    ]
    told = json.loads(run("explain", "ada", "--ledger", "ledger.db", "--json").output)
    assert told["data"][1] == {
        "group": "students",
        "path": "/srv/scans",
        "target": "/scans",
        "read_only": True,
    }
    (course,) = told["courses"]
    assert (course["team"], course["hand_in"], len(course["folders"])) == ("blue", True, 4)
    assert "image torch, grades hand-ins\n" in run("explain", "grace").output


def test_times_for_programs_are_seconds(folder: Path) -> None:
    (folder / "policy.yml").write_text("groups: {default: {longest_session: 8 h}}")
    found = json.loads(run("explain", "ada", "--json").output)
    assert found["limits"]["longest_session"]["value"] == 8 * 3600
