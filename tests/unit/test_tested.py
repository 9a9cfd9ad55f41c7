"""When the playbooks are tried again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gpuspawner.setup.paths import CHECKOUT
from support import tested

MODULE, OTHER = "tests/ansible/test_cards.py", "tests/ansible/test_reach.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (*tested.INPUTS, *tested.PAGES, *tested.list_modules(CHECKOUT)):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, target)
    return tmp_path


def test_everything_that_is_listed_is_there() -> None:
    assert [name for name in (*tested.INPUTS, *tested.PAGES) if not (CHECKOUT / name).exists()] == []
    units = "ansible/roles/gpuspawner/templates/hub.service.j2"
    assert units in [name for name, _ in tested.list_inputs(CHECKOUT, MODULE)]
    assert MODULE in tested.list_modules(CHECKOUT)
    assert "tests/ansible/test_playbooks.py" not in tested.list_modules(CHECKOUT), "it needs no server"


@pytest.mark.parametrize(
    ("file", "old", "new", "again"),
    [
        ("docs/maintenance.md", "A hub over the years", "A hub", False),
        ("docs/maintenance.md", "upgrade.yml\n```", "upgrade.yml -v\n```", True),
        ("docs/install.md", "make ansible\n```", "make ansible FRESH=1\n```", True),
        ("ansible/site.yml", "hosts: all", "hosts: some", True),
        (
            "ansible/roles/gpuspawner/templates/hub.service.j2",
            "PrivateDevices=yes",
            "PrivateDevices=no",
            True,
        ),
        ("spawner/gpuspawner/hubconfig.py", "def apply", "def  apply", True),
        ("spawner/requirements.lock", "jupyterhub==", "jupyterhub==9", True),
    ],
)
def test_a_change_of_what_they_do_counts_and_one_of_words_does_not(
    checkout: Path, file: str, old: str, new: str, again: bool
) -> None:
    before = tested.digest(checkout, MODULE)
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    assert (tested.digest(checkout, MODULE) != before) is again


def test_what_running_them_leaves_does_not_count(checkout: Path) -> None:
    before = tested.digest(checkout, MODULE)
    for name in ("ansible/tested.json", "ansible/inventory/simulated/secrets/ada"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    assert tested.digest(checkout, MODULE) == before
    assert before == tested.digest(CHECKOUT, MODULE)


def test_a_module_that_changes_is_run_again_and_the_others_are_not(checkout: Path) -> None:
    before = tested.digests(checkout)
    assert {MODULE, OTHER} <= before.keys()
    with (checkout / MODULE).open("a") as file:
        file.write("# more\n")
    after = tested.digests(checkout)
    assert [name for name in before if before[name] != after[name]] == [MODULE]


class Report:
    def __init__(self, name: str, when: str, outcome: str) -> None:
        self.nodeid, self.when = name, when
        self.passed, self.failed = outcome == "passed", outcome == "failed"


@pytest.mark.parametrize(
    ("reports", "whole"),
    [
        ([("a", "call", "passed"), ("b", "call", "passed"), ("b", "teardown", "passed")], True),
        ([("a", "call", "passed")], False),
        ([("a", "call", "passed"), ("b", "call", "failed")], False),
        ([("a", "call", "passed"), ("b", "setup", "skipped")], False),
        ([("a", "call", "passed"), ("b", "setup", "failed")], False),
        ([("a", "call", "passed"), ("b", "call", "passed"), ("b", "teardown", "failed")], False),
    ],
)
def test_what_is_written_down_is_what_has_passed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: list[tuple[str, str, str]], whole: bool
) -> None:
    file = tmp_path / "tested.json"
    monkeypatch.setattr(tested, "TESTED", file)
    now = tested.digests(CHECKOUT)
    tested.write(file, {OTHER: now[OTHER], "tests/ansible/test_gone.py": "x"}, [OTHER])
    passing = tested.Passing([f"{MODULE}::a", f"{MODULE}::b"])
    for name, when, outcome in reports:
        passing.pytest_runtest_logreport(Report(f"{MODULE}::{name}", when, outcome))  # type: ignore[arg-type]
    passing.pytest_sessionfinish()
    assert tested.read(file) == {OTHER: now[OTHER]} | ({MODULE: now[MODULE]} if whole else {})
