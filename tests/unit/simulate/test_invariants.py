"""What holds for every rule on every trace."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.idleness import IdleLimits
from gpuspawner.simulate.bound import Clairvoyant
from gpuspawner.simulate.compare import Options, contenders
from gpuspawner.simulate.measures import measure
from gpuspawner.simulate.outcome import Outcome
from gpuspawner.simulate.rules import STOP, IdleCulling, Look
from gpuspawner.simulate.traces import Trace
from hypothesis import given
from hypothesis import strategies as st
from support.traces import ms, play, trace

RESTART = 2


@st.composite
def traces(draw) -> Trace:
    wants = []
    for n in range(draw(st.integers(1, 8))):
        start, works, at = draw(st.integers(0, 60)), [], 0
        for _ in range(draw(st.integers(0, 4))):
            begin = at + draw(st.integers(0, 40))
            at = begin + draw(st.integers(1, 20))
            works.append((start + begin, start + at))
        stop = start + at + draw(st.integers(0, 60))
        wants.append((f"s{n}", start, stop, draw(st.integers(0, 4)), works))
    return trace(*wants, users={f"s{n}": f"u{n % 3}" for n in range(8)})


class Erratic:
    """Takes cards back at odd moments, also from those that work."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def asks_first_at(self, session) -> int:
        return 0

    def asks_ahead(self, restart: int) -> int:
        return 0

    def look(self, view, now: int, *, demanded: bool) -> Look:
        self.state = self.state * 1103515245 + 12345 & 0x7FFFFFFF
        if self.state % 7 == 0 and now > view.since:
            return STOP
        return Look(again_at=now + 1 + ms(self.state % 30))


def short_limits() -> IdleCulling:
    return IdleCulling(
        IdleLimits(free=timedelta(minutes=12), wanted=timedelta(minutes=3), warning=timedelta(minutes=2))
    )


RULES = {name: pair[0] for name, pair in contenders(Options(cards=()), 1).items()}


def check_cards(outcome: Outcome) -> None:
    """No card has two holders at a time, from the record of who had which card, apart from the engine's own
    books."""
    free_from = [0] * outcome.cards
    for holding, until in sorted(outcome.holdings, key=lambda pair: (pair[0].since, pair[1])):
        assert holding.since <= until
        for card in holding.cards:
            assert free_from[card] <= holding.since
            free_from[card] = until


def check_books(what: Trace, outcome: Outcome) -> None:
    """All that was wanted was done, and the sums agree with the record."""
    mine = [s for s in what.sessions if 0 < s.gpus <= outcome.cards]
    assert outcome.sessions == len(mine)
    assert outcome.useful == pytest.approx(sum(s.gpu_work for s in mine))
    assert outcome.covered == sum(s.gpus * s.busy for s in mine)
    assert outcome.held == sum(len(h.cards) * (until - h.since) for h, until in outcome.holdings)
    assert outcome.useful <= outcome.covered <= outcome.held
    assert len(outcome.return_waits) == outcome.returns <= outcome.reclaims
    assert outcome.quick_returns <= outcome.returns
    assert len(outcome.start_waits) + len(outcome.return_waits) == len(outcome.holdings)
    assert min(outcome.start_waits + outcome.return_waits, default=0) >= 0
    figures = measure(outcome)
    users = sum(1 for wanted in outcome.demanded.values() if wanted)
    assert figures.jain is None or 1 / users - 1e-9 <= figures.jain <= 1 + 1e-9
    assert all(outcome.received[user] <= wanted + 1e-6 for user, wanted in outcome.demanded.items())


@pytest.mark.parametrize("name", RULES)
@given(what=traces(), cards=st.integers(1, 6))
def test_every_rule_keeps_the_books(name: str, what: Trace, cards: int) -> None:
    outcome = play(what, cards, RULES[name], restart=RESTART)
    check_cards(outcome)
    check_books(what, outcome)
    assert outcome.wrongful == 0


@given(what=traces(), cards=st.integers(1, 6), seed=st.integers(0, 1000))
def test_even_an_erratic_rule_keeps_the_books(what: Trace, cards: int, seed: int) -> None:
    outcome = play(what, cards, Erratic(seed), restart=RESTART)
    check_cards(outcome)
    check_books(what, outcome)


@given(what=traces(), cards=st.integers(1, 6))
def test_short_limits_keep_the_books(what: Trace, cards: int) -> None:
    outcome = play(what, cards, short_limits(), restart=RESTART)
    check_cards(outcome)
    check_books(what, outcome)


@given(what=traces(), cards=st.integers(1, 6), seed=st.integers(0, 1000))
def test_no_rule_wastes_less_than_the_clairvoyant(what: Trace, cards: int, seed: int) -> None:
    bound = play(what, cards, Clairvoyant(ms(RESTART)), restart=RESTART)
    exact = sum(
        s.gpus * min(after.start - before.end, ms(RESTART))
        for s in what.sessions
        if s.gpus <= cards
        for before, after in zip(s.work, s.work[1:], strict=False)
    )
    assert bound.held - bound.covered == exact
    for rule in (*RULES.values(), short_limits(), Erratic(seed)):
        other = play(what, cards, rule, restart=RESTART)
        assert other.held - other.covered >= exact


@given(traces())
def test_with_cards_for_all_nobody_waits_and_holding_wastes_what_is_idle(what: Trace) -> None:
    cards = sum(s.gpus for s in what.sessions) or 1
    outcome = play(what, cards, RULES["hold"], restart=RESTART)
    assert not any(outcome.start_waits)
    assert outcome.held - outcome.covered == outcome.idle_if_held
    assert measure(outcome).recovered in (0, None)
