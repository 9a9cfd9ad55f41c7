"""Runs small enough to be worked out by hand. All times are minutes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from gpuspawner.core.idleness import IdleLimits
from gpuspawner.simulate.bound import Clairvoyant
from gpuspawner.simulate.measures import measure
from gpuspawner.simulate.orders import FirstComeFirstServed, Grant
from gpuspawner.simulate.outcome import Outcome
from gpuspawner.simulate.rules import STOP, HoldForTheSession, IdleCulling, Look, fixed_timeout
from gpuspawner.simulate.traces import MINUTE, EventRow, SessionRow, build_trace
from support.traces import minutes, ms, play, trace

FOUR = trace(
    ("a", 0, 100, 1, [(10, 20), (60, 70)]),
    ("b", 0, 100, 1, []),
    ("c", 30, 60, 2, [(40, 50)]),
    ("d", 35, 45, 1, []),
)
"""On two cards: c wants both, d comes behind it; 40 GPU-minutes of work, 230 idle if all hold throughout."""

FIXED = fixed_timeout(timedelta(minutes=15))
OURS = IdleCulling(
    IdleLimits(free=timedelta(minutes=60), wanted=timedelta(minutes=20), warning=timedelta(minutes=5))
)


@dataclass
class Expected:
    """What was worked out."""

    start_waits: list[float]
    return_waits: list[float]
    held: float
    reclaims: int
    returns: int
    ended_at: float
    holdings: list[tuple[int, float, float]]
    """Session, from, until."""
    jain: float


def summary(outcome: Outcome) -> Expected:
    return Expected(
        minutes(outcome.start_waits),
        minutes(outcome.return_waits),
        outcome.held / MINUTE,
        outcome.reclaims,
        outcome.returns,
        outcome.ended_at / MINUTE,
        sorted((h.key, h.since / MINUTE, until / MINUTE) for h, until in outcome.holdings),
        measure(outcome).jain or 0,
    )


A, B, C, D = range(4)
RUNS = {
    # c waits for a and b to stop, d for c. c's work comes after its recorded stop, so its user has received
    # nothing.
    "hold": (
        HoldForTheSession(),
        Expected(
            *([0, 0, 70, 95], [], 270, 0, 0, 140),
            [(A, 0, 100), (B, 0, 100), (C, 100, 130), (D, 130, 140)],
            0.5,
        ),
    ),
    # b is stopped at 15 and a at 35, when c can start. a wants to go on at 60 and waits behind d until c has
    # stopped.
    "fixed": (
        FIXED,
        Expected(
            *([0, 0, 5, 30], [5], 147, 3, 1, 107),
            [(A, 0, 35), (A, 65, 92), (B, 0, 15), (C, 35, 65), (D, 65, 75)],
            1.0,
        ),
    ),
    # When c comes at 30, b, which has never worked, is warned until 35. a has, and may be idle for
    # 60: it works again at 60, and keeps its card until it stops.
    "ours": (
        OURS,
        Expected(
            *([0, 0, 70, 95], [], 205, 1, 0, 140),
            [(A, 0, 100), (B, 0, 35), (C, 100, 130), (D, 130, 140)],
            0.5,
        ),
    ),
    # b and d never need a card. a gives its own up for the pause of 40 and asks again 2 before 60.
    "clairvoyant": (
        Clairvoyant(ms(2)),
        Expected(*([0, 0], [0], 42, 3, 1, 100), [(A, 10, 20), (A, 58, 70), (C, 40, 50)], 1.0),
    ),
}


@pytest.mark.parametrize(("rule", "expected"), RUNS.values(), ids=RUNS)
def test_four_sessions_on_two_cards(rule, expected: Expected) -> None:
    outcome = play(FOUR, 2, rule)
    assert summary(outcome) == expected
    assert outcome.covered == outcome.useful == 40 * MINUTE
    assert outcome.computed == 20 * MINUTE
    assert outcome.idle_if_held == 230 * MINUTE
    assert outcome.wrongful == outcome.quick_returns == 0
    recovered = measure(outcome).recovered
    assert recovered == pytest.approx(1 - (expected.held - 40) / 230)


def test_somebody_who_comes_late_leaves_the_whole_warning() -> None:
    what = trace(("a", 0, 200, 1, []), ("b", 50, 60, 1, []))
    outcome = play(what, 1, IdleCulling(IdleLimits()))
    assert minutes(outcome.start_waits) == [0, 15]


def test_a_warning_that_stands_is_not_given_again() -> None:
    # a is warned at 105 for 120; b comes at 112 and has to wait no longer for that.
    outcome = play(trace(("a", 0, 200, 1, []), ("b", 112, 130, 1, [])), 1, IdleCulling(IdleLimits()))
    assert minutes(outcome.start_waits) == [0, 8]


def test_a_warning_is_withdrawn_when_nobody_waits_any_more() -> None:
    # b waits from 50 for a or x, which are warned until 65; x stops by itself at 60 and b gets its card. c
    # comes at 70:
    # a, warned anew, is stopped at 85 and not at once.
    what = trace(
        ("a", 0, 300, 1, []), ("x", 0, 60, 1, []), ("b", 50, 290, 1, [(50, 290)]), ("c", 70, 80, 1, [])
    )
    outcome = play(what, 2, IdleCulling(IdleLimits()))
    assert minutes(outcome.start_waits) == [0, 0, 10, 15]
    assert outcome.reclaims == 1


def test_who_has_worked_is_left_three_times_as_long_while_somebody_waits() -> None:
    what = trace(("a", 0, 200, 1, [(10, 11)]), ("b", 45, 60, 1, []))
    outcome = play(what, 1, IdleCulling(IdleLimits()))
    assert minutes(outcome.start_waits) == [0, 56]


def test_several_that_have_worked_share_that() -> None:
    what = trace(("a", 0, 200, 2, [(10, 11)]), ("b", 35, 60, 1, []))
    outcome = play(what, 2, IdleCulling(IdleLimits()))
    assert minutes(outcome.start_waits) == [0, 21]


def test_one_stop_is_enough_for_one_that_waits() -> None:
    # Both may be stopped at 65; the one that is idle for longer is, and then nobody waits.
    what = trace(("a", 0, 100, 1, [(10, 11)]), ("b", 0, 100, 1, []), ("c", 50, 60, 1, []))
    outcome = play(what, 2, IdleCulling(IdleLimits()))
    assert outcome.reclaims == 1
    assert [h.key for h, until in outcome.holdings if until == ms(65)] == [1]


def test_work_that_begins_at_the_moment_of_the_limit_is_not_cut_off() -> None:
    outcome = play(trace(("a", 0, 40, 1, [(15, 20)])), 1, FIXED)
    assert [until / MINUTE for _, until in outcome.holdings] == [35]


def test_whoever_comes_back_waits_restarts_and_runs_late() -> None:
    # a loses its card at 35, wants it back at 60, gets it from b at 75, works from 77.
    what = trace(("a", 0, 100, 1, [(10, 20), (60, 70)]), ("b", 50, 75, 1, [(50, 75)]))
    outcome = play(what, 1, FIXED)
    assert minutes(outcome.return_waits) == [15]
    assert outcome.ended_at == ms(117)
    assert [(h.since / MINUTE, until / MINUTE) for h, until in outcome.holdings] == [
        (0, 35),
        (50, 75),
        (75, 102),
    ]


@pytest.mark.parametrize(("limit", "quick"), [(29, 0), (30, 1), (39, 1)])
def test_a_return_within_ten_minutes_is_counted(limit: int, quick: int) -> None:
    what = trace(("a", 0, 100, 1, [(0, 20), (60, 70)]))
    outcome = play(what, 1, fixed_timeout(timedelta(minutes=limit)))
    assert (outcome.returns, outcome.quick_returns) == (1, quick)


def test_the_clairvoyant_keeps_what_a_restart_would_not_save() -> None:
    what = trace(("a", 0, 100, 1, [(10, 20), (22, 30), (32.5, 40)]))
    outcome = play(what, 1, Clairvoyant(ms(2)))
    assert [(h.since / MINUTE, until / MINUTE) for h, until in outcome.holdings] == [(10, 30), (30.5, 40)]


class Lease:
    """Takes cards back after a quarter of an hour, whatever runs on them."""

    def asks_first_at(self, session) -> int:
        return 0

    def asks_ahead(self, restart: int) -> int:
        return 0

    def look(self, view, now: int, *, demanded: bool) -> Look:
        end = view.since + ms(15)
        return STOP if now >= end else Look(again_at=end)


def test_a_reclaim_while_an_event_runs_is_wrongful_and_the_rest_is_done_later() -> None:
    outcome = play(trace(("a", 0, 60, 1, [(10, 20)])), 1, Lease())
    assert (outcome.reclaims, outcome.wrongful, outcome.returns, outcome.quick_returns) == (2, 1, 1, 1)
    # 0 to 15, then again from 15: a restart to 17, the rest of the work to 22, the end of the lease at 30.
    assert [(h.since / MINUTE, until / MINUTE) for h, until in outcome.holdings] == [(0, 15), (15, 30)]
    assert outcome.covered == outcome.useful == 10 * MINUTE
    assert outcome.ended_at == ms(62)


def test_who_wants_more_than_there_is_is_left_out_and_counted() -> None:
    outcome = play(
        trace(("a", 0, 10, 3, []), ("b", 0, 10, 2, []), ("c", 0, 10, 0, [])), 2, HoldForTheSession()
    )
    assert (outcome.sessions, outcome.refused) == (1, 1)


def test_fewer_gpus_in_use_than_held_are_useful_only_in_part() -> None:
    what = build_trace([SessionRow("a", "", 0, ms(10), 4)], [EventRow("a", 0, ms(5), 1)])
    outcome = play(what, 4, HoldForTheSession())
    assert (outcome.held, outcome.covered, outcome.useful) == (ms(40), ms(20), ms(5))
    assert outcome.computed is None


class Greedy(FirstComeFirstServed):
    def grant(self, now, free, waiting, holdings):
        return [Grant(request, (0,) * request.gpus) for request in waiting]


class Refusing(FirstComeFirstServed):
    def grant(self, now, free, waiting, holdings):
        return []


def test_an_order_that_gives_a_card_out_twice_is_caught() -> None:
    with pytest.raises(RuntimeError, match="not what is free"):
        play(FOUR, 2, HoldForTheSession(), order=Greedy())


def test_an_order_that_never_serves_is_caught() -> None:
    with pytest.raises(RuntimeError, match="never served 4 requests"):
        play(FOUR, 2, HoldForTheSession(), order=Refusing())


def test_an_order_is_asked_again_only_when_something_changed() -> None:
    asked = []

    class Counting(FirstComeFirstServed):
        def grant(self, now, free, waiting, holdings):
            asked.append(now / MINUTE)
            return super().grant(now, free, waiting, holdings)

    # b wants both cards and waits with one free; a's work begins and ends meanwhile.
    what = trace(("a", 0, 100, 1, [(10, 20), (30, 40)]), ("b", 5, 50, 2, []))
    play(what, 2, HoldForTheSession(), order=Counting())
    assert asked == [0, 5, 100]
