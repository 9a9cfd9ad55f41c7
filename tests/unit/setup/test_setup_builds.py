"""Which images are built for whom, in which order, and how much room that takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.setup import diskspace
from gpuspawner.setup.builds import (
    Choice,
    choose_all,
    choose_changed,
    choose_named,
    choose_small,
    plan_builds,
    require_names,
    with_parents,
)
from gpuspawner.setup.diskspace import CUDA, GIB, SMALL, estimate_need, require_space
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.sif import define

ALL = load_catalogue()
BY_NAME = {one.name: one for one in ALL}
CHAIN = ["base", "minimal", "science", "workbench", "editor"]


def names(entries: object) -> list[str]:
    return [one.name for one in entries]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("chosen", "built"),
    [
        (choose_all, [*CHAIN[:3], "course", *CHAIN[3:], "pytorch-2.9", "pytorch-2.7"]),
        (choose_small, [*CHAIN[:3], "course"]),
        (choose_named("pytorch-2.7"), [*CHAIN, "pytorch-2.7"]),
    ],
)
def test_each_command_builds_what_is_needed_and_its_parents(chosen: Choice, built: list[str]) -> None:
    assert names(with_parents(ALL, chosen)) == built
    assert names(plan_builds(ALL, chosen, lambda reference: False)) == built


def has(*references: str) -> Callable[[str], bool]:
    return lambda reference: reference in references


def test_only_what_is_missing_is_built() -> None:
    everything = [one for entry in ALL for one in (entry.packages, entry.reference)]
    torch = BY_NAME["pytorch-2.9"]
    assert plan_builds(ALL, choose_all, has(*everything)) == []
    finished = has(*(one for one in everything if one != torch.reference))
    assert names(plan_builds(ALL, choose_all, finished)) == ["pytorch-2.9"]
    without = has(*(one for one in everything if one not in (torch.reference, torch.packages)))
    assert names(plan_builds(ALL, choose_all, without)) == ["pytorch-2.9"]
    # An image that came from a registry has no packages to stand on: they are built.
    fetched = has(*(one.reference for one in ALL if one.name in ("base", "minimal", "science")))
    assert names(plan_builds(ALL, choose_named("pytorch-2.9"), fetched)) == [
        "minimal", "science", "workbench", "editor", "pytorch-2.9"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("passport", "changed"),
    [
        (None, True),
        ("not JSON", True),
        ("[]", True),
        (json.dumps({"lock_hash": "0" * 64}), True),
        (json.dumps({"lock_hash": BY_NAME["pytorch-2.9"].lock_hash}), False),
    ],
)
def test_ci_builds_torch_only_where_the_lock_is_not_that_of_the_passport(
    tmp_path: Path, passport: str | None, changed: bool
) -> None:
    entry = replace(BY_NAME["pytorch-2.9"], folder=tmp_path)
    if passport is not None:
        (tmp_path / "passport.json").write_text(passport)
    assert choose_changed(entry) is changed
    assert choose_changed(replace(BY_NAME["minimal"], folder=tmp_path)), "the small ones are always built"


def test_a_name_that_is_none_is_told() -> None:
    require_names(ALL, ["pytorch-2.9"])
    with pytest.raises(SetupError, match=r"no image 'pytorch-2.8' .* Did you mean 'pytorch-2\.\d'"):
        require_names(ALL, ["pytorch-2.8"])
    with pytest.raises(SetupError, match="no image 'workbench' to be built"):
        require_names(ALL, ["workbench"])


def course(folder: Path) -> ImageEntry:
    """A thin layer on PyTorch, whose lock names PyTorch too."""
    lock = folder / "requirements.lock"
    lock.write_text("torch==2.9.1\nnvidia-cublas-cu12==12.8.4.1\nlightning==2.5.0\n")
    torch = BY_NAME["pytorch-2.9"]
    return replace(torch, name="vision", locks=(*torch.locks, lock))


def test_room_is_asked_for_what_an_image_adds(tmp_path: Path) -> None:
    needs = {one.name: estimate_need(one) for one in (*ALL, course(tmp_path))}
    large = {name for name, need in needs.items() if need == CUDA}
    assert large == {"pytorch-2.9", "pytorch-2.7"}
    assert needs["vision"] == needs["minimal"] == SMALL


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diskspace, "capture", lambda command: f"{tmp_path}\n")
    torch = [BY_NAME["workbench"], BY_NAME["pytorch-2.9"]]
    require_space(torch, lambda path: CUDA + SMALL)
    with pytest.raises(SetupError) as told:
        require_space(torch, lambda path: CUDA + SMALL - 1)
    assert f"workbench, pytorch-2.9 needs {(CUDA + SMALL) // GIB} GiB in {tmp_path}; 14.0 GiB" in str(
        told.value
    )
    # Where packages are there already, only the last steps are done.
    require_space(torch, lambda path: GIB // 5, there=lambda reference: True)
    monkeypatch.setattr(diskspace, "capture", lambda command: "/on/another/machine\n")
    require_space(torch, lambda path: 0)


def test_a_definition_for_apptainer_begins_from_the_archive_beside_it() -> None:
    text = define(BY_NAME["pytorch-2.9"])
    header = dict(line.split(": ", 1) for line in text.splitlines() if line.startswith(("Bootstrap", "From")))
    assert header == {"Bootstrap": "docker-archive", "From": "pytorch-2.9.tar"}
    sections = [line for line in text.splitlines() if line.startswith("%")]
    assert sections == ["%labels", "%environment", "%runscript", "%test", "%help"]
    assert 'exec /usr/local/bin/gpuspawner-entrypoint "${@:-jupyterhub-singleuser}"' in text
    assert 'python -c "import torch"' in text
    assert 'python -c "import jupyterlab"' in define(BY_NAME["minimal"])
    assert BY_NAME["pytorch-2.9"].lock_hash in text
