"""The stamp: one file, whole or not at all, and nothing secret in it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpuspawner_session import image as images
from gpuspawner_session.cards import Card, Cards
from gpuspawner_session.cli import main
from gpuspawner_session.image import Image, read_image
from gpuspawner_session.magic import load_ipython_extension
from gpuspawner_session.packages import Package
from gpuspawner_session.stamp import build_stamp

NOW = datetime(2030, 5, 17, 10, 0, 0, tzinfo=timezone(timedelta(hours=2), "CEST"))
DIGEST = "sha256:" + "a" * 64


def test_what_it_says() -> None:
    image = Image("pytorch-2.9", "PyTorch 2.9", "b" * 64, ("base", "pytorch-2.9"), DIGEST)
    cards = Cards("present", "570.1", (Card("NVIDIA A100", "GPU-1", 5),))
    packages = (Package("numpy", "1.26.4", True, "2.3.0"), Package("torch", "2.9.1", False))
    data = build_stamp(image, cards, packages, {"PYTHONHASHSEED": 0}, NOW)
    assert (data["date"], data["time_zone"]) == ("2030-05-17T10:00:00+02:00", "CEST")
    assert data["image"] == {
        "name": "pytorch-2.9",
        "title": "PyTorch 2.9",
        "digest": DIGEST,
        "lock_hash": "b" * 64,
        "chain": ["base", "pytorch-2.9"],
    }
    assert data["gpus"] == {
        "state": "present",
        "why": None,
        "driver": "570.1",
        "cards": [{"model": "NVIDIA A100", "uuid": "GPU-1", "memory_bytes": 5}],
    }
    assert data["packages_of_user"] == ["numpy"]
    assert data["packages"] == [
        {"name": "numpy", "version": "1.26.4", "user": True, "replaces": "2.3.0"},
        {"name": "torch", "version": "2.9.1"},
    ]


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thesis.json"
    file.write_text("mine")
    assert main(["stamp", str(file)]) == 1
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_link_into_nothing_is_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "thesis.json"
    file.symlink_to(tmp_path / "elsewhere")
    assert main(["stamp", str(file)]) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_force_overwrites_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "thesis.json"
    file.write_text("old")
    assert main(["stamp", str(file), "--force"]) == 0
    assert json.loads(file.read_text())["schema"] == 1
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.json"]


def test_the_same_session_is_told_in_the_same_order(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        assert main(["stamp", str(tmp_path / name)]) == 0
        data = json.loads((tmp_path / name).read_text())
        data.pop("date")
        texts.append(json.dumps(data))
    assert texts[0] == texts[1]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stamp", str(tmp_path / "no" / "x.json")]) == 1
    error = capsys.readouterr().err
    assert "x.json" in error
    assert "No such file" in error


def test_nothing_of_the_environment_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "hunter2-token")
    monkeypatch.setenv("PYTHONHASHSEED", "hunter2-seed")
    monkeypatch.setenv(images.DIGEST_VARIABLE, "hunter2-digest")
    assert main(["stamp", "-"]) == 0
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize("text", [None, "", "[]", '{"name": 5, "chain": "x", "lock_hash": ""}'])
def test_outside_of_an_image_it_is_not_known(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "image.json"
    if text is not None:
        file.write_text(text)
    assert read_image(file) == Image()


# -- the magic ----------------------------------------------------------------------------------------------


class Shell:
    def __init__(self) -> None:
        self.user_ns = {"In": ["", "import random; random.seed(5)"]}
        self.magics: dict[str, Any] = {}

    def register_magic_function(self, function: Any, magic_kind: str) -> None:
        assert magic_kind == "line"
        self.magics[function.__name__] = function


@pytest.fixture
def magic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    shell = Shell()
    load_ipython_extension(shell)
    return shell.magics["gpuspawner_stamp"]


def test_the_magic_sees_the_seeds_of_its_notebook(magic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys  # noqa: PLC0415

    torch = SimpleNamespace(initial_seed=lambda: 7, cuda=SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", torch)
    magic("'my thesis.json'")
    seeds = json.loads(Path("my thesis.json").read_text())["seeds"]
    assert seeds["torch"] == 7
    assert seeds["calls"] == [{"cell": 1, "call": "random.seed(5)"}]


@pytest.mark.parametrize("line", ["--frce", "a b", "'open", "--help"])
def test_wrong_use_of_the_magic_ends_no_kernel(
    magic: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    magic(line)
    assert capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
