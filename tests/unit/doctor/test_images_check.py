"""What the doctor says of the images."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from gpuspawner.core.model import Device, DeviceReading
from gpuspawner.doctor.facts import Facts, ImagesFacts
from gpuspawner.doctor.findings import Finding
from gpuspawner.doctor.images import check_images
from gpuspawner.passport.known import KnownImage
from gpuspawner.passport.model import Passport
from gpuspawner.ports import ProbeReport
from support.fake_images import TORCH, make_passport, run

WELL = Facts(datetime(2030, 5, 1, tzinfo=UTC))
CPU, BOTH = {"cpu-avx2": run()}, {"cpu-avx2": run(), "sm_80": run()}


def card(capability: tuple[int, int] | None = (8, 0), model: str = "NVIDIA A100") -> DeviceReading:
    return DeviceReading("GPU-a", Device("host", "GPU-a", model, 1, compute_capability=capability))


def image(passport: Passport | None, name: str = "torch", problem: str = "") -> KnownImage:
    return KnownImage(name, "demo/torch:1", passport and passport.digest, passport, problem)


def check(
    *images: KnownImage, cards: tuple[DeviceReading, ...] | None = (card(),), driver: str | None = "580.1"
) -> list[Finding]:
    probe = ProbeReport(driver, cards or (), None if cards is not None else "no driver")
    facts = replace(WELL, probe=probe, images=ImagesFacts("/p", images))
    return list(check_images(facts))


def test_without_settings_nothing_is_said() -> None:
    assert list(check_images(WELL)) == []


@pytest.mark.parametrize(
    ("runs", "cards", "level", "says"),
    [
        (BOTH, (card(),), "ok", "torch has its passport; it was tried on cpu-avx2, sm_80"),
        (CPU, (card(),), "error", "torch is the default, and was never tried on sm_80."),
        ({}, (), "error", "never tried on cpu-avx2."),
        ({}, None, "error", "never tried on cpu-avx2."),
        (CPU, (), "ok", "tried on cpu-avx2"),
        (CPU, (card(model="NVIDIA A100 (simulated)"),), "ok", "tried on cpu-avx2"),
        (CPU, None, "ok", "torch has its passport; it was tried on cpu-avx2"),
        (BOTH, (card(), card((9, 0))), "error", "never tried on sm_90."),
    ],
)
def test_the_default_was_tried_on_everything_that_is_here(
    runs: dict, cards: tuple[DeviceReading, ...] | None, level: str, says: str
) -> None:
    (found,) = check(image(make_passport(**TORCH, runs=runs)), cards=cards)
    assert (found.level, says in found.what) == (level, True), found
    assert (found.fix.startswith("gpuspawner verify demo/torch:1 --record")) == (level == "error")


def test_who_must_have_been_tried() -> None:
    """The first that is no candidate is the default; a candidate is there to be tried, a frozen one stays."""
    untried = make_passport(**TORCH)
    trial = replace(image(untried, "new"), candidate=True)
    frozen = replace(image(untried, "old"), until=date(2031, 7, 31))
    small, other = image(make_passport(), "base"), image(untried, "other")
    found = check(trial, small, other, frozen)
    assert [one.level for one in found] == ["ok", "ok", "warning", "ok"]
    assert "tried on nothing" in found[1].what, "without torch there is nothing to train"
    assert "other is for everybody, and was never tried on cpu-avx2, sm_80." in found[2].what
    assert [one.level for one in check(trial, other)] == ["ok", "error"]
    assert [one.level for one in check(frozen, other)] == ["error", "warning"]


def test_what_was_not_tried_does_not_become_the_default() -> None:
    new, old = image(make_passport(**TORCH, runs=CPU), "new"), image(make_passport(**TORCH, runs=BOTH), "old")
    first, second = check(new, old)
    assert (first.level, second.level) == ("warning", "ok")
    assert first.what == "new is to be the default, and was never tried on sm_80."
    assert first.why.endswith("Until then they get old.")


def test_what_failed_a_test_is_told() -> None:
    (found,) = check(image(make_passport(**TORCH, runs=BOTH, tests={"lab: x": "failed", "lab: y": "passed"})))
    assert (found.level, found.what) == ("error", "torch is the default, and failed its tests: lab: x.")
    assert found.fix.startswith("make test-images")


def test_a_damaged_passport() -> None:
    found = replace(image(make_passport()), passport=None, problem="The passport x is damaged.", damaged=True)
    (finding,) = check(found)
    assert (finding.level, "it is given no card" in finding.why) == ("error", True)


@pytest.mark.parametrize(
    ("cards", "driver", "level"),
    [
        ((card((6, 0)),), "580.1", "warning"),
        ((card(),), "470.1", "warning"),
        ((card(),), None, "warning"),
        ((card(None),), "580.1", "warning"),
        ((card((6, 0)), card()), "580.1", "ok"),
        ((), "580.1", "ok"),
        (None, None, "ok"),
    ],
)
def test_an_image_that_runs_on_no_card(
    cards: tuple[DeviceReading, ...] | None, driver: str | None, level: str
) -> None:
    torch = replace(image(make_passport(**TORCH, runs=BOTH)), candidate=True)
    _, found = check(image(make_passport(), "base"), torch, cards=cards, driver=driver)
    assert found.level == level, found
    if level == "warning":
        assert found.what == "torch runs on no GPU of this host."
        assert "driver 525.60.13" in found.why


def test_no_passport_means_any_card() -> None:
    problem = "It has no passport: nobody has looked into it yet."
    found = KnownImage("torch", "demo/torch:1", make_passport().digest, None, problem)
    (finding,) = check(found)
    assert (finding.level, finding.fix) == ("warning", "gpuspawner passport make demo/torch:1")
    assert "it is given any card" in finding.why


def test_an_image_that_is_not_here() -> None:
    (finding,) = check(image(None, problem="The image demo/torch:1 is not on this server."))
    assert (finding.level, finding.fix) == ("unknown", "make images")
