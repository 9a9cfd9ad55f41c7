"""Figures of a run, and of several runs together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from math import sqrt
from statistics import mean, stdev

from .outcome import Outcome
from .traces import MINUTE


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one run; None where there is nothing to measure. Shares are parts of 1."""

    wait_p50: float | None
    """Minutes in line, of all requests for cards, the first of a session and those of people who come
    back."""
    wait_p95: float | None
    start_wait_p95: float | None
    """The same, of first requests only."""
    return_wait_p95: float | None
    """The same, of people who come back only."""
    useful_share: float | None
    """Of the GPU time that is held, the part in which an event uses the GPU."""
    computing_share: float | None
    """Of the GPU time that is held, the part that the recorded utilisation makes of it; None when some is
    unknown."""
    jain: float | None
    """Jain's index over users of GPU time received / GPU time demanded (see :func:`jain_index`)."""
    reclaims: float
    """How often cards were taken back."""
    wrongful: float
    """Of these, how often while an event ran."""
    reacquisitions: float | None
    """How often cards that were taken back were asked for again, for each session."""
    quick_returns: float | None
    """Of the reclaims, the part after which the session asks again within ten minutes."""
    recovered: float | None
    """Of the GPU time that is idle when every session holds its cards throughout, the part that is saved.
    Restarts count as idle."""


MEASURES = tuple(field.name for field in fields(Measures))


def measure(outcome: Outcome) -> Measures:
    """Figures of one run."""
    waits = outcome.start_waits + outcome.return_waits
    idle = outcome.held - outcome.covered
    computed = outcome.computed
    return Measures(
        wait_p50=_minutes(percentile(waits, 0.50)),
        wait_p95=_minutes(percentile(waits, 0.95)),
        start_wait_p95=_minutes(percentile(outcome.start_waits, 0.95)),
        return_wait_p95=_minutes(percentile(outcome.return_waits, 0.95)),
        useful_share=_part(outcome.useful, outcome.held),
        computing_share=None if computed is None else _part(computed, outcome.held),
        jain=jain_index(
            [outcome.received[user] / wanted for user, wanted in outcome.demanded.items() if wanted]
        ),
        reclaims=outcome.reclaims,
        wrongful=outcome.wrongful,
        reacquisitions=_part(outcome.returns, outcome.sessions),
        quick_returns=_part(outcome.quick_returns, outcome.reclaims),
        recovered=_part(outcome.idle_if_held - idle, outcome.idle_if_held),
    )


def percentile(values: Collection[float], part: float) -> float | None:
    """The value below which this part of them lies, interpolated between neighbours; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def jain_index(shares: Sequence[float]) -> float | None:
    """How equal shares are: 1 when all are the same, 1/n when one of n has everything (Jain, Chiu and Hawe
    1984).

    A user's share here is the GPU time of work that was done before the recorded stops of their sessions, of
    the GPU time of work that they recorded. So it is 1 for somebody whose waits cost them nothing of their
    day, and less the more of their work had to wait until later. None when nobody has a share at all.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over several runs."""

    mean: float
    half_width: float | None
    """The mean ± this is the 95 % confidence interval, by Student's t over the runs; None of a single one."""
    runs: int
    """How many of the runs have the figure."""


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Put the figures of independent runs together; None when no run has one."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) == 1:
        return Estimate(known[0], None, 1)
    spread = stdev(known) / sqrt(len(known))
    return Estimate(mean(known), student_t(len(known) - 1) * spread, len(known))


_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to three digits."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    # Two terms of the Cornish-Fisher expansion around the normal quantile: right to three digits from here
    # on.
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def above_curve(ours: Measures, fixed: Sequence[Measures]) -> float | None:
    """How much more of the waste a rule recovers than fixed time-outs do at as many re-acquisitions.

    The curve goes in straight lines from holding (no re-acquisitions, nothing recovered) through the
    time-outs in the order of their re-acquisitions, and on level after the last.
    """
    if ours.reacquisitions is None or ours.recovered is None:
        return None
    best = {0.0: 0.0}
    for other in fixed:
        if other.reacquisitions is not None and other.recovered is not None:
            before = best.get(other.reacquisitions, other.recovered)
            best[other.reacquisitions] = max(before, other.recovered)
    points, x = sorted(best.items()), ours.reacquisitions
    right = next((n for n, point in enumerate(points) if point[0] >= x), None)
    if not right:
        on_curve = points[-1 if right is None else 0][1]
    else:
        (x0, y0), (x1, y1) = points[right - 1], points[right]
        on_curve = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return ours.recovered - on_curve


def _minutes(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / MINUTE


def _part(amount: float, whole: float) -> float | None:
    return amount / whole if whole else None
