"""Figures of one measurement: five repeats of each side, their ratio, and whether the goal was met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is to be."""

    text: str
    met: Callable[[float], bool]
    of: str = "ratio"
    """Which median is judged: of ``ratio`` or of ``ours``."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    what: str
    unit: str
    ours: Sequence[float]
    """One value per repeat."""
    stock: Sequence[float] = ()
    goal: Goal | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    """What explains the figure; for the JSON file, and the strings for the table's foot."""

    @property
    def ratios(self) -> list[float]:
        """Of each repeat, ours to stock."""
        return [ours / stock for ours, stock in zip(self.ours, self.stock, strict=False)]

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None where there is none."""
        if self.goal is None:
            return None
        return self.goal.met(median(self.ratios if self.goal.of == "ratio" else self.ours))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "ours": summary(self.ours),
            "stock": summary(self.stock),
            "ratio": summary(self.ratios),
            "goal": self.goal.text if self.goal else None,
            "met": self.met,
            "notes": self.notes,
        }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    return {
        "median": round(median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
        "all": [round(value, 4) for value in values],
    }


def spread(values: Sequence[float], unit: str = "") -> str:
    """``median (least to most)``, in three significant digits."""
    if not values:
        return "-"
    middle, least, most = (_short(value) for value in (median(values), min(values), max(values)))
    return f"{middle}{f' {unit}' if unit else ''} ({least} to {most})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table: median, and the spread over the repeats in brackets."""
    rows = [["Measurement", "GPUSpawner", "stock", "ratio", "goal", "met"]]
    for figure in figures:
        rows.append(
            [
                figure.what,
                spread(figure.ours, figure.unit),
                spread(figure.stock, figure.unit),
                spread(figure.ratios),
                figure.goal.text if figure.goal else "",
                {True: "yes", False: "**no**", None: ""}[figure.met],
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
