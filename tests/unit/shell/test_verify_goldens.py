"""Where golden values are read, and where new ones go."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from gpuspawner.cli import main
from gpuspawner.core.errors import SettingsError
from gpuspawner.setup.paths import RELEASE_MARK, Paths
from gpuspawner.shell import verify as command
from gpuspawner.shell.verify import find_goldens


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, or with its mark a release, in which nobody has settings."""
    root = tmp_path / "checkout"
    (root / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUSPAWNER_CONFIG", raising=False)
    monkeypatch.setattr(command, "GOLDENS", root / "images" / "goldens.json")
    monkeypatch.setattr(command, "Paths", lambda: Paths(root))
    return root


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "site.yml"
    file.write_text(f"state_dir: {tmp_path}/state\nimages: {{base: demo/base:1}}\n")
    return file


def test_in_a_checkout_they_are_committed(checkout: Path, settings: Path, tmp_path: Path) -> None:
    committed, own = checkout / "images" / "goldens.json", tmp_path / "state" / "goldens.json"
    assert find_goldens(None, None, record=True) == ((committed,), committed)
    assert find_goldens(None, settings, record=True) == ((committed, own), committed)


def test_a_release_keeps_none_that_the_next_would_not_have(
    checkout: Path, settings: Path, tmp_path: Path
) -> None:
    (checkout / RELEASE_MARK).touch()
    committed, own = checkout / "images" / "goldens.json", tmp_path / "state" / "goldens.json"
    assert find_goldens(None, settings, record=True) == ((committed, own), own)
    assert find_goldens(None, None, record=False).read == (committed,)
    with pytest.raises(SettingsError, match="--settings FILE or GPUSPAWNER_CONFIG"):
        find_goldens(None, None, record=True)


def test_a_file_that_was_named_is_the_only_one(checkout: Path, settings: Path, tmp_path: Path) -> None:
    named = tmp_path / "mine.json"
    assert find_goldens(named, settings, record=True) == ((named,), named)


@pytest.mark.usefixtures("checkout")
def test_a_value_that_could_not_be_recorded_is_not_trained_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> None:
        pytest.fail("the image is looked for")

    monkeypatch.setattr(command, "DockerImages", look)
    result = CliRunner().invoke(main, ["verify", "x", "--record", "--goldens", "nowhere/goldens.json"])
    assert result.exit_code == 1
    assert "nowhere is no folder that you may write to" in result.output
