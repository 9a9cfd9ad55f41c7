"""What an image says of its trainings, which may be anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gpuspawner.core.errors import CheckError
from gpuspawner.core.reproduce import Key
from gpuspawner.passport.reports import parse_report
from support.session_answers import LOCK, make_answer


def test_an_answer() -> None:
    report = parse_report(json.dumps(make_answer()))
    assert report.key == Key(LOCK, "sm_80", "train-1")
    assert report.runs[0] == report.runs[1]
    assert dict(report.runs[0].rng) == {"python": "4" * 64, "torch": "5" * 64}
    assert (report.device, report.driver, report.losses) == ("NVIDIA A100", "570.1", (2.5, 1.5))


def test_an_image_that_cannot_do_it_says_why() -> None:
    with pytest.raises(CheckError, match=r"^There is no torch$"):
        parse_report('{"schema": 1, "error": "There is no torch"}')


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("architecture", "sm_80; rm -rf /"),
        ("architecture", "cpu"),
        ("runs", []),
        ("runs", [make_answer()["runs"][0]]),
        ("losses", [1.0]),
        ("losses", [1.0] * 10_001),
        ("losses", ["1.0", "2.0"]),
        ("losses", [1.0, float("nan")]),
        ("test", "Train 1"),
        ("device", ""),
        ("device", "x" * 201),
        ("at", "2030-05-17T00:00:00"),
        ("versions", {"Py thon": "3"}),
    ],
)
def test_what_makes_no_sense_is_named(key: str, value: Any) -> None:
    with pytest.raises(CheckError, match=f"makes no sense.*{key}"):
        parse_report(json.dumps(make_answer(**{key: value})))


@pytest.mark.parametrize("text", ["", "[]", "Traceback", '{"schema": 1}'])
def test_what_is_no_answer_at_all(text: str) -> None:
    with pytest.raises(CheckError, match="makes no sense"):
        parse_report(text)


def test_a_result_without_a_lock_holds_for_nothing() -> None:
    with pytest.raises(CheckError, match="locked"):
        parse_report(json.dumps(make_answer(image={"lock_hash": None})))


def test_a_torch_from_elsewhere_says_nothing_of_the_image() -> None:
    with pytest.raises(CheckError, match="not the image's own"):
        parse_report(json.dumps(make_answer(torch_of_image=False)))
