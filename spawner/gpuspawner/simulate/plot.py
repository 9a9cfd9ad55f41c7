"""The plane of what a rule costs and what it brings, drawn: an SVG picture with a panel for each number of
GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .compare import FIXED, HOLD, OURS, Results, Summary
from .measures import Estimate
from .report import describe_options, describe_traces, quote_estimate
from .traces import TraceError

PANEL_WIDTH, PANEL_HEIGHT = 330, 300
"""In units of the drawing."""
LEFT, TOP, RIGHT, BOTTOM = 50, 40, 312, 250
"""Where the axes of a panel are; labels stand outside."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Point:
    """A rule in the plane, in units of the drawing."""

    x: float
    y: float
    half_x: float
    """Half of the 95 % confidence interval; 0 where there is none."""
    half_y: float
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """All rules with one number of GPUs."""

    title: str
    curve: str
    """Points of the line through the fixed time-outs, as SVG's ``points`` has them."""
    fixed: tuple[Point, ...]
    ours: Point | None
    """None where nothing could be measured."""
    across: tuple[tuple[float, str], ...]
    """Ticks of re-acquisitions per session: place and label."""
    up: tuple[tuple[float, str], ...]
    """Ticks of the waste recovered."""
    says: str
    """How ours lies to the curve, in words."""


def draw(results: Results) -> str:
    """The picture as SVG."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    panels = [_make_panel(summary, results.options.timeouts) for summary in results.summaries]
    return environment.get_template("plane.html").render(
        panels=panels,
        width=PANEL_WIDTH,
        height=PANEL_HEIGHT,
        left=LEFT,
        top=TOP,
        right=RIGHT,
        bottom=BOTTOM,
        about=[describe_traces(results), describe_options(results)],
    )


def write_plot(path: Path, results: Results) -> None:
    """Draw it into a file. Raises: TraceError: The file cannot be written."""
    try:
        path.write_text(draw(results), encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {error.strerror}.") from error


def _make_panel(summary: Summary, timeouts: Sequence[float]) -> Panel:
    names = {FIXED.format(f"{minutes:g}"): f"{minutes:g}" for minutes in timeouts}
    places = {name: _find_place(summary, name) for name in (HOLD, *names, OURS)}
    known = {name: place for name, place in places.items() if place is not None}
    most = max((x.mean + (x.half_width or 0) for x, _ in known.values()), default=0.0)
    step = _find_step(most)
    last = step * max(1, ceil(most / step))
    points = {name: _put(*place, last, names.get(name, name)) for name, place in known.items()}
    line = sorted((one.x, -one.y) for name, one in points.items() if name != OURS)
    size = f"{summary.cards.mean:.0f} GPUs"
    above = summary.above_curve
    return Panel(
        title=size + (f" ({summary.asked} of the mean held)" if summary.asked.of_mean_held else ""),
        curve=" ".join(f"{x:g},{-y:g}" for x, y in line),
        fixed=tuple(one for name, one in points.items() if name in names),
        ours=points.get(OURS),
        across=tuple((_across(n * step / last), f"{n * step:g}") for n in range(round(last / step) + 1)),
        up=tuple((_up(percent / 100), f"{percent}") for percent in range(0, 101, 20)),
        says=""
        if above is None
        else f"ours: {quote_estimate(above, 100, 1, sign=True)} points above the line",
    )


def _find_place(summary: Summary, rule: str) -> tuple[Estimate, Estimate] | None:
    found = summary.rules[rule]
    x, y = found["reacquisitions"], found["recovered"]
    return None if x is None or y is None else (x, y)


def _put(x: Estimate, y: Estimate, last: float, label: str) -> Point:
    return Point(
        x=_across(x.mean / last),
        y=_up(y.mean),
        half_x=round((x.half_width or 0.0) / last * (RIGHT - LEFT), 1),
        half_y=round((y.half_width or 0.0) * (BOTTOM - TOP), 1),
        label=label,
    )


def _across(part: float) -> float:
    return round(LEFT + part * (RIGHT - LEFT), 1)


def _up(part: float) -> float:
    return round(BOTTOM - part * (BOTTOM - TOP), 1)


def _find_step(most: float) -> float:
    """A round step, of which four or more reach to the end."""
    if most <= 0:
        return 0.25
    base = 10.0 ** (ceil(log10(most)) - 1)
    return next(base * factor for factor in (2, 1, 0.5, 0.25, 0.2, 0.1) if most / (base * factor) >= 3)
