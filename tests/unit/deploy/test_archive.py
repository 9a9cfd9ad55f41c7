"""A release is named by its contents, and holds what a server needs and nothing else."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from gpuspawner.deploy.archive import PARTS, pack
from gpuspawner.setup.paths import CHECKOUT, RELEASE_MARK, Paths


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "spawner" / "gpuspawner").mkdir(parents=True)
    (root / "images" / "minimal").mkdir(parents=True)
    for part in PARTS:
        if not (root / part).is_dir():
            (root / part).write_text(part)
    (root / "spawner" / "gpuspawner" / "cli.py").write_text("print()\n")
    (root / "images" / "minimal" / "entrypoint.sh").write_text("#!/bin/sh\n")
    (root / "images" / "minimal" / "entrypoint.sh").chmod(0o755)
    return root


def test_the_same_contents_have_the_same_name_and_the_same_archive(checkout: Path, tmp_path: Path) -> None:
    first = pack(checkout, tmp_path / "a")
    other = tmp_path / "elsewhere"
    shutil.copytree(checkout, other)
    (other / "spawner" / "gpuspawner" / "cli.py").touch()
    second = pack(other, tmp_path / "b")
    assert first.name == second.name
    assert first.archive.read_bytes() == second.archive.read_bytes()


@pytest.mark.parametrize("change", ["text", "mode", "new"])
def test_other_contents_have_another_name(checkout: Path, tmp_path: Path, change: str) -> None:
    before = pack(checkout, tmp_path).name
    script = checkout / "images" / "minimal" / "entrypoint.sh"
    if change == "text":
        script.write_text("#!/bin/sh\nexit 1\n")
    elif change == "mode":
        script.chmod(0o644)
    else:
        (checkout / "spawner" / "gpuspawner" / "new.py").write_text("")
    assert pack(checkout, tmp_path).name != before


def test_what_running_leaves_does_not_matter(checkout: Path, tmp_path: Path) -> None:
    before = pack(checkout, tmp_path).name
    for left in ("__pycache__", "gpuspawner.egg-info"):
        (checkout / "spawner" / left).mkdir()
        (checkout / "spawner" / left / "x").write_text("x")
    (checkout / ".gpuspawner").mkdir()
    (checkout / "tests").mkdir()
    assert pack(checkout, tmp_path).name == before


def test_a_release_unpacked_knows_that_it_is_one(checkout: Path, tmp_path: Path) -> None:
    release = pack(checkout, tmp_path)
    with tarfile.open(release.archive) as tar:
        tar.extractall(tmp_path / "there", filter="data")
        owners = {(member.uid, member.gid, member.mtime) for member in tar}
    there = Paths(tmp_path / "there")
    assert there.is_release
    assert (there.root / RELEASE_MARK).read_text().strip() == release.name
    assert there.venv == there.root / "venv"
    assert (there.root / "images" / "minimal" / "entrypoint.sh").stat().st_mode & 0o777 == 0o755
    assert owners == {(0, 0, 0)}


def test_this_checkout_is_no_release_and_can_be_packed(tmp_path: Path) -> None:
    assert not Paths(CHECKOUT).is_release
    assert Paths(CHECKOUT).venv == CHECKOUT / ".gpuspawner" / "venv"
    with tarfile.open(pack(CHECKOUT, tmp_path).archive) as tar:
        names = set(tar.getnames())
    assert {"jupyterhub_config.py", "spawner/requirements.lock", "images/images.toml"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", ".git"))]


def test_an_archive_that_was_cut_off_is_not_taken(checkout: Path, tmp_path: Path) -> None:
    release = pack(checkout, tmp_path)
    release.archive.rename(release.archive.with_suffix(".4711"))
    assert pack(checkout, tmp_path).archive.exists()
