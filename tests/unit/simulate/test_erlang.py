"""With exponential arrivals and services, first come first served is the queue M/M/c, and Erlang C is known
exactly."""

from __future__ import annotations

from math import factorial
from random import Random

import pytest
from gpuspawner.simulate.measures import Estimate, estimate
from gpuspawner.simulate.rules import HoldForTheSession
from gpuspawner.simulate.traces import Session, Trace
from support.traces import minutes, ms, play

CARDS, SERVICE, LOAD = 4, 60.0, 0.75
"""Cards, mean minutes of a session, part of the cards that is wanted on average."""
REPLICATIONS, SESSIONS, WARM_UP = 20, 3000, 500
"""Independent runs; sessions in each, of which the first are left out because the line is empty at the
beginning."""


def erlang_c(servers: int, offered: float) -> float:
    """The probability of having to wait (Erlang 1917): offered is arrival rate times mean service."""
    last = offered**servers / factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**n / factorial(n) for n in range(servers)) + last)


def mean_wait(servers: int, offered: float) -> float:
    """Minutes, over all, also those that need not wait."""
    return erlang_c(servers, offered) * SERVICE / (servers - offered)


def make_trace(seed: int) -> Trace:
    random, at, sessions = Random(seed), 0.0, []
    for n in range(SESSIONS):
        sessions.append(Session(f"s{n}", f"s{n}", ms(at), ms(random.expovariate(1 / SERVICE)), 1, ()))
        at += random.expovariate(CARDS * LOAD / SERVICE)
    return Trace(tuple(sessions))


def simulate(cards: int, first_seed: int = 1) -> tuple[Estimate, Estimate]:
    """The probability of having to wait and the mean wait, with 95 % confidence intervals."""
    probabilities, means = [], []
    for seed in range(first_seed, first_seed + REPLICATIONS):
        waits = minutes(play(make_trace(seed), cards, HoldForTheSession()).start_waits[WARM_UP:])
        probabilities.append(sum(wait > 0 for wait in waits) / len(waits))
        means.append(sum(waits) / len(waits))
    found = estimate(probabilities), estimate(means)
    assert found[0]
    assert found[1]
    return found


def holds(found: Estimate, exact: float) -> bool:
    return abs(found.mean - exact) <= (found.half_width or 0)


def test_erlang_c_has_the_values_of_the_tables() -> None:
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(5, 4.0) == pytest.approx(0.5541, abs=5e-5)


def test_the_engine_agrees_with_erlang_c() -> None:
    probability, mean = simulate(CARDS)
    assert holds(probability, erlang_c(CARDS, CARDS * LOAD))
    assert holds(mean, mean_wait(CARDS, CARDS * LOAD))
    # The intervals are narrow enough to tell something.
    assert probability.half_width < 0.03
    assert mean.half_width < 0.15 * mean.mean


@pytest.mark.parametrize("planted", [CARDS + 1, CARDS + 2])
def test_one_card_too_many_is_noticed(planted: int) -> None:
    probability, mean = simulate(planted)
    assert not holds(probability, erlang_c(CARDS, CARDS * LOAD))
    assert not holds(mean, mean_wait(CARDS, CARDS * LOAD))
