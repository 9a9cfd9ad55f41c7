"""Synthetic traces of notebook sessions on shared GPUs.

Fitted to what has been published of real ones:

- **NotebookOS** (Carver et al., ASPLOS 2026, arXiv:2503.20591), on notebook sessions with GPUs at Adobe: half
  of the training tasks last at most 2 minutes and three quarters at most 5; within a session, the median time
  from one task's start to the next one's is 5 minutes, the shortest that was seen is 4; the GPUs that are
  reserved are idle for more than 81 % of the time; nearly 70 % of them are not used at all during their
  session; about three quarters of the sessions use their GPUs for at most 5 % of their life. (These figures
  were taken from a published summary of the paper, and its abstract confirms their drift; compare them with
  the paper before you lean on the last digit.)
- **Helios** (Hu et al., SC '21, arXiv:2109.01313), **Philly** (Jeon et al., ATC '19, arXiv:1901.05758) and
  **PAI** (Weng et al., NSDI '22), on batch clusters: most jobs ask for one GPU, few people make most of the
  use, and GPUs that are in use are about half utilised (a mean of about 52 % in Philly, less in PAI; these
  figures were written from memory and not looked up again).

Everything else is an assumption of ours, and is marked so at the parameter: nothing that we know of publishes
how long notebook sessions last, how their tasks cluster in time, or how many come on a day in a small lab.

:data:`PARAMETERS` was committed before any rule for idle sessions was tuned, and must not be changed
afterwards: a trace that is fitted to a rule proves nothing about it. Somebody who wants another world writes
another set of parameters beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from math import exp
from random import Random

from .traces import MINUTE, EventRow, SessionRow

GRAIN = 600
"""Milliseconds to which all times are rounded: 0.01 minutes, so that a file holds exactly what was made."""
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class NotebookParameters:
    """What the generator draws from. Times are minutes unless a field says otherwise."""

    task_median: float = 1.6
    """Of short tasks, which are lognormal. Together with the long ones, half of all tasks last at most 2
    minutes and three quarters at most 5 (NotebookOS). The form is an assumption."""
    task_sigma: float = 1.0
    """See ``task_median``."""
    long_chance: float = 0.14
    """Assumption: how often a task is a training rather than a try. Without such tasks we found no way to
    have the published idle share together with the published quartiles."""
    long_median: float = 45.0
    """Assumption: long tasks are lognormal."""
    long_sigma: float = 1.0
    """Assumption."""
    task_shortest: float = 0.1
    """Assumption."""
    task_longest: float = 12 * 60
    """Assumption."""
    start_to_start_shortest: float = 4.0
    """NotebookOS: from one task's start to the next one's, within a session."""
    start_to_start_above: float = 0.45
    """Within a burst of work the time from start to start is the shortest plus a lognormal with this median,
    or as long as the task if that is longer. Together with breaks and long tasks the median is 5
    (NotebookOS). The form is an assumption."""
    start_to_start_sigma: float = 1.5
    """Assumption."""
    break_chance: float = 0.08
    """Assumption: how often a task is followed by a break instead of the next task of the burst."""
    break_median: float = 50.0
    """Assumption: breaks (a meeting, lunch, reading, the night) are lognormal."""
    break_sigma: float = 1.2
    """Assumption."""
    unused_share: float = 0.68
    """NotebookOS: of the sessions, those that never use their GPUs ("nearly 70 %" of the reserved GPUs)."""
    light_share: float = 0.10
    """Of the sessions, those that use them for one burst only. With the unused ones it makes about three
    quarters of the sessions that use their GPUs for at most 5 % of their life (NotebookOS)."""
    light_tasks_mean: float = 2.0
    """Assumption: tasks in such a session, geometric."""
    setup_median: float = 12.0
    """Assumption: from a session's start to its first task, lognormal."""
    setup_sigma: float = 1.0
    """Assumption."""
    worked_part_least: float = 0.5
    """Assumption: people stop working before they stop the session; the part of the session's length in which
    tasks begin is uniform from this to 1."""
    session_median: float = 5 * 60
    """Assumption: lengths of sessions are lognormal; NotebookOS says only that they are long."""
    worked_session_factor: float = 2.5
    """Assumption: sessions in which people work, other than the light ones, are so much longer in the
    median."""
    session_sigma: float = 1.0
    """Assumption."""
    session_shortest: float = 5.0
    """Assumption."""
    session_longest: float = 3 * _DAY
    """Assumption."""
    gpus: tuple[tuple[int, float], ...] = ((1, 0.80), (2, 0.12), (4, 0.06), (8, 0.02))
    """How many GPUs a session has, with the share of the sessions. Most ask for one (Helios, Philly, PAI);
    the shares themselves are an assumption."""
    utilization_alpha: float = 2.0
    """Utilisation of GPUs in use is 100 % times Beta(alpha, beta): its mean of 52 % is Philly's, its form an
    assumption."""
    utilization_beta: float = 1.85
    """See ``utilization_alpha``."""
    sessions_per_workday: float = 40.0
    """Assumption: a lab, or a course and a lab."""
    weekend_part: float = 0.3
    """Assumption: sessions on a Saturday or Sunday, relative to a workday."""
    hour_weights: tuple[float, ...] = (
        *(1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 13, 12),
        *(9, 12, 13, 12, 10, 8, 6, 5, 5, 4, 3, 2),
    )
    """Assumption: starts of sessions over the hours of a day."""
    sessions_per_user: float = 12.0
    """Assumption: so many sessions in the trace make one user on average."""
    user_skew: float = 0.9
    """The n-th user's part is n to the power of minus this: few people make most of the use (Helios, Philly).
    The exponent is an assumption."""


