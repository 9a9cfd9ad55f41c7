"""When the Python environment is made anew, and when it is only completed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from gpuspawner.setup import environment
from gpuspawner.setup.environment import ensure_environment, is_ready
from gpuspawner.setup.paths import Paths


def checkout(root: Path) -> Paths:
    """A checkout with lock files and nothing else."""
    paths = Paths(root)
    own = (paths.root / "pyproject.toml", paths.session / "pyproject.toml")
    for file in (paths.runtime_lock, paths.tests_lock, paths.build_lock, *own):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file.name}\n")
    return paths


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were taken, which do nothing here but make the program ``python``."""
    steps: list[str] = []

    def make(paths: Paths) -> None:
        steps.append("venv")
        shutil.rmtree(paths.venv, ignore_errors=True)
        paths.python.parent.mkdir(parents=True)
        paths.python.touch()

    monkeypatch.setattr(environment, "_make_venv", make)
    monkeypatch.setattr(environment, "_pip", lambda paths, title, arguments, hashes=True: steps.append(title))
    return steps


def test_what_is_finished_is_not_made_again(tmp_path: Path, made: list[str]) -> None:
    paths = checkout(tmp_path / "here")
    ensure_environment(paths, tests=True)
    assert made[0] == "venv"
    made.clear()
    ensure_environment(paths, tests=True)
    ensure_environment(paths, tests=False)
    assert made == []


def test_what_the_tests_need_is_added_to_what_is_there(tmp_path: Path, made: list[str]) -> None:
    paths = checkout(tmp_path / "here")
    ensure_environment(paths, tests=False)
    made.clear()
    ensure_environment(paths, tests=True)
    assert made == ["Installing Python packages (tests/requirements.lock)"]


def test_a_checkout_that_was_moved_makes_its_environment_anew(tmp_path: Path, made: list[str]) -> None:
    ensure_environment(checkout(tmp_path / "here"), tests=True)
    (tmp_path / "here").rename(tmp_path / "there")
    made.clear()
    there = Paths(tmp_path / "there")
    assert not is_ready(there, tests=True)
    ensure_environment(there, tests=True)
    assert len(made) == 4
    assert made[0] == "venv"
    assert is_ready(there, tests=True)
