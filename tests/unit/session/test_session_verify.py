"""``gpuspawner-session verify`` where it cannot be done, and how it tells what it came to."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from gpuspawner_session.cards import Cards
from gpuspawner_session.cli import main
from gpuspawner_session.verify import render, to_json


class Run:
    """What the command reads of a training's :class:`Run`, whose module imports torch."""

    def __init__(self, weights: str = "w") -> None:
        self.weights, self.losses_hash, self.data, self.rng = weights, "l", "d", {"python": "p"}
        self.losses, self.step_seconds = (2.5, 1.0), 0.02


def result(*runs: Run) -> dict[str, object]:
    versions = {"torch": "2.9.1", "nccl": None}
    found = to_json(
        list(runs),  # type: ignore[arg-type]
        test="train-1",
        architecture="cpu-avx2",
        name="Some CPU",
        cards=Cards("none"),
        versions=versions,
    )
    return found | {"torch_of_image": True}


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
def test_without_torch_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json"]) == 2
    told = capsys.readouterr()
    assert "no torch in this image" in told.err
    assert "no torch in this image" in json.loads(told.out)["error"]


def test_two_runs_that_agree() -> None:
    found = result(Run(), Run())
    assert found["same_process"] is True
    assert "300" not in render(found)
    assert "2 steps each: the same" in render(found)
    assert "20.00 ms" in render(found)


def test_two_runs_that_differ_show_both() -> None:
    found = result(Run(), Run("x"))
    assert found["same_process"] is False
    assert "NOT the same" in render(found)
    assert "w, then x" in render(found)
