"""Runs the rules side by side, on one trace or on generated ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from multiprocessing import get_context

from gpuspawner.core.idleness import IdleLimits

from .bound import Clairvoyant
from .engine import run
from .generate import generate_rows
from .habits import Habits, find_habits
from .measures import MEASURES, Estimate, Measures, above_curve, estimate, measure
from .orders import FirstComeFirstServed, Order
from .ourline import OurLine
from .rules import HoldForTheSession, IdleCulling, Rule, fixed_timeout
from .traces import MINUTE, Trace, TraceError, build_trace

OURS, HOLD, CLAIRVOYANT = "ours", "hold", "clairvoyant"
FIXED = "idle {} min"


@dataclass(frozen=True, slots=True)
class CardCount:
    """How many cards a run has."""

    amount: float
    of_mean_held: bool = False
    """Whether the amount is per cent of the cards that are held on average when sessions hold them
    throughout."""

    def count(self, trace: Trace) -> int:
        """The number, rounded, at least one."""
        return max(1, round(self.amount / 100 * trace.mean_held if self.of_mean_held else self.amount))

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.of_mean_held else f"{self.amount:g}"


@dataclass(frozen=True, slots=True)
class Options:
    """What the comparison is about."""

    cards: tuple[CardCount, ...]
    limits: IdleLimits = field(default_factory=IdleLimits)
    """Of our rule."""
    restart: timedelta = timedelta(minutes=2)
    """What a restart costs."""
    timeouts: tuple[float, ...] = (10, 20, 30, 45, 60, 90, 120, 180, 240)
    """Of the fixed rules, in minutes."""

    @property
    def restart_ms(self) -> int:
        """The restart in the simulation's unit."""
        return self.restart // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a trace is like, for people."""

    sessions: float
    users: float
    days: float
    mean_held: float
    """Cards held on average if every session holds its own from start to stop."""
    idle_share: float
    """Of that time, the part in which no event runs."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rules with one number of cards on one trace."""

    cards: int
    refused: int
    """Sessions that want more cards than there are, and were left out."""
    measures: Mapping[str, Measures]
    """By rule."""
    above_curve: float | None
    """What ours recovers beyond fixed time-outs (see :func:`gpuspawner.simulate.measures.above_curve`)."""


@dataclass(frozen=True, slots=True)
class Study:
    """The comparison on one trace, for each number of cards."""

    sizes: Sizes
    habits: Habits
    """Of people who paused for as long as our short limit."""
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """One number of cards over all traces."""

    asked: CardCount
    cards: Estimate
    refused: Estimate
    rules: Mapping[str, Mapping[str, Estimate | None]]
    """By rule, by measure."""
    above_curve: Estimate | None


@dataclass(frozen=True, slots=True)
class Results:
    """What is reported."""

    options: Options
    traces: int
    sizes: Mapping[str, Estimate]
    habits: Mapping[str, Estimate | None]
    summaries: tuple[Summary, ...]
    notes: tuple[str, ...] = field(default=())


def contenders(options: Options, cards: int) -> dict[str, tuple[Rule, Order]]:
    """The rules to compare on so many cards, by name. Orders remember, so this is called anew for each run.

    Ours has the order of the product's own line; the others are first come, first served.
    """
    found: dict[str, tuple[Rule, Order]] = {
        OURS: (IdleCulling(options.limits), make_our_order(cards)),
        HOLD: (HoldForTheSession(), FirstComeFirstServed()),
    }
    for minutes in options.timeouts:
        rule = fixed_timeout(timedelta(minutes=minutes))
        found[FIXED.format(f"{minutes:g}")] = (rule, FirstComeFirstServed())
    found[CLAIRVOYANT] = (Clairvoyant(options.restart_ms), FirstComeFirstServed())
    return found


def make_our_order(cards: int) -> Order:
    """The order of the line that our rule runs with: that of the product."""
    return OurLine(cards)


def study(trace: Trace, options: Options) -> Study:
    """Compare on one trace.

    Raises:
        TraceError: Waits and restarts add up to more years than a calendar has.
    """
    try:
        comparisons = tuple(_compare(trace, cards.count(trace), options) for cards in options.cards)
    except OverflowError as error:
        raise TraceError(
            "The simulation ran past the year 9999. Check that the trace is in minutes, or lower --restart."
        ) from error
    return Study(_size_up(trace), _find_habits(trace, options), comparisons, trace.notes)


def _find_habits(trace: Trace, options: Options) -> Habits:
    short = options.limits.wanted
    return Habits(None, None) if short is None else find_habits(trace, short // timedelta(milliseconds=1))


def _compare(trace: Trace, cards: int, options: Options) -> Comparison:
    measures, refused = {}, 0
    for name, (rule, order) in contenders(options, cards).items():
        outcome = run(trace, cards=cards, rule=rule, order=order, restart=options.restart_ms)
        measures[name], refused = measure(outcome), outcome.refused
    fixed = [measures[FIXED.format(f"{minutes:g}")] for minutes in options.timeouts]
    return Comparison(cards, refused, measures, above_curve(measures[OURS], fixed))


def _size_up(trace: Trace) -> Sizes:
    held = sum(s.gpus * s.length for s in trace.sessions)
    busy = sum(s.gpus * s.busy for s in trace.sessions)
    return Sizes(
        sessions=len(trace.sessions),
        users=len({s.user for s in trace.sessions}),
        days=trace.span / MINUTE / (24 * 60),
        mean_held=trace.mean_held,
        idle_share=1 - busy / held if held else 0.0,
    )


def study_generated(sessions: int, seeds: Iterable[int], options: Options, *, jobs: int = 1) -> list[Study]:
    """Compare on generated traces, one for each seed.

    Args:
        sessions: How many each trace has.
        seeds: The seeds.
        options: What the comparison is about.
        jobs: How many processes do it.
    """
    one = partial(_study_seed, sessions, options)
    if jobs == 1:
        return [one(seed) for seed in seeds]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(one, seeds))


def _study_seed(sessions: int, options: Options, seed: int) -> Study:
    return study(build_trace(*generate_rows(sessions, seed)), options)


def summarize(studies: Sequence[Study], options: Options) -> Results:
    """Put the comparisons on several traces together, with intervals over the traces."""
    summaries = []
    for n, asked in enumerate(options.cards):
        same = [s.comparisons[n] for s in studies]
        rules = {
            rule: {name: estimate([getattr(c.measures[rule], name) for c in same]) for name in MEASURES}
            for rule in same[0].measures
        }
        summaries.append(
            Summary(
                asked=asked,
                cards=_sure([c.cards for c in same]),
                refused=_sure([c.refused for c in same]),
                rules=rules,
                above_curve=estimate([c.above_curve for c in same]),
            )
        )
    sizes = {name: _sure([getattr(s.sizes, name) for s in studies]) for name in Sizes.__dataclass_fields__}
    notes = tuple(dict.fromkeys(note for s in studies for note in s.notes))
    habits = {
        name: estimate([getattr(s.habits, name) for s in studies]) for name in Habits.__dataclass_fields__
    }
    return Results(options, len(studies), sizes, habits, tuple(summaries), notes)


def _sure(values: Sequence[float]) -> Estimate:
    found = estimate(values)
    if found is None:
        raise ValueError("nothing to put together")
    return found
