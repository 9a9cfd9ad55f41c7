"""Short builders of traces and runs for the simulation, in minutes."""

from __future__ import annotations

from gpuspawner.simulate.engine import run
from gpuspawner.simulate.orders import FirstComeFirstServed, Order
from gpuspawner.simulate.outcome import Outcome
from gpuspawner.simulate.rules import Rule
from gpuspawner.simulate.traces import MINUTE, EventRow, SessionRow, Trace, build_trace

Want = tuple[str, float, float, int, list[tuple[float, float]]]
"""Name, start, stop, GPUs, and the work as (from, to) on the clock of the trace."""


def ms(minutes: float) -> int:
    return round(minutes * MINUTE)


def trace(*wants: Want, users: dict[str, str] | None = None) -> Trace:
    """Sessions of which each uses all its GPUs in all its events."""
    rows = [
        SessionRow(name, (users or {}).get(name, ""), ms(start), ms(stop), gpus)
        for name, start, stop, gpus, _ in wants
    ]
    events = [
        EventRow(name, ms(begin), ms(end) - ms(begin), gpus, 50.0)
        for name, _, _, gpus, works in wants
        for begin, end in works
    ]
    return build_trace(rows, events)


def play(what: Trace, cards: int, rule: Rule, *, restart: float = 2, order: Order | None = None) -> Outcome:
    return run(what, cards=cards, rule=rule, order=order or FirstComeFirstServed(), restart=ms(restart))


def minutes(values: list[int]) -> list[float]:
    return [value / MINUTE for value in values]
