"""``gpuspawner passport``: what it makes, where it puts it, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gpuspawner.cli import main
from gpuspawner.passport.shelf import Shelf, read_passport
from gpuspawner.shell import passport as command
from support.fake_docker import image_id
from support.fake_images import TORCH, FakeImages, make_passport, run

SETTINGS = """\
state_dir: state
images: {Base: demo/base:1, PyTorch: demo/torch:1}
"""
TOLD = {
    "python": "3.13.5",
    "packages": {"numpy": "2.3.5"},
    "debian": {"git": "1:2.47"},
    "torch": {
        "torch": "2.9.1",
        "cuda": "12.8",
        "cudnn": "9.10.2",
        "nccl": "2.27.5",
        "architectures": ["sm_80"],
    },
    "image": {"name": "pytorch-2.9", "lock_hash": "12" * 32},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUSPAWNER_CONFIG", raising=False)
    (tmp_path / "gpuspawner.yml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeImages:
    fake = FakeImages("demo/base:1", "demo/torch:1")
    fake.told = json.dumps(TOLD)
    monkeypatch.setattr(command, "DockerImages", lambda: fake)
    monkeypatch.setattr(command, "_catalogue", lambda: ())
    return fake


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf(folder / "state" / "passports")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["passport", *arguments])


def asks(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["PyTorch", "demo/torch:1", image_id("demo/torch:1")])
def test_make(engine: FakeImages, shelf: Shelf, name: str) -> None:
    result = call("make", name)
    assert result.exit_code == 0, result.output
    assert "1 Python packages, tried on nothing yet" in result.output
    found = shelf.find(image_id("demo/torch:1"))
    assert found is not None
    assert (found.image, found.versions.torch, found.compute_capabilities) == (
        "pytorch-2.9",
        "2.9.1",
        ("8.0",),
    )


def test_all_are_made_once(engine: FakeImages, shelf: Shelf) -> None:
    assert call("make", "--all").exit_code == 0
    engine.told = ""  # nobody could be looked into now
    assert call("make", "--all").exit_code == 0
    assert len(list(shelf.all())) == 2
    result = call("make", "PyTorch")
    assert result.exit_code == 1
    assert "There is no Python in the image" in result.output


def test_what_was_tried_is_kept(engine: FakeImages, shelf: Shelf) -> None:
    shelf.put(make_passport(lock_hash=None, runs={"sm_80": run()}, tests={"imports": "passed"}))
    assert "tried on sm_80" in call("make", "PyTorch").output
    found = shelf.find(image_id("demo/torch:1"))
    assert found is not None
    assert (list(found.runs), found.tests, found.lock_hash) == (["sm_80"], {"imports": "passed"}, "12" * 32)


def test_a_damaged_one_is_replaced(engine: FakeImages, shelf: Shelf) -> None:
    shelf.directory.mkdir(parents=True)
    shelf.path_of(image_id("demo/torch:1")).write_text("{")
    assert call("list").exit_code == 1
    assert "is damaged" in call("list").output
    assert call("make", "--all").exit_code == 0
    assert call("list").exit_code == 0


def test_what_came_with_the_repository(
    engine: FakeImages, shelf: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of another build from the same locks hold, and --commit puts the passport into the folder."""
    committed = folder / "passport.json"
    named = command.Named("pytorch-2.9", "demo/torch:1", committed)
    monkeypatch.setattr(command, "find_image", lambda name, settings: named)
    same = {"lock_hash": "12" * 32, "packages": TOLD["packages"]}
    other = make_passport("elsewhere", **same, runs={"sm_90": run()})
    liar = other.model_copy(update={"packages": {"numpy": "2.3.6"}})
    committed.write_text(liar.model_dump_json())
    assert "it has other packages than" in call("make", "pytorch-2.9").output
    committed.write_text(other.model_dump_json())
    assert call("make", "pytorch-2.9", "--commit").exit_code == 0
    found = read_passport(committed)
    assert found is not None
    assert (found.digest, list(found.runs)) == (image_id("demo/torch:1"), ["sm_90"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("make", "nothing:1"), "The image nothing:1 is not on this host. Build it with `make images`"),
        (("make",), "No image was named"),
        (("make", "PyTorch", "--commit"), "it has no folder to commit to"),
        (("show", "PyTorch"), "has no passport. Make it: gpuspawner passport make PyTorch"),
    ],
)
def test_what_cannot_be_done(engine: FakeImages, arguments: tuple[str, ...], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 1
    assert says in result.output


def test_a_silent_engine(engine: FakeImages, shelf: Shelf) -> None:
    engine.answers = False
    result = call("make", "PyTorch")
    assert result.exit_code == 1
    assert "no answer within" in result.output
    assert list(shelf.all()) == []


def test_list_and_show(engine: FakeImages, shelf: Shelf) -> None:
    assert "No passport is here" in call("list").output
    shelf.put(make_passport(**TORCH, runs={"sm_80": run(card="A100", driver="580.1"), "cpu-avx2": run()}))
    line = call("list").output.splitlines()[1]
    assert [
        word for word in line.split() if word in ("torch", "2030-05-01", "2.9.1", "12.8", "525.60.13+")
    ] == ["torch", "2030-05-01", "2.9.1", "12.8", "525.60.13+"]
    assert asks(call("list", "--json"))["passports"][0]["image"] == "torch"
    text = call("show", "PyTorch").output
    assert "driver    525.60.13 or newer" in text
    assert "sm_80     2030-05-01, A100 under driver 580.1, 12.5 ms/step" in text
    assert "cpu-avx2  2030-05-01, no GPU, 12.5 ms/step" in text
    assert asks(call("show", "PyTorch", "--json"))["digest"] == image_id("demo/torch:1")
    assert asks(call("show", "PyTorch", "--spdx"))["spdxVersion"] == "SPDX-2.3"


def test_another_directory(engine: FakeImages, folder: Path) -> None:
    assert call("make", "PyTorch", "--passports", "here").exit_code == 0
    assert len(list((folder / "here").iterdir())) == 1
