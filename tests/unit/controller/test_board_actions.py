"""What an administrator's action will do, said before it is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.allocator.places import Place
from gpuspawner.controller.views.boardactions import (
    plan_announcement,
    plan_card,
    plan_extend,
    plan_message,
    plan_remove,
    plan_stop,
)
from gpuspawner.controller.views.plans import Asks, Fate, Plan
from gpuspawner.core.model import LeaseState
from support.board import LATER, drain, pin, situation
from support.build import NOW, ago, device, lease, record, ticket

RELEASING = LeaseState.RELEASING

TWO = [
    lease(id="a", devices=("GPU-0",)),
    lease(id="b", owner="bob", devices=("MIG-a",), ends_at=LATER),
    lease(RELEASING, id="c", devices=("GPU-0",)),
]
CARDS = [
    record("GPU-0"),
    record("GPU-1", standing_fault="XID 79"),
    record("MIG-a", device=device("MIG-a", parent="GPU-9")),
]


@pytest.mark.parametrize(
    ("action", "card", "fate", "sessions", "asks"),
    [
        ("drain", "GPU-0", Fate.GOES_ON, ["a"], Asks.END),
        ("drain", "GPU-1", Fate.GOES_ON, [], Asks.END),
        ("drain-now", "GPU-0", Fate.ENDS, ["a"], Asks.END),
        ("drain-now", "GPU-1", Fate.ENDS, [], Asks.END),
        ("drain-now", "GPU-9", Fate.ENDS, ["b"], Asks.END),
        ("drain-now", "MIG-a", Fate.ENDS, ["b"], Asks.END),
        ("keep", "GPU-0", Fate.GOES_ON, ["a"], Asks.HOLDER),
        ("clear", "GPU-1", Fate.GOES_ON, [], Asks.NOTHING),
    ],
)
def test_what_an_action_does_to_a_card(
    action: str, card: str, fate: Fate, sessions: list[str], asks: Asks
) -> None:
    plan = plan_card(action, card, situation(CARDS, TWO))
    assert plan
    assert (plan.action, plan.what, plan.possible) == (action, card, True)
    assert (plan.fate, [one.id for one in plan.sessions], plan.asks) == (fate, sessions, asks)
    assert plan.ids == (" ".join(sessions) if fate is Fate.ENDS else ""), "only what ends is held to"


@pytest.mark.parametrize(("action", "card"), [("drain", "GPU-7"), ("melt", "GPU-0"), ("stop", "GPU-0")])
def test_no_such_card_or_action(action: str, card: str) -> None:
    assert plan_card(action, card, situation(CARDS)) is None


@pytest.mark.parametrize(
    ("action", "more", "possible", "facts"),
    [
        ("undrain", {}, False, ()),
        ("undrain", {"drains": [drain(until=ago(1))]}, False, ()),
        ("undrain", {"drains": [drain(until=LATER)]}, True, ("drained by root until 13:00 UTC: fan",)),
        ("release", {}, False, ()),
        ("release", {"pins": [pin()]}, True, ("kept for grace by root: grant",)),
        ("keep", {"pins": [pin()]}, True, ("kept for grace by root: grant",)),
        ("clear", {}, False, ()),
    ],
)
def test_what_can_be_taken_back(
    action: str, more: dict[str, Any], possible: bool, facts: tuple[str, ...]
) -> None:
    plan = plan_card(action, "GPU-0", situation(**more))
    assert plan
    assert (plan.possible, plan.facts) == (possible, facts)


def test_a_fault_is_cleared_on_all_slices() -> None:
    cards = [
        record("MIG-a", device=device("MIG-a", parent="GPU-9"), standing_fault="XID 79"),
        record("MIG-b", device=device("MIG-b", parent="GPU-9"), standing_fault="XID 79"),
        record("GPU-0", standing_fault="XID 48"),
    ]
    plan = plan_card("clear", "MIG-a", situation(cards))
    assert plan
    assert plan.facts == ("MIG-a: XID 79", "MIG-b: XID 79")


@pytest.mark.parametrize(
    ("ends_at", "limit", "possible"),
    [
        (None, None, False),
        (LATER, None, True),
        (LATER, LATER + timedelta(hours=1), True),
        (LATER, LATER, False),
        (LATER, NOW, False),
    ],
)
def test_whether_a_session_can_go_on(ends_at: Any, limit: Any, possible: bool) -> None:
    plan = plan_extend(lease(ends_at=ends_at), limit, "vision has it then." if limit else "")
    assert plan.possible == possible
    assert plan.facts == (("vision has it then.",) if limit else ())


@pytest.mark.parametrize(
    ("plan", "fate", "people"),
    [
        (plan_stop(TWO[0]), Fate.ENDS, 1),
        (plan_message(TWO[0]), Fate.TOLD, 1),
        (plan_announcement("gpu1", TWO), Fate.TOLD, 2),
        (plan_announcement("gpu1", [TWO[0], replace(TWO[0], id="z")]), Fate.TOLD, 1),
        (plan_announcement("gpu1", []), Fate.TOLD, 0),
        (plan_remove(Place(ticket(), 0, "", None), TWO), Fate.ENDS, 0),
        (plan_remove(Place(ticket(lease_id="a"), None, "", None), TWO), Fate.ENDS, 1),
        (
            plan_remove(Place(ticket(lease_id="a"), None, "", None), [replace(TWO[0], claim_by=LATER)]),
            Fate.ENDS,
            0,
        ),
    ],
)
def test_whom_it_concerns(plan: Plan, fate: Fate, people: int) -> None:
    assert (plan.fate, plan.people) == (fate, people)
