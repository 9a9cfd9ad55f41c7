"""Plots as geometry: unknown is a gap and never 0."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.controller.views.plot import BOTTOM, LEFT, RIGHT, TOP, Window, draw, mean, thin, window_before
from support.build import NOW, ago

WINDOW = Window(ago(40), timedelta(seconds=10), 4)


def values(*found: float | None) -> list[tuple[object, float | None]]:
    return [(WINDOW.start_of(n), value) for n, value in enumerate(found)]


@pytest.mark.parametrize("late", [0, 1, 29])
def test_the_window_stands_still_until_the_next_step_is_over(late: int) -> None:
    window = window_before(NOW + timedelta(seconds=late), timedelta(hours=1), 120)
    assert (window.since, window.until) == (ago(3600), NOW)
    assert window_before(NOW + timedelta(seconds=30), timedelta(hours=1), 120).until > NOW


def test_thinning() -> None:
    found = thin(
        [(ago(41), 100), (ago(40), 10), (ago(31), 20), (ago(30), None), (ago(11), 0), (NOW, 100)],
        WINDOW,
        mean,
    )
    assert found == values(15, None, 0, None)
    assert thin([(ago(40), 10), (ago(31), 20)], WINDOW, max)[0][1] == 20


@pytest.mark.parametrize(
    ("found", "lines", "dots"),
    [
        ((None, None, None, None), 0, 0),
        ((0, 50, 100, 0), 1, 0),
        ((0, 50, None, 0), 1, 1),
        ((0, None, None, 0), 0, 2),
        ((None, 0, 0, None), 1, 0),
    ],
)
def test_gaps(found: tuple[float | None, ...], lines: int, dots: int) -> None:
    plot = draw(values(*found), WINDOW, 100.0)  # type: ignore[arg-type]
    assert (len(plot.lines), len(plot.dots)) == (lines, dots)
    assert plot.known == any(value is not None for value in found)
    assert plot.latest == found[-1]


def test_geometry() -> None:
    plot = draw(values(0, 50, 100, 120), WINDOW, 100.0)  # type: ignore[arg-type]
    step = (RIGHT - LEFT) / 4
    points = [tuple(float(part) for part in point.split(",")) for point in plot.lines[0].split()]
    assert points == [
        (round(LEFT + (n + 0.5) * step, 1), y) for n, y in enumerate((BOTTOM, (TOP + BOTTOM) / 2, TOP, TOP))
    ]
    assert [(tick.place, tick.label) for tick in plot.up] == [(100, "0"), (55, "50"), (10, "100")]
    assert (plot.least, plot.most) == (0, 120)
    hour = draw([], Window(ago(3600), timedelta(seconds=30), 120), 40.0)
    assert [(tick.place, tick.label) for tick in hour.across] == [(34, "60"), (172, "30"), (310, "0")]
