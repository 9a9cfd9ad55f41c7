"""Where passports are kept, what is known of the images that people can choose, and SPDX."""

from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path

import pytest
from gpuspawner.core.errors import PassportError
from gpuspawner.passport.known import AGAIN_SECONDS, KEEP_SECONDS, KnownImages
from gpuspawner.passport.model import Passport, parse_passport
from gpuspawner.passport.shelf import Shelf, read_passport, write_passport
from gpuspawner.passport.spdx import write_spdx
from gpuspawner.setup.images import load_catalogue
from gpuspawner.setup.paths import Paths
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support.fake_docker import image_id
from support.fake_images import OTHERS, TORCH, FakeImages, make_passport

IMAGES = {"base": "demo/base:1", "PyTorch": "demo/torch:1"}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "deep" / "passports")


def test_a_shelf(shelf: Shelf) -> None:
    assert list(shelf.all()) == []
    assert shelf.find(image_id("demo/torch:1")) is None
    one, two = make_passport(), make_passport("demo/base:1")
    assert shelf.put(one).name == f"{one.sha256}.json"
    shelf.put(two)
    assert shelf.find(one.digest) == shelf.find(one.sha256) == one
    assert sorted(p.digest for p in shelf.all() if isinstance(p, Passport)) == sorted(
        [one.digest, two.digest]
    )


def test_what_was_changed_is_read_again(shelf: Shelf) -> None:
    shelf.put(make_passport())
    assert shelf.find(make_passport().digest) == make_passport()
    shelf.put(make_passport(image="renamed"))
    found = shelf.find(make_passport().digest)
    assert found is not None
    assert found.image == "renamed"
    shelf.path_of(found.digest).unlink()
    assert shelf.find(found.digest) is None


def test_a_passport_in_another_ones_place(shelf: Shelf) -> None:
    write_passport(make_passport(), shelf.path_of(image_id("demo/base:1")))
    with pytest.raises(PassportError, match=r"is that of another image.* Make it anew"):
        shelf.find(image_id("demo/base:1"))


@pytest.mark.parametrize("digest", ["", "sha256:", "../../etc/passwd", "sha256:" + "A" * 64, "a" * 63])
def test_what_is_no_id(shelf: Shelf, digest: str) -> None:
    with pytest.raises(PassportError, match="is not the id of an image"):
        shelf.path_of(digest)


def test_a_damaged_one_hides_no_other(shelf: Shelf) -> None:
    shelf.put(make_passport())
    shelf.path_of(image_id("demo/base:1")).write_text("{}")
    (shelf.directory / "notes.json").write_text("not one of ours")
    found = list(shelf.all())
    assert sorted(type(one).__name__ for one in found) == ["Passport", "PassportError"]


