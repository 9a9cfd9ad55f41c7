from __future__ import annotations

from dataclasses import replace

import pytest
from gpuspawner.core.idleness import IdleLimits
from gpuspawner.core.line import LinePlan, plan_line
from gpuspawner.core.situation import Situation
from gpuspawner.simulate import ourline
from gpuspawner.simulate.orders import Holding, Request
from gpuspawner.simulate.ourline import OurLine
from gpuspawner.simulate.rules import HoldForTheSession, IdleCulling
from hypothesis import given
from hypothesis import strategies as st
from support.traces import minutes, play, trace


def test_whoever_used_less_goes_first() -> None:
    # a1 has run; a2 asks before b1, of somebody who has used nothing.
    what = trace(
        ("a1", 0, 60, 1, []),
        ("a2", 10, 40, 1, []),
        ("b1", 20, 50, 1, []),
        users={"a1": "ada", "a2": "ada", "b1": "bob"},
    )
    outcome = play(what, 1, HoldForTheSession(), order=OurLine(1))
    assert [(h.user, h.since) for h, _ in outcome.holdings] == [
        ("ada", 0),
        ("bob", 3600_000),
        ("ada", 5400_000),
    ]


def test_what_is_held_now_counts_as_used() -> None:
    # ada holds both cards, and bob one until 50: at 60, when a card comes free, eve who holds none is first.
    what = trace(
        ("a1", 0, 200, 2, []),
        ("b1", 0, 60, 1, []),
        ("a2", 10, 40, 1, []),
        ("e1", 20, 50, 1, []),
        users={"a1": "ada", "a2": "ada", "b1": "bob", "e1": "eve"},
    )
    outcome = play(what, 3, HoldForTheSession(), order=OurLine(3))
    assert minutes(outcome.start_waits) == [0, 0, 40, 80]


def test_a_small_request_does_not_pass_a_large_one_for_ever() -> None:
    what = trace(("a", 0, 60, 1, []), ("b", 10, 20, 2, []), ("c", 20, 500, 1, []))
    outcome = play(what, 2, HoldForTheSession(), order=OurLine(2))
    assert [h.key for h, _ in sorted(outcome.holdings, key=lambda pair: pair[0].since)] == [0, 1, 2]


@given(
    st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 3), st.integers(0, 2)), min_size=1
    )
)
def test_everybody_is_served_and_no_card_is_given_out_twice(wants) -> None:
    what = trace(
        *((f"s{n}", start, start + length, gpus, []) for n, (start, length, gpus, _) in enumerate(wants)),
        users={f"s{n}": f"u{want[3]}" for n, want in enumerate(wants)},
    )
    outcome = play(what, 3, IdleCulling(IdleLimits()), order=OurLine(3))
    assert len(outcome.start_waits) == len(wants)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=12),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_it_grants_what_the_whole_line_would_be_granted(wants: list, held: list[int]) -> None:
    """Only the first of the line are gone through; all of it comes to the same."""
    cards = 6
    waiting = [Request(n, f"u{who}", gpus, asked) for n, (asked, gpus, who) in enumerate(wants)]
    holdings = [Holding(100 + n, f"u{who}", (n,), 0) for n, who in enumerate(held)]
    free = range(len(held), cards)
    seen: list[Situation] = []

    def whole(situation: Situation) -> LinePlan:
        tickets = [ourline._ticket(request) for request in waiting]
        seen.append(replace(situation, tickets=tickets))
        return plan_line(situation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ourline, "plan_line", whole)
        found = OurLine(cards).grant(3_600_000, free, waiting, holdings)
    expected = {one.ticket.id: one.devices for one in plan_line(seen[0]).grants}
    assert {str(one.request.key): tuple(f"GPU-{n}" for n in one.cards) for one in found} == expected
