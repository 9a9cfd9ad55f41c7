"""When the playbooks are tried again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gpuspawner.setup.paths import CHECKOUT
from support import tested


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (*tested.INPUTS, *tested.PAGES):
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
    assert units in [name for name, _ in tested.list_inputs(CHECKOUT)]


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
    before = tested.digest(checkout)
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    assert (tested.digest(checkout) != before) is again


def test_what_running_them_leaves_does_not_count(checkout: Path) -> None:
    before = tested.digest(checkout)
    for name in ("ansible/tested.json", "ansible/inventory/simulated/secrets/ada"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    assert tested.digest(checkout) == before
    assert before == tested.digest(CHECKOUT)