PARAMETERS = NotebookParameters()
"""The world in which the rules are compared. Not to be changed; see the module's docstring."""


def generate_rows(
    sessions: int, seed: int, parameters: NotebookParameters = PARAMETERS
) -> tuple[list[SessionRow], list[EventRow]]:
    """Make a trace; the same arguments make the same one.

    Args:
        sessions: How many, at least one.
        seed: Any whole number.
        parameters: What to draw from.
    """
    random = Random(seed)  # noqa: S311 (a trace is no secret)
    rows, events = [], []
    users = max(1, round(sessions / parameters.sessions_per_user))
    shares = list(accumulate((n + 1) ** -parameters.user_skew for n in range(users)))
    counts, weights = zip(*parameters.gpus, strict=True)
    for n, start in enumerate(_draw_starts(random, sessions, parameters)):
        kind = _draw_kind(random, parameters)
        length = _draw_length(random, kind, parameters)
        user = random.choices(range(users), cum_weights=shares)[0]
        gpus = random.choices(counts, weights)[0]
        begin, name = _grains(start), f"s{n + 1:05d}"
        rows.append(SessionRow(name, f"u{user + 1:04d}", begin, begin + _grains(length), gpus))
        events += [
            EventRow(name, begin + after, duration, gpus, _draw_utilization(random, parameters))
            for after, duration in _draw_tasks(random, kind, length, parameters)
        ]
    return rows, events


class _Kind(Enum):
    """What a session is used for."""

    UNUSED = 0
    LIGHT = 1
    WORKED = 2


def _draw_kind(random: Random, parameters: NotebookParameters) -> _Kind:
    kind = random.random()
    if kind < parameters.unused_share:
        return _Kind.UNUSED
    return _Kind.LIGHT if kind < parameters.unused_share + parameters.light_share else _Kind.WORKED


def _draw_length(random: Random, kind: _Kind, parameters: NotebookParameters) -> float:
    """Minutes from start to stop."""
    factor = parameters.worked_session_factor if kind is _Kind.WORKED else 1.0
    length = _lognormal(random, factor * parameters.session_median, parameters.session_sigma)
    return min(max(length, parameters.session_shortest), parameters.session_longest)


