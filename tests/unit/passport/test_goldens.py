"""The file of golden values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.core.errors import CheckError, SettingsError
from gpuspawner.core.reproduce import Golden, make_golden
from gpuspawner.passport.goldens import add_golden, read_all_goldens, read_goldens
from gpuspawner.passport.reports import parse_report
from support.session_answers import make_answer

DIGEST = "sha256:" + "c" * 64


def golden(architecture: str = "sm_80", **others: object) -> Golden:
    report = parse_report(json.dumps(make_answer(architecture=architecture)))
    return replace(make_golden(report, image="pytorch-2.9", digest=DIGEST), **others)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "goldens.json"


def test_no_file_holds_none(file: Path) -> None:
    assert read_goldens(file) == {}


def test_what_is_recorded_is_read_again(file: Path) -> None:
    assert add_golden(file, golden())
    assert add_golden(file, golden("cpu-avx2", driver=None))
    found = read_goldens(file)
    assert list(found.values()) == [golden("cpu-avx2", driver=None), golden()]
    assert len(file.read_text().splitlines()) == 4
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_a_server_has_values_of_its_own_beside_those_of_the_release(file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    add_golden(file, golden())
    add_golden(own, golden("sm_90"))
    add_golden(own, golden(device="another"))
    found = read_all_goldens([file, own, tmp_path / "none.json"])
    assert found == {one.key: one for one in (golden(), golden("sm_90"))}
    own.unlink()
    add_golden(own, golden(outcome=replace(golden().outcome, weights="9" * 64)))
    with pytest.raises(SettingsError, match=r"own\.json says another thing of pytorch-2\.9 on sm_80"):
        read_all_goldens([file, own])


def test_the_same_value_keeps_its_origin(file: Path) -> None:
    add_golden(file, golden())
    before = file.read_text()
    assert not add_golden(file, golden(device="another", driver="580.1"))
    assert file.read_text() == before


def test_another_value_does_not_replace_it(file: Path) -> None:
    add_golden(file, golden())
    before = file.read_text()
    other = golden(outcome=replace(golden().outcome, weights="9" * 64))
    with pytest.raises(CheckError, match=r"2030-05-17.*take its line out"):
        add_golden(file, other)
    assert file.read_text() == before


def test_another_lock_has_a_value_of_its_own(file: Path) -> None:
    add_golden(file, golden())
    assert add_golden(file, golden(key=golden().key._replace(lock_hash="d" * 64)))
    assert len(read_goldens(file)) == 2


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 2, "goldens": []}', '{"schema": 1, "goldens": [{}]}'])
def test_a_damaged_file_is_named_and_stays(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"goldens\.json.*damaged"):
        add_golden(file, golden())
    assert file.read_text() == text


def test_two_lines_for_one_key_are_refused(file: Path) -> None:
    add_golden(file, golden())
    first, line, last = file.read_text().splitlines()
    file.write_text("\n".join([first, f"{line},", line, last]))
    with pytest.raises(SettingsError, match="two lines"):
        read_goldens(file)


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        add_golden(tmp_path / "no" / "goldens.json", golden())
