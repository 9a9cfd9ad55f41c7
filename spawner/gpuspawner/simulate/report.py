"""What ``gpuspawner simulate`` prints: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta

from gpuspawner.core.idleness import IdleLimits, choose_idle_limit

from .compare import CLAIRVOYANT, OURS, Results, Summary
from .measures import Estimate

_COLUMNS: tuple[tuple[str, str, float, int], ...] = (
    ("wait_p50", "WAIT p50 min", 1, 1),
    ("wait_p95", "WAIT p95 min", 1, 1),
    ("useful_share", "USEFUL %", 100, 1),
    ("jain", "JAIN", 1, 3),
    ("reclaims", "RECLAIMS", 1, 0),
    ("wrongful", "WRONGFUL", 1, 0),
    ("reacquisitions", "RE-ACQ/SESSION", 1, 2),
    ("quick_returns", "BACK IN 10 MIN %", 100, 1),
    ("recovered", "WASTE RECOVERED %", 100, 1),
)
"""Measure, heading, factor, digits after the point."""


def render(results: Results) -> str:
    """The results for people."""
    lines = [describe_traces(results), *results.notes]
    if results.traces > 1:
        lines.append("Means over the traces, ± half of the 95 % confidence interval.")
    lines += [describe_options(results), *_describe_habits(results)]
    for summary in results.summaries:
        lines += ["", *_render_summary(summary)]
    return "\n".join(lines)


def describe_traces(results: Results) -> str:
    """What the traces are like."""
    sizes = results.sizes
    what = "1 trace" if results.traces == 1 else f"{results.traces} traces"
    return (
        f"{what}: {sizes['sessions'].mean:g} sessions of {sizes['users'].mean:.0f} users in "
        f"{sizes['days'].mean:.1f} days; if each held its GPUs from start to stop, "
        f"{sizes['mean_held'].mean:.1f} GPUs would be held on average, "
        f"idle for {100 * sizes['idle_share'].mean:.1f} % of the time."
    )


def describe_options(results: Results) -> str:
    """What our rule is, and what a restart costs."""
    limits = _minutes(results.options.limits)
    worked = choose_idle_limit(results.options.limits, demanded=True, worked=1)
    longer = f" ({worked / timedelta(minutes=1):g} min for one GPU that has worked)" if worked else ""
    return (
        f"ours: idle limit {limits['free']:g} min, {limits['wanted']:g} min while somebody waits{longer}, "
        f"warned {limits['warning']:g} min before. A restart costs "
        f"{results.options.restart.total_seconds() / 60:g} min."
    )


def _describe_habits(results: Results) -> Iterator[str]:
    pause = _minutes(results.options.limits)["wanted"]
    begin, back = results.habits["begin_late"], results.habits["come_back"]
    if begin is not None:
        share = quote_estimate(begin, 100, 1)
        yield f"Of the sessions without work in their first {pause:g} min, {share} % have some later."
    if back is not None:
        share = quote_estimate(back, 100, 1)
        yield f"Of the pauses of more than {pause:g} min after work, {share} % end in work."


def _render_summary(summary: Summary) -> list[str]:
    head = f"{quote_estimate(summary.cards, 1, 0)} GPUs"
    if summary.asked.of_mean_held:
        head += f" ({summary.asked} of the mean held)"
    if summary.refused.mean:
        head += f"; {summary.refused.mean:.3g} sessions want more and are left out"
    table = [("RULE", *(heading for _, heading, _, _ in _COLUMNS))]
    table += [
        (rule, *(quote_estimate(found[name], factor, digits) for name, _, factor, digits in _COLUMNS))
        for rule, found in summary.rules.items()
    ]
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))]
    lines = [head]
    for name, *cells in table:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *right]).rstrip())
    if summary.above_curve is not None:
        points = quote_estimate(summary.above_curve, 100, 1, sign=True)
        lines.append(
            f"{OURS} recovers {points} points of the waste more than fixed time-outs at as many "
            "re-acquisitions (on straight lines between them)."
        )
    return lines


def quote_estimate(found: Estimate | None, factor: float, digits: int, *, sign: bool = False) -> str:
    """A figure with its interval, times a factor, with so many digits after the point."""
    if found is None:
        return "-"
    text = f"{factor * found.mean:{'+' if sign else ''}.{digits}f}"
    if not found.half_width:
        return text
    # An interval is shown with a digit more where it would be rounded to nothing.
    width = factor * found.half_width
    return f"{text} ±{width:.{digits}f}" if round(width, digits) else f"{text} ±{width:.1g}"


def to_json(results: Results) -> dict[str, object]:
    """The results for programs. Times are minutes, shares parts of 1; null is what there is nothing to
    measure of."""
    options = results.options
    return {
        "schema": 1,
        "traces": results.traces,
        "trace": {name: _figure(found) for name, found in results.sizes.items()},
        "habits": {name: _figure(found) for name, found in results.habits.items()},
        "notes": list(results.notes),
        "options": {
            "idle_limits_min": _minutes(options.limits),
            "restart_min": options.restart.total_seconds() / 60,
            "timeouts_min": list(options.timeouts),
        },
        "comparisons": [
            {
                "asked": str(summary.asked),
                "gpus": _figure(summary.cards),
                "refused_sessions": _figure(summary.refused),
                "rules": {
                    rule: {name: _figure(value) for name, value in found.items()}
                    for rule, found in summary.rules.items()
                },
                "ours_above_fixed_curve": _figure(summary.above_curve),
                "bound": CLAIRVOYANT,
            }
            for summary in results.summaries
        ],
    }


def _figure(found: Estimate | None) -> Mapping[str, object] | None:
    if found is None:
        return None
    half = found.half_width
    interval = None if half is None else [found.mean - half, found.mean + half]
    return {"mean": found.mean, "interval_95": interval, "runs": found.runs}


def _minutes(limits: IdleLimits) -> dict[str, float]:
    return {name: limit.total_seconds() / 60 for name, limit in asdict(limits).items()}