def _draw_starts(random: Random, sessions: int, parameters: NotebookParameters) -> list[float]:
    """Minutes after a Monday's midnight, in order: the rate goes with the hour and the day of the week."""
    days: list[float] = []
    expected = 0.0
    while expected < sessions:
        weight = parameters.weekend_part if len(days) % 7 >= 5 else 1.0
        days.append(weight)
        expected += weight * parameters.sessions_per_workday
    day_sums, hour_sums = list(accumulate(days)), list(accumulate(parameters.hour_weights))
    starts = []
    for _ in range(sessions):
        day = random.choices(range(len(days)), cum_weights=day_sums)[0]
        hour = random.choices(range(24), cum_weights=hour_sums)[0]
        starts.append(day * _DAY + (hour + random.random()) * 60)
    return sorted(starts)


def _draw_tasks(
    random: Random, kind: _Kind, length: float, parameters: NotebookParameters
) -> list[tuple[int, int]]:
    """The tasks of one session as (start, duration), milliseconds after the session's start, none
    overlapping."""
    if kind is _Kind.UNUSED:
        return []
    left = _draw_geometric(random, parameters.light_tasks_mean) if kind is _Kind.LIGHT else None
    begin = _lognormal(random, parameters.setup_median, parameters.setup_sigma)
    last = length * random.uniform(parameters.worked_part_least, 1.0)
    tasks: list[tuple[int, int]] = []
    while begin < last and left != 0:
        duration = min(_draw_duration(random, parameters), length - begin)
        tasks.append((_grains(begin), min(_grains(duration), _grains(length) - _grains(begin))))
        left = left if left is None else left - 1
        step = _draw_step(random, duration, parameters, may_break=kind is _Kind.WORKED)
        # Two grains of pause keep tasks apart when their times are rounded.
        begin += max(step, duration + 2 * GRAIN / MINUTE)
    return tasks


def _draw_duration(random: Random, parameters: NotebookParameters) -> float:
    """Minutes that a task lasts."""
    if random.random() < parameters.long_chance:
        duration = _lognormal(random, parameters.long_median, parameters.long_sigma)
    else:
        duration = _lognormal(random, parameters.task_median, parameters.task_sigma)
    return min(max(duration, parameters.task_shortest), parameters.task_longest)


def _draw_step(random: Random, duration: float, parameters: NotebookParameters, *, may_break: bool) -> float:
    """Minutes from a task's start to the next one's."""
    if may_break and random.random() < parameters.break_chance:
        pause = _lognormal(random, parameters.break_median, parameters.break_sigma)
        return max(parameters.start_to_start_shortest, duration + pause)
    above = _lognormal(random, parameters.start_to_start_above, parameters.start_to_start_sigma)
    return parameters.start_to_start_shortest + above


def _draw_geometric(random: Random, mean: float) -> int:
    """1, 2, 3 … with this mean."""
    count = 1
    while random.random() >= 1 / mean:
        count += 1
    return count


def _draw_utilization(random: Random, parameters: NotebookParameters) -> float:
    share = random.betavariate(parameters.utilization_alpha, parameters.utilization_beta)
    return round(100 * share, 1)


def _lognormal(random: Random, median: float, sigma: float) -> float:
    return median * exp(random.gauss(0.0, sigma))


def _grains(minutes: float) -> int:
    """Milliseconds, rounded to the grain."""
    return round(minutes * MINUTE / GRAIN) * GRAIN


def quote_sizes(rows: Sequence[SessionRow], events: Sequence[EventRow]) -> str:
    """What was made, in a line for people."""
    days = (max(r.stop for r in rows) - min(r.start for r in rows)) / MINUTE / _DAY
    users = len({row.user for row in rows})
    return f"{len(rows)} sessions of {users} users in {days:.1f} days, {len(events)} events"