def test_writing_fails_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passport.json"
    write_passport(make_passport(), path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PassportError, match="cannot be written: No space left on device"):
        write_passport(make_passport(image="new"), path)
    assert read_passport(path) == make_passport()
    assert [one.name for one in tmp_path.iterdir()] == ["passport.json"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert read_passport(tmp_path / "none.json") is None
    with pytest.raises(PassportError, match="cannot be read: Is a directory"):
        read_passport(tmp_path)


# -- known images -------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_known_of_images(shelf: Shelf) -> None:
    passport = make_passport(**TORCH)
    shelf.put(passport)
    images = {**IMAGES, "gone": "demo/gone:1"}
    known = KnownImages(images, FakeImages(*IMAGES.values()), shelf)
    base, torch, gone = known.all()
    assert (base.digest, base.passport, base.needs) == (image_id("demo/base:1"), None, None)
    assert "nobody has looked into it" in base.problem
    assert (torch.passport, torch.problem) == (passport, "")
    assert (gone.digest, "is not on this server" in gone.problem) == (None, True)
    assert known.needs() == {"base": None, "PyTorch": passport.needs("PyTorch"), "gone": None}


def test_what_the_settings_say_of_images(shelf: Shelf) -> None:
    """Also while the Engine is silent."""
    engine, day = FakeImages(*IMAGES.values()), date(2031, 7, 31)
    engine.answers = False
    known = KnownImages(IMAGES, engine, shelf, candidates=["PyTorch"], frozen={"Base": day, "base": day})
    assert [(one.candidate, one.until) for one in known.all()] == [(False, day), (True, None)]
    engine.answers = True
    known = KnownImages(IMAGES, engine, shelf, candidates=["PyTorch"], frozen={"base": day})
    assert [(one.candidate, one.until) for one in known.all()] == [(False, day), (True, None)]


def test_answers_are_kept_for_a_moment(shelf: Shelf) -> None:
    engine, clock = FakeImages(*IMAGES.values()), Clock()
    known = KnownImages(IMAGES, engine, shelf, clock)
    known.all()
    known.all()
    assert engine.asked == len(IMAGES)
    shelf.put(make_passport(**TORCH))
    clock.now += KEEP_SECONDS
    assert known.needs()["PyTorch"] == make_passport(**TORCH).needs("PyTorch")


def test_a_silent_engine_makes_nothing_forgotten(shelf: Shelf) -> None:
    """Places in line rest on what an image needs; and a dead Engine is not asked at every tick."""
    engine, clock = FakeImages(*IMAGES.values()), Clock()
    shelf.put(make_passport(**TORCH))
    known = KnownImages(IMAGES, engine, shelf, clock)
    before = known.needs()
    engine.answers = False
    clock.now += KEEP_SECONDS
    assert known.needs() == before
    assert all("no answer within" in one.problem for one in known.all())
    asked = engine.asked
    clock.now += AGAIN_SECONDS - 1
    assert known.needs() == before
    assert engine.asked == asked
    engine.answers = True
    clock.now += 1
    assert [bool(one.problem) for one in known.all()] == [True, False]


def test_an_engine_that_never_answered(shelf: Shelf) -> None:
    engine = FakeImages()
    engine.answers = False
    known = KnownImages(IMAGES, engine, shelf)
    assert [one.digest for one in known.all()] == [None, None]
    assert known.needs() == {}


def test_a_damaged_passport_is_a_problem_of_its_image(shelf: Shelf) -> None:
    shelf.directory.mkdir(parents=True)
    shelf.path_of(image_id("demo/torch:1")).write_text("{}")
    known = KnownImages(IMAGES, FakeImages(*IMAGES.values()), shelf)
    _, torch = known.all()
    assert ("is damaged" in torch.problem, torch.damaged) == (True, True)
    assert known.needs() == {"base": None}, "what is not known is no constraint that there is not"
    assert torch.digest == image_id("demo/torch:1")


# -- SPDX ---------------------------------------------------------------------------------------------------


def test_a_list_of_parts() -> None:
    found: dict = write_spdx(
        make_passport(packages={"a-b": "1.0+x"}, debian_packages={"git": "1:2~1"}), "0.1"
    )
    image, python, debian = found["packages"]
    assert found["spdxVersion"] == "SPDX-2.3"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["creationInfo"]["created"])
    assert image["checksums"] == [{"algorithm": "SHA256", "checksumValue": make_passport().sha256}]
    assert (python["name"], python["versionInfo"]) == ("a-b", "1.0+x")
    assert python["externalRefs"][0]["referenceLocator"] == "pkg:pypi/a-b@1.0%2Bx"
    assert debian["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/git@1%3A2~1"
    related = {
        (one["spdxElementId"], one["relationshipType"], one["relatedSpdxElement"])
        for one in found["relationships"]
    }
    assert related == {
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
        ("SPDXRef-Image", "CONTAINS", python["SPDXID"]),
        ("SPDXRef-Image", "CONTAINS", debian["SPDXID"]),
    }


def test_a_list_of_parts_has_those_of_npm_with_their_hashes() -> None:
    found: dict = write_spdx(make_passport(other_packages=OTHERS), "0.1")
    logger, *_, node = found["packages"][-4:]
    assert logger["externalRefs"][0]["referenceLocator"] == "pkg:npm/%40coder/logger@3.0.1"
    assert logger["checksums"] == [{"algorithm": "SHA512", "checksumValue": "1b" * 64}]
    assert node["externalRefs"][0]["referenceLocator"] == "pkg:generic/node@24.19.0"
    assert node["checksums"] == [{"algorithm": "SHA256", "checksumValue": "4e" * 32}]
    assert len({one["SPDXID"] for one in found["packages"]}) == len(found["packages"])


def test_an_image_without_vs_code_has_a_passport_that_a_release_before_can_read() -> None:
    assert "other_packages" not in make_passport().model_dump(mode="json")
    kept = make_passport(other_packages=OTHERS)
    assert parse_passport(kept.model_dump_json(), "x") == kept


COMMITTED = sorted(Paths().images.glob("*/passport.json"))


@pytest.mark.parametrize("passport", [*COMMITTED, None], ids=lambda one: one.parent.name if one else "made")
def test_it_holds_to_the_standard(tmp_path: Path, passport: Path | None) -> None:
    """By the standard's own validator."""
    found = read_passport(passport) if passport else make_passport(**TORCH, other_packages=OTHERS)
    assert found is not None
    path = tmp_path / "image.spdx.json"
    path.write_text(json.dumps(write_spdx(found, "0.1.0.dev0")))
    document = parse_file(str(path))
    assert validate_full_spdx_document(document) == []
    assert len(document.packages) == 1 + sum(
        len(parts) for parts in (found.packages, found.debian_packages, found.other_packages)
    )


# -- the passports of this repository ------------------------------------------------------------------------


@pytest.mark.parametrize("file", COMMITTED, ids=lambda one: one.parent.name)
def test_what_is_committed_says_what_the_catalogue_says_and_failed_nothing(file: Path) -> None:
    passport = read_passport(file)
    entry = next(one for one in load_catalogue() if one.name == file.parent.name)
    assert passport is not None
    assert (passport.image, passport.minimum_driver) == (entry.name, entry.minimum_driver)
    code = passport.compute_capabilities
    assert (
        (code[0], code[-1].removesuffix("+PTX")) == entry.compute_capability if code else not entry.on_demand
    )
    assert passport.tests
    assert passport.list_failed() == ()
    inside = dict(
        part.split(" ")[:2] for part in entry.inside if part.startswith(("torch ", "CUDA ", "NCCL "))
    )
    found = {"torch": passport.versions.torch, "CUDA": passport.versions.cuda, "NCCL": passport.versions.nccl}
    assert inside.items() <= found.items()


def test_every_image_that_people_can_choose_has_one_with_torch() -> None:
    wanted = {one.name for one in load_catalogue() if one.offered and one.on_demand}
    assert wanted <= {one.parent.name for one in COMMITTED}
