from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.simulate.measures import (
    Estimate,
    Measures,
    above_curve,
    estimate,
    jain_index,
    measure,
    percentile,
    student_t,
)
from gpuspawner.simulate.outcome import Outcome


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([], 0.5, None), ([3], 0.95, 3), ([1, 2], 0.5, 1.5), ([5, 1, 3], 0.5, 3), ([0, 10], 0.95, 9.5)],
)
def test_percentiles(values, part, expected) -> None:
    assert percentile(values, part) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([1, 1, 1], 1), ([1, 0, 0, 0], 0.25), ([1, 0.5], 0.9), ([], None), ([0, 0], None)],
)
def test_jain(shares, expected) -> None:
    assert jain_index(shares) == (None if expected is None else pytest.approx(expected))


# From the tables that every book on statistics has.
@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (19, 2.093), (30, 2.042), (31, 2.040), (60, 2.000), (10_000, 1.960)],
)
def test_student_t(freedom, expected) -> None:
    assert student_t(freedom) == pytest.approx(expected, abs=6e-4)


def test_an_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, n = 3: 4.303 / sqrt(3).
    found = estimate([1, 2, 3])
    assert found == Estimate(2, pytest.approx(2.4843, abs=1e-4), 3)


def test_runs_without_the_figure_are_not_zero() -> None:
    assert estimate([None, None]) is None
    assert estimate([None, 5]) == Estimate(5, None, 1)
    assert estimate([4, None, 4]) == Estimate(4, 0, 2)


NOTHING = measure(Outcome(cards=1))


def test_nothing_to_measure_is_unknown() -> None:
    assert replace(NOTHING, computing_share=None) == Measures(
        *([None] * 7), reclaims=0, wrongful=0, reacquisitions=None, quick_returns=None, recovered=None
    )


def at(returns: float | None, recovered: float | None) -> Measures:
    return replace(NOTHING, reacquisitions=returns, recovered=recovered)


CURVE = [at(0.5, 0.8), at(0.1, 0.5), at(1.0, 0.9)]


@pytest.mark.parametrize(
    ("ours", "curve", "expected"),
    [
        (at(0.3, 0.70), CURVE, 0.05),
        (at(0.05, 0.25), CURVE, 0.0),
        (at(0.5, 0.7), CURVE, -0.1),
        (at(3.0, 0.95), CURVE, 0.05),
        (at(0.0, 0.1), CURVE, 0.1),
        (at(0.1, 0.6), [*CURVE, at(0.1, 0.55)], 0.05),
        (at(0.2, 0.6), [at(None, None)], 0.6),
        (at(None, None), CURVE, None),
    ],
    ids=[
        "between",
        "before the first",
        "on a point",
        "beyond",
        "none",
        "two at one place",
        "no curve",
        "unknown",
    ],
)
def test_above_the_curve(ours, curve, expected) -> None:
    assert above_curve(ours, curve) == (None if expected is None else pytest.approx(expected))
