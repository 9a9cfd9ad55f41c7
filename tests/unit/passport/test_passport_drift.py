"""``gpuspawner drift`` over passports, and a check's way into a passport."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.cli import main
from gpuspawner.core.errors import PassportError
from gpuspawner.passport.model import Passport, Versions
from gpuspawner.passport.reports import parse_report
from gpuspawner.passport.shelf import write_passport
from gpuspawner.passport.sides import add_run, drop_run
from support.session_answers import LOCK, make_answer

REPORT = parse_report(json.dumps(make_answer()))
OLD = Passport(
    image="pytorch-2.7",
    digest="sha256:" + "1" * 64,
    lock_hash=LOCK,
    built=datetime(2030, 5, 17, tzinfo=UTC),
    size_bytes=7 * 2**30,
    versions=Versions(python="3.13.5", torch="2.7.1", cuda="12.6"),
    minimum_driver="525.60.13",
    compute_capabilities=("5.0", "8.0"),
    packages={"torch": "2.7.1", "numpy": "2.3.0"},
    debian_packages={"git": "1:2.47"},
)
NEW = OLD.model_copy(
    update={
        "image": "pytorch-2.9",
        "digest": "sha256:" + "2" * 64,
        "size_bytes": 8 * 2**30,
        "versions": Versions(python="3.13.5", torch="2.9.1", cuda="12.8"),
        "packages": {"torch": "2.9.1", "numpy": "2.3.0", "triton": "3.5"},
    }
)


def test_a_check_is_kept_in_the_passport() -> None:
    run = add_run(OLD, REPORT).runs["sm_80"]
    assert (run.weights, run.card, run.driver, run.date) == ("1" * 64, "NVIDIA A100", "570.1", REPORT.at)
    assert run.rng == {"python": "4" * 64, "torch": "5" * 64}


def test_a_check_that_fails_is_not_kept_any_more() -> None:
    kept = add_run(OLD, REPORT)
    assert drop_run(kept, "sm_80").runs == {}
    assert drop_run(kept, "sm_90") == kept


def test_a_processor_is_no_card() -> None:
    cpu = replace(REPORT, key=REPORT.key._replace(architecture="cpu-avx2"), driver=None)
    assert add_run(OLD, cpu).runs["cpu-avx2"].card is None


def test_a_check_of_other_locks_is_not_kept() -> None:
    with pytest.raises(PassportError, match="other lock files"):
        add_run(OLD, replace(REPORT, key=REPORT.key._replace(lock_hash="d" * 64)))


def drift(folder: Path, *more: str) -> Result:
    worse = replace(REPORT, losses=(2.5, 1.0), runs=(replace(REPORT.runs[0], weights="9" * 64),))
    write_passport(add_run(OLD, REPORT), folder / "old.json")
    write_passport(add_run(NEW, worse), folder / "new.json")
    return CliRunner().invoke(main, ["drift", str(folder / "old.json"), str(folder / "new.json"), *more])


def test_the_table(tmp_path: Path) -> None:
    done = drift(tmp_path)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "torch changed 2.7.1 2.9.1" in lines
    assert "triton added - 3.5" in lines
    assert "Debian packages: the same" in lines
    assert "Other packages" not in done.output
    assert "Oldest driver 525.60.13" in lines
    assert "Size 7 GiB -> 8 GiB (+1 GiB)" in lines
    assert "sm_80 the same differs from step 2 on 0.5 at step 2 20.00 ms -> 20.00 ms" in lines


def test_another_vs_code_is_a_difference(tmp_path: Path) -> None:
    npm = [{"kind": "npm", "name": "code-server", "version": version} for version in ("4.1.0", "4.2.0")]
    for number, one in enumerate(npm):
        passport = Passport.model_validate({**OLD.model_dump(), "other_packages": [one]})
        write_passport(passport, tmp_path / f"{number}.json")
    both = [str(tmp_path / name) for name in ("0.json", "1.json")]
    lines = CliRunner().invoke(main, ["drift", *both]).output.splitlines()
    assert "code-server changed 4.1.0 4.2.0" in [" ".join(line.split()) for line in lines]
    found = json.loads(CliRunner().invoke(main, ["drift", *both, "--json"]).stdout)
    assert (found["same"], len(found["other_packages"])) == (False, 1)


def test_for_programs(tmp_path: Path) -> None:
    found = json.loads(drift(tmp_path, "--json").stdout)
    assert found["same"] is False
    assert found["size_bytes"]["change"] == 2**30
    assert found["packages"][0] == {"name": "torch", "change": "changed", "old": "2.7.1", "new": "2.9.1"}
    (run,) = found["runs"]
    assert (run["rng_equal"], run["largest_loss_difference"], run["at_step"]) == (True, 0.5, 2)


def test_an_image_and_itself(tmp_path: Path) -> None:
    drift(tmp_path)
    done = CliRunner().invoke(main, ["drift", *[str(tmp_path / "old.json")] * 2])
    assert "Nothing differs" in done.output


def test_a_passport_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["drift", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert done.exit_code == 1
    assert "There is no passport" in done.output
