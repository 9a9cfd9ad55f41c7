"""The image catalogue: what is read from it, and how a mistake in it is told."""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import load_catalogue
from gpuspawner.setup.locks import kept_locks
from gpuspawner.setup.paths import Paths

BASE = '[[image]]\nname = "base"\ntitle = "Debian"\ndescription = "Nothing else."\nstatus = "layer"\n'
LAB = BASE.replace('"layer"', '"default"\nparent = "base"\nlock = "r.lock"').replace(
    'name = "base"', 'name = "lab"'
)

FROZEN = LAB.replace('"default"', '"frozen"\nuntil = 2027-07-31')
OTHER = LAB.replace('"lab"', '"other"').replace('"Debian"', '"Other"')


def write(folder: Path, text: str) -> Path:
    for name in ("base", "lab", "other"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "r.lock").write_text("six==1.17.0\n")
    (folder / "lab" / "Dockerfile").write_text("FROM ${PARENT}\n")
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


def test_a_change_in_what_runs_inside_only_changes_the_last_steps(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + LAB)
    source = tmp_path / "session" / "lab" / "src" / "index.ts"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    before = load_catalogue(file)
    for made in ("lab/node_modules/x.js", "gpuspawner_session/__pycache__/x.pyc", "build/x.py", "README.md"):
        (tmp_path / "session" / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "session" / made).write_text("")
    assert load_catalogue(file) == before, "what is made from the sources changes nothing"
    source.write_text("two")
    after = load_catalogue(file)
    (tmp_path / "finish").mkdir()
    (tmp_path / "finish" / "entrypoint.sh").write_text("exec")
    last = load_catalogue(file)
    assert before[0] == after[0] == last[0], "a layer has none of it"
    assert len({one[1].reference for one in (before, after, last)}) == 3
    assert before[1].packages == after[1].packages == last[1].packages


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
        (
            BASE.replace('"layer"', '"old"'),
            ["'status' is 'old'", "layer, candidate, default, frozen, retired"],
        ),
        (BASE.replace('"layer"', '"current"'), ["'status' is 'current'", "did you mean 'default'"]),
        (BASE.replace('"layer"', '"retierd"'), ["'status' is 'retierd'", "did you mean 'retired'"]),
        (LAB.replace("default", "frozen") + BASE, ["'until' is missing", "until = 2027-07-31"]),
        (LAB + "until = 2027-07-31\n" + BASE, ["'until' belongs to status", "'default'"]),
        (FROZEN.replace("2027-07-31", '"2027-07-31"') + BASE, ["'until' must be a day without quotes"]),
        (FROZEN.replace("2027-07-31", "2027-07-31T00:00:00") + BASE, ["'until' must be a day"]),
        (LAB + 'minimum_driver = "R525"\n' + BASE, ["'minimum_driver' must be a driver version", "'R525'"]),
        (LAB + "minimum_driver = 525.6\n" + BASE, ["'minimum_driver' must be a driver version", "525.6"]),
        (LAB + 'compute_capability = ["7.0", "12.0"]\n' + BASE, ["'minimum_driver' is missing"]),
        (LAB + 'compute_capability = ["12.0", "7.0"]\n' + BASE, ["'compute_capability' names the larger"]),
        (
            LAB + 'compute_capability = "7.0"\n' + BASE,
            ["'compute_capability' must be the least and the largest"],
        ),
        (
            LAB + 'compute_capability = ["7.0"]\n' + BASE,
            ["'compute_capability' must be the least and the largest"],
        ),
        (LAB + 'inside = "NumPy"\n' + BASE, ["'inside' must be a list of texts"]),
        (LAB + 'tests = [""]\n' + BASE, ["'tests' must be a list of texts"]),
        (LAB + "driver = 525\n" + BASE, ["'driver'", "did you mean 'minimum_driver'"]),
        (BASE.replace('"base"', '"Base"'), ["'name' must be lower-case"]),
        (BASE.replace('"base"', '"../base"'), ["'name' must be lower-case"]),
        (BASE + 'lock = "r.lock"\n', ["'lock' needs a 'parent'"]),
        (LAB.replace("r.lock", "../other/r.lock") + BASE, ["'lock' must be the name of a file"]),
        (OTHER + BASE, ["other has no Dockerfile", 'add lock = "requirements.lock"']),
        ("image = [3]\n", ["must be [[image]] tables", "3"]),
        (BASE.replace('"Debian"', "3"), ["'title' must be a text"]),
        (BASE.replace('"Debian"', '"De\\nbian"'), ["'title' must be a text of one line"]),
        (BASE + BASE, ["two images are called 'base'"]),
        (
            BASE + LAB + LAB.replace('"lab"', '"other"'),
            ["'other'", "its 'title' 'Debian' is also what the image 'lab' is called"],
        ),
        (BASE + LAB + OTHER.replace('"Other"', '"lab"'), ["'lab' is also what the image 'lab' is called"]),
        (BASE.replace('"base"', '"finish"'), ["'name' must be another than 'finish'"]),
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


