"""The image catalogue: what is read from it, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import load_catalogue

BASE = '[[image]]\nname = "base"\ntitle = "Debian"\ndescription = "Nothing else."\nstatus = "layer"\n'
LAB = BASE.replace('"layer"', '"current"\nparent = "base"\nlock = "r.lock"').replace(
    'name = "base"', 'name = "lab"'
)


def write(folder: Path, text: str) -> Path:
    for name in ("base", "lab", "other"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "r.lock").write_text("six==1.17.0\n")
    file = folder / "images.toml"
    file.write_text(text)
    return file


def test_the_catalogue_of_this_checkout_is_sound() -> None:
    entries = load_catalogue()
    assert entries[0].parent is None
    assert len([entry for entry in entries if entry.offered]) >= 2
    assert all(entry.reference.startswith(f"gpuspawner/{entry.name}:") for entry in entries)


def test_parents_come_first_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    base, lab = load_catalogue(write(tmp_path, LAB + BASE))
    assert (base.name, base.offered, base.parent, base.lock) == ("base", False, None, None)
    assert (lab.name, lab.offered, lab.parent, lab.lock) == ("lab", True, "base", "r.lock")
    assert lab.latest == "gpuspawner/lab:latest"


def test_another_lock_is_another_reference_down_the_line(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + LAB)
    before = [entry.reference for entry in load_catalogue(file)]
    (tmp_path / "lab" / "r.lock").write_text("six==1.16.0\n")
    after = [entry.reference for entry in load_catalogue(file)]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    (tmp_path / "base" / "new").write_text("")
    last = [entry.reference for entry in load_catalogue(file)]
    assert not set(last) & set(after)


def test_a_change_in_what_runs_inside_is_another_reference_where_it_goes_in(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + LAB)
    source = tmp_path / "session" / "lab" / "src" / "index.ts"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    without = load_catalogue(file)
    (tmp_path / "lab" / "Dockerfile").write_text("RUN --mount=type=bind,from=session,target=/s true\n")
    before = load_catalogue(file)
    for made in ("lab/node_modules/x.js", "gpuspawner_session/__pycache__/x.pyc", "build/x.py", "README.md"):
        (tmp_path / "session" / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "session" / made).write_text("")
    assert load_catalogue(file) == before, "what is made from the sources changes nothing"
    source.write_text("two")
    after = load_catalogue(file)
    assert [one.takes_session for one in without + after] == [False, False, False, True]
    assert without[0].reference == before[0].reference == after[0].reference
    assert len({without[1].reference, before[1].reference, after[1].reference}) == 3


def test_what_only_people_read_changes_no_reference(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + LAB)
    before = load_catalogue(file)
    (tmp_path / "lab" / "requirements.in").write_text("six\n")
    assert load_catalogue(file) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE.replace("title", "tilte"), ["'tilte'", "did you mean 'title'"]),
        (BASE + 'qqqq = "x"\n', ["'qqqq'", "known keys are"]),
        (BASE.replace('title = "Debian"\n', ""), ["'base'", "'title' is missing"]),
        (BASE.replace('"layer"', '"old"'), ["'status' is 'old'", "layer, current"]),
        (BASE.replace('"Debian"', "3"), ["'title' must be a text"]),
        (BASE + BASE, ["two images are called 'base'"]),
        (LAB, ["'parent' 'base' is not in the file"]),
        (LAB + BASE.replace('"layer"', '"layer"\nparent = "lab"'), ["go in a circle: lab, base"]),
        (LAB.replace('"base"', '"lab"'), ["go in a circle: lab"]),
        (BASE.replace('"base"', '"absent"'), ["absent does not exist"]),
        (BASE + LAB.replace("r.lock", "s.lock"), ["s.lock does not exist"]),
        ("[[image]\n", ["is not TOML"]),
        ("images = 3\n", ["[[image]]", "images"]),
        ("", ["[[image]]", "nothing"]),
    ],
)
def test_a_mistake_is_told_with_key_and_fix(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(SetupError) as told:
        load_catalogue(write(tmp_path, text))
    assert all(word in str(told.value) for word in [str(tmp_path), *words]), told.value


def test_a_missing_catalogue_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"images\.toml cannot be read"):
        load_catalogue(tmp_path / "images.toml")
