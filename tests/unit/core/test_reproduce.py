"""The three comparisons, and what may be recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from gpuspawner.core.reproduce import (
    Key,
    Outcome,
    Report,
    Result,
    explain,
    judge,
    make_golden,
    why_not_recordable,
)

OUTCOME = Outcome("w", "l", "d", (("python", "p"), ("torch", "t")))
REPORT = Report(
    key=Key("b" * 64, "sm_90", "train-1"),
    runs=(OUTCOME, OUTCOME),
    losses=(2.0, 1.0, 0.5),
    step_seconds=0.01,
    versions=(("torch", "2.9.1"),),
    device="NVIDIA H100",
    card_uuid="GPU-1",
    driver="570.1",
    at=datetime(2030, 5, 17, tzinfo=UTC),
)
GOLDEN = make_golden(REPORT, image="pytorch-2.9", digest="sha256:1")
OTHER = replace(OUTCOME, weights="x")


def results(*reports: Report, golden: object = GOLDEN) -> list[str]:
    return [level.result.value for level in judge(reports, golden).levels]  # type: ignore[arg-type]


def test_all_the_same() -> None:
    verdict = judge([REPORT, REPORT], GOLDEN)
    assert verdict.result is Result.SAME
    assert verdict.levels[2].detail == "as recorded on 2030-05-17 with NVIDIA H100, driver 570.1"


def test_a_missing_golden_value_is_no_pass() -> None:
    verdict = judge([REPORT, REPORT], None)
    assert verdict.result is Result.NOT_RECORDED
    assert verdict.levels[2].detail == "not recorded for sm_90"


def test_a_process_that_differs_from_itself() -> None:
    shaky = replace(REPORT, runs=(OUTCOME, OTHER))
    assert results(REPORT, shaky) == ["different", "same", "same"]
    assert judge([REPORT, shaky], GOLDEN).result is Result.DIFFERENT


def test_containers_that_differ() -> None:
    assert results(REPORT, replace(REPORT, runs=(OTHER, OTHER))) == ["same", "different", "same"]


def test_containers_on_other_kinds_of_cards_are_not_the_same() -> None:
    other = replace(REPORT, key=REPORT.key._replace(architecture="sm_80"))
    (_, level, _) = judge([REPORT, other], GOLDEN).levels
    assert level.result is Result.DIFFERENT
    assert "sm_90" in level.detail
    assert "sm_80" in level.detail


def test_a_golden_value_that_differs() -> None:
    verdict = judge([REPORT, REPORT], replace(GOLDEN, outcome=OTHER))
    assert results(REPORT, REPORT, golden=replace(GOLDEN, outcome=OTHER)) == ["same", "same", "different"]
    assert verdict.result is Result.DIFFERENT


def test_a_difference_weighs_more_than_what_is_not_recorded() -> None:
    assert judge([REPORT, replace(REPORT, runs=(OTHER, OTHER))], None).result is Result.DIFFERENT


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(OUTCOME, rng=(("python", "p"), ("torch", "?"))), "the random numbers differ: torch"),
        (replace(OUTCOME, rng=(("python", "p"),)), "the random numbers differ: torch"),
        (replace(OUTCOME, data="?", weights="?"), "what the loader's workers drew is not"),
        (replace(OUTCOME, losses_hash="?", weights="?"), "the losses differ"),
        (OTHER, "the final weights differ"),
    ],
)
def test_what_differs_first_is_named(other: Outcome, words: str) -> None:
    assert words in explain(OUTCOME, other)


def test_the_first_step_that_differs_is_named() -> None:
    other = replace(REPORT, losses=(2.0, 1.1, 0.5))
    text = explain(OUTCOME, replace(OUTCOME, losses_hash="?"), REPORT, other)
    assert text.endswith("the losses differ from step 2 on")


def test_what_is_not_steady_is_not_recorded() -> None:
    verdict = judge([REPORT, replace(REPORT, runs=(OTHER, OTHER))], None)
    assert "two containers" in (why_not_recordable(REPORT, verdict) or "")


def test_a_value_of_a_gpu_needs_its_driver() -> None:
    unknown = replace(REPORT, driver=None)
    assert "driver" in (why_not_recordable(unknown, judge([unknown, unknown], None)) or "")
    cpu = replace(unknown, key=unknown.key._replace(architecture="cpu-avx2"))
    assert why_not_recordable(cpu, judge([cpu, cpu], None)) is None