def test_what_a_child_does_not_say_it_has_from_its_parent(tmp_path: Path) -> None:
    more = 'minimum_driver = "525.60.13"\ncompute_capability = ["7.0", "12.0"]\ntests = ["lab"]\n'
    course = OTHER.replace("r.lock", "requirements.lock").replace('parent = "base"', 'parent = "lab"')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "requirements.lock").write_text("attrs==26.1.0\n")
    base, lab, other = load_catalogue(write(tmp_path, BASE + LAB + more + course + 'tests = ["course"]\n'))
    assert (base.on_demand, lab.on_demand, other.on_demand) == (False, True, True)
    assert (other.minimum_driver, other.compute_capability) == ("525.60.13", ("7.0", "12.0"))
    assert (other.tests, other.chain) == (("lab", "course"), ("base", "lab", "other"))


def test_the_lock_hash_is_that_of_the_locks_one_after_the_other(tmp_path: Path) -> None:
    course = OTHER.replace("r.lock", "requirements.lock").replace('parent = "base"', 'parent = "lab"')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "requirements.lock").write_text("attrs==26.1.0\n")
    base, lab, other = load_catalogue(write(tmp_path, BASE + LAB + course))
    assert base.lock_hash == sha256(b"").hexdigest()
    assert lab.lock_hash == sha256(b"six==1.17.0\n").hexdigest()
    assert other.lock_hash == sha256(b"six==1.17.0\nattrs==26.1.0\n").hexdigest()


def test_each_status_says_who_can_choose_the_image(tmp_path: Path) -> None:
    found = {
        status: load_catalogue(write(tmp_path, BASE + LAB.replace("default", status) + more))[1]
        for status, more in [
            ("layer", ""),
            ("candidate", ""),
            ("default", ""),
            ("frozen", "until = 2027-07-31\n"),
            ("retired", ""),
        ]
    }
    assert {name for name, entry in found.items() if entry.offered} == {"candidate", "default", "frozen"}
    assert found["frozen"].until == date(2027, 7, 31)


def test_a_missing_catalogue_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"images\.toml cannot be read"):
        load_catalogue(tmp_path / "images.toml")


def test_only_make_lock_takes_a_catalogue_without_its_locks(tmp_path: Path) -> None:
    file = write(tmp_path, BASE + LAB)
    (tmp_path / "lab" / "r.lock").rename(tmp_path / "lab" / "r.in")
    with pytest.raises(SetupError, match=r"r\.lock does not exist\. Make it from r\.in: make lock"):
        load_catalogue(file)
    assert load_catalogue(file, locked=False)[1].locks == (tmp_path / "lab" / "r.lock",)


def test_the_locks_of_a_frozen_image_and_its_parents_stay(tmp_path: Path) -> None:
    course = OTHER.replace("r.lock", "requirements.lock").replace('parent = "base"', 'parent = "lab"')
    write(tmp_path, BASE).with_name("other").joinpath("requirements.lock").write_text("")
    for status in ("frozen", "retired"):
        until = "until = 2027-07-31\n" if status == "frozen" else ""
        entries = load_catalogue(write(tmp_path, BASE + LAB.replace("default", status) + until + course))
        assert kept_locks(entries) == {"base": "lab", "lab": "lab"}
    assert kept_locks(load_catalogue(write(tmp_path, BASE + LAB + course))) == {}


def test_every_test_that_the_catalogue_names_exists() -> None:
    named = {name for entry in load_catalogue() for name in entry.tests}
    folder = Paths().root / "tests" / "images"
    assert named == {path.stem.removeprefix("test_") for path in folder.glob("test_*.py")}
