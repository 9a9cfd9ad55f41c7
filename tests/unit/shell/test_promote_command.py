"""``gpuspawner passport check`` and ``promote``: the gate before what everybody gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.passport.shelf import Shelf
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.shell import promote as command
from support.build import HOST, device, record
from support.fake_images import TORCH, FakeImages, make_passport, run

CATALOGUE = """\
# What is where.
[[image]]
name = "base"
title = "Debian"
description = "Nothing."
status = "layer"

[[image]]
name = "old"
parent = "base"
title = "Old"
description = "Of last year."
status = "default"

[[image]]
name = "new"
parent = "base"
title = "New"  # with a remark
description = "Of this year."
status = "candidate"
"""
CPU, BOTH = {"cpu-avx2": run()}, {"cpu-avx2": run(), "sm_80": run()}
FREEZE = ("--freeze", "old", "--until", "2031-07-31")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue in a checkout of its own, with a ledger that knows a real card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUSPAWNER_CONFIG", raising=False)
    monkeypatch.delenv("GPUSPAWNER_LEDGER", raising=False)
    images = tmp_path / "images"
    for name in ("base", "old", "new"):
        (images / name).mkdir(parents=True)
        (images / name / "Dockerfile").write_text("ARG PARENT\nFROM ${PARENT}\n")
    path = images / "images.toml"
    path.write_text(CATALOGUE)
    monkeypatch.setattr(command, "Paths", lambda: SimpleNamespace(images=images))
    monkeypatch.setattr(command, "read_catalogue", lambda: load_catalogue(path, locked=False))
    engine = FakeImages(*(entry.reference for entry in load_catalogue(path, locked=False)))
    monkeypatch.setattr(command, "DockerImages", lambda: engine)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ledger.write() as unit:
        unit.put_device(record(device=device(compute_capability=(8, 0))))
    ledger.close()
    return path


def entry(file: Path, name: str) -> ImageEntry:
    return next(one for one in load_catalogue(file, locked=False) if one.name == name)


def keep(file: Path, name: str, **changes: object) -> None:
    Shelf(file.parents[1] / "p").put(
        make_passport(entry(file, name).reference, image=name, **TORCH, **changes)
    )


def call(*arguments: str, ledger: str | None = "ledger.sqlite") -> Result:
    where = ["--ledger", ledger] if ledger else []
    more = ["--passports", "p", "--host", HOST, *where]
    return CliRunner().invoke(main, ["passport", *arguments, *more])


def test_promote(file: Path) -> None:
    keep(file, "new", runs=BOTH)
    result = call("promote", "new", *FREEZE)
    assert result.exit_code == 0, result.output
    assert "new is for everybody; it was tried on cpu-avx2, sm_80." in result.output
    assert file.read_text() == CATALOGUE.replace(
        'status = "default"', 'status = "frozen"\nuntil = 2031-07-31'
    ).replace('status = "candidate"', 'status = "default"')
    assert [entry(file, name).status for name in ("old", "new")] == ["frozen", "default"]


def test_what_cannot_be_tried_is_not_said_to_be_tried(file: Path) -> None:
    for name in ("old", "new"):
        Shelf(file.parents[1] / "p").put(make_passport(entry(file, name).reference, image=name))
    assert call("check").output == "old has no torch, so there is nothing to try.\n"
    assert (
        "new is for everybody; it has no torch, so there is nothing to try." in call("promote", "new").output
    )


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ('status = "candidate"', "\tstatus='candidate'  # on trial"),
        ('name = "new"', "name='new' # of this year"),
        ('[[image]]\nname = "new"', '  [[ image ]]\n  name = "new"'),
    ],
)
def test_a_catalogue_that_is_written_in_another_way(file: Path, line: str, written: str) -> None:
    file.write_text(CATALOGUE.replace(line, written))
    keep(file, "new", runs=BOTH)
    assert call("promote", "new", *FREEZE).exit_code == 0
    assert [entry(file, name).status for name in ("old", "new")] == ["frozen", "default"]


def test_it_is_not_said_to_be_changed_where_the_line_is_not_found(file: Path) -> None:
    odd = CATALOGUE.replace('status = "candidate"', '"status" = "candidate"')
    file.write_text(odd)
    keep(file, "new", runs=BOTH)
    result = call("promote", "new", *FREEZE)
    assert result.exit_code == 1
    assert 'of new was not found in it. Put there by hand: status = "default"' in result.output
    assert file.read_text() == odd


def test_the_old_one_may_stay_as_it_is(file: Path) -> None:
    keep(file, "new", runs=BOTH)
    assert call("promote", "New").exit_code == 0
    assert [entry(file, name).status for name in ("old", "new")] == ["default", "default"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"runs": CPU}, "new was never tried on sm_80. Try it there: gpuspawner verify new --record"),
        ({"runs": {}}, "new was never tried on cpu-avx2, sm_80."),
        ({"runs": BOTH, "tests": {"imports": "failed"}}, "new failed its tests: imports."),
        (None, "new has no passport. Make it: gpuspawner passport make new"),
    ],
)
def test_it_was_not_tried(file: Path, changes: dict[str, object] | None, says: str) -> None:
    if changes is not None:
        keep(file, "new", **changes)
    result = call("promote", "new")
    assert result.exit_code == 1
    assert says in result.output
    assert file.read_text() == CATALOGUE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("old",), "old is no candidate: its status is default"),
        (("nothing",), "There is no image 'nothing' in images/images.toml. Images are: base, old, new."),
        (("new", "--freeze", "base", "--until", "2031-07-31"), "base cannot be frozen: its status is layer"),
        (("new", "--freeze", "old"), "Give --freeze and --until together"),
        (("new", "--freeze", "old", "--until", "soon"), "Invalid value for '--until'"),
        (("new", "--freeze", "old", "--until", "2020-07-31"), "--until 2020-07-31 is over"),
    ],
)
def test_what_cannot_be_done(file: Path, arguments: tuple[str, ...], says: str) -> None:
    keep(file, "new", runs=BOTH)
    result = call("promote", *arguments)
    assert result.exit_code != 0
    assert says in result.output
    assert file.read_text() == CATALOGUE


def test_without_a_ledger_nobody_knows_what_is_here(file: Path) -> None:
    keep(file, "new", runs=BOTH)
    result = call("promote", "new", ledger=None)
    assert result.exit_code == 1
    assert "No ledger was named" in result.output
    assert "There is no ledger gone.sqlite" in call("promote", "new", ledger="gone.sqlite").output


def test_a_simulated_card_needs_no_run(file: Path) -> None:
    keep(file, "new", runs=CPU)
    ledger = Ledger(Path("ledger.sqlite"))
    with ledger.write() as unit:
        (one,) = unit.inventory(HOST)
        unit.put_device(replace(one, device=replace(one.device, model="A100 (simulated)")))
    ledger.close()
    assert call("promote", "new").exit_code == 0


def test_check(file: Path) -> None:
    assert "old has no passport" in call("check").output
    keep(file, "old", runs=CPU)
    result = call("check")
    assert (result.exit_code, "old was never tried on sm_80" in result.output) == (1, True)
    assert call("check", ledger=None).exit_code == 0, "without a ledger that is the CPU alone"
    keep(file, "old", runs=BOTH)
    assert call("check").exit_code == 0


def test_what_came_with_the_repository_counts(file: Path) -> None:
    old = entry(file, "old")
    committed = make_passport("elsewhere", image="old", lock_hash=old.lock_hash, **TORCH, runs=BOTH)
    (old.folder / "passport.json").write_text(committed.model_dump_json())
    assert call("check").exit_code == 0
    other = make_passport("elsewhere", image="old", lock_hash="99" * 32, **TORCH, runs=BOTH)
    (old.folder / "passport.json").write_text(other.model_dump_json())
    assert call("check").exit_code == 1


def test_a_catalogue_that_would_be_wrong_is_left_as_it_is(file: Path) -> None:
    keep(file, "new", runs=BOTH)
    broken = CATALOGUE.replace('status = "candidate"', 'status = "candidate"\nuntil = 2031-07-31')
    file.write_text(broken)
    with pytest.raises(command.PassportError, match="is left as it is"):
        command.change_catalogue(file, {"new": 'status = "default"'})
    assert file.read_text() == broken
    assert sorted(one.name for one in file.parent.iterdir()) == ["base", "images.toml", "new", "old"]
