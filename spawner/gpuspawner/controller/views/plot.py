"""A line plot as geometry: samples in, points and ticks out. It knows no words, colours or time zones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

WIDTH, HEIGHT = 320, 120
"""Of the whole plot, in units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 34, 310, 10, 100
"""Where the axes are; the labels stand outside."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Timed = tuple[datetime, float | None]
"""What was measured when; None is unknown."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in equal steps."""

    since: datetime
    step: timedelta
    count: int
    """How many steps."""

    @property
    def until(self) -> datetime:
        """Where it ends."""
        return self.since + self.count * self.step

    def start_of(self, number: int) -> datetime:
        """When a step begins."""
        return self.since + number * self.step


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark at an axis."""

    place: float
    """x or y."""
    label: str
    """A number, in the axis's unit."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn."""

    lines: tuple[str, ...]
    """Points of each stretch without a gap, as SVG's ``points`` has them."""
    dots: tuple[tuple[float, float], ...]
    """What stands alone between two gaps, which no line would show."""
    across: tuple[Tick, ...]
    """At the axis of time: minutes before the end."""
    up: tuple[Tick, ...]
    """At the axis of values."""
    least: float | None
    """Least value that is drawn; None where nothing is known."""
    most: float | None
    latest: float | None
    """The value of the last step; None where it is not known."""

    @property
    def known(self) -> bool:
        """Whether anything is drawn."""
        return self.least is not None


def window_before(now: datetime, length: timedelta, count: int) -> Window:
    """The last whole steps before the present: the same window until the next step is over."""
    step = length / count
    return Window(now - (now - _EPOCH) % step - length, step, count)


def thin(measured: Iterable[Timed], window: Window, join: Callable[[Sequence[float]], float]) -> list[Timed]:
    """One value for each step of a window.

    Args:
        measured: In any order.
        window: What lies outside is left out.
        join: Makes one value of those of a step, such as their mean or their largest.

    Returns:
        The start of each step, and its value; None where nothing in it is known, which is never 0.
    """
    found: list[list[float]] = [[] for _ in range(window.count)]
    for at, value in measured:
        if value is not None and window.since <= at < window.until:
            found[(at - window.since) // window.step].append(value)
    return [(window.start_of(n), join(values) if values else None) for n, values in enumerate(found)]


def mean(values: Sequence[float]) -> float:
    """The mean of what is not empty."""
    return sum(values) / len(values)


def draw(values: Sequence[Timed], window: Window, top: float) -> Plot:
    """Lay out one plot.

    Args:
        values: One for each step of the window, as :func:`thin` makes them.
        window: The axis of time.
        top: The end of the axis of values, which begins at 0; larger values are drawn at it.
    """
    lines, dots = [], []
    numbered = [(n, value) for n, (_, value) in enumerate(values)]
    for is_known, run in groupby(numbered, lambda one: one[1] is not None):
        if not is_known:
            continue
        points = [(_across(n + 0.5, window.count), _up(value or 0.0, top)) for n, value in run]
        if len(points) == 1:
            dots.append(points[0])
        else:
            lines.append(" ".join(f"{x:g},{y:g}" for x, y in points))
    known = [value for _, value in values if value is not None]
    minutes = round((window.until - window.since) / timedelta(minutes=1))
    return Plot(
        lines=tuple(lines),
        dots=tuple(dots),
        across=tuple(Tick(_across(part, 2), f"{round(minutes * (2 - part) / 2)}") for part in (0, 1, 2)),
        up=tuple(Tick(_up(value, top), f"{value:.3g}") for value in (0.0, top / 2, top)),
        least=min(known, default=None),
        most=max(known, default=None),
        latest=values[-1][1] if values else None,
    )


def _across(part: float, of: int) -> float:
    return round(LEFT + (RIGHT - LEFT) * part / of, 1)


def _up(value: float, top: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * min(max(value, 0.0), top) / top, 1)
