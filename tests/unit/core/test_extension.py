"""What extending one's own session would come to, and what stands in the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Terms
from gpuspawner.core.extension import plan_own_extension
from gpuspawner.core.model import Lease, LeaseState, Party
from gpuspawner.core.policy import Allowance, Policy, Rule, resolve_allowance, settings_rule
from support.board import drain, pin, situation
from support.build import NOW, ago, device, lease, record, ticket
from support.reservations import first, reservation

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TODAY = NOW.date()


def allowed(**limits: Any) -> Allowance:
    """A longest session of 8 h, and 4 h more."""
    said = {"longest_session": 8 * HOUR, "extension": 4 * HOUR} | limits
    return resolve_allowance(Policy(settings_rule(), {"default": Rule("default", said)}), "ada", [])


def session(left: timedelta = HOUR, **changes: Any) -> Lease:
    """Ada's, in its eighth hour."""
    end = NOW + left
    return lease(**{"created_at": end - 8 * HOUR, "ends_at": end} | changes)


def plan(one: Lease, allowance: Allowance | None = None, **around: Any) -> tuple[timedelta | None, str]:
    """By how much it can be extended from the end it has, and why not."""
    held = around.pop("held", {})
    cards = around.pop("cards", [record(f"GPU-{n}") for n in range(2)])
    others = around.pop("leases", [])
    found = plan_own_extension(one, situation(cards, [one, *others], **around), allowance or allowed(), held)
    assert (found.until is None) == bool(found.why_not)
    if found.until is None or one.ends_at is None:
        return None, found.why_not
    assert found.until - max(NOW, one.ends_at) == found.by
    return found.until - one.ends_at, ""


@pytest.mark.parametrize(
    ("extended", "by"),
    [
        (0 * HOUR, HOUR),
        (2 * HOUR, HOUR),
        (3 * HOUR + 20 * MINUTE, 40 * MINUTE),
        (4 * HOUR, None),
        (6 * HOUR, None),
    ],
)
def test_a_step_or_what_is_left_of_the_bound(extended: timedelta, by: timedelta | None) -> None:
    one = session(ends_at=NOW + HOUR, created_at=NOW + HOUR - 8 * HOUR - extended)
    found, why_not = plan(one)
    assert found == by
    assert why_not == (
        "" if by else "It goes on for as long as you may let it: 4 h beyond the longest session (default)."
    )


def test_what_was_asked_for_may_be_shorter_than_the_longest_session() -> None:
    assert plan(session(created_at=NOW)) == (HOUR, "")


def test_without_a_longest_session_there_is_no_bound() -> None:
    assert plan(session(created_at=ago(10**6)), allowed(longest_session=None)) == (HOUR, "")


def test_an_end_that_has_just_come_counts_from_now() -> None:
    assert plan(session(-MINUTE, warned=1)) == (HOUR + MINUTE, "")


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (session(ends_at=None), "It has no end, so there is nothing to extend."),
        (session(warned=0), "Its end has come."),
        (session(state=LeaseState.RELEASING), "Its end has come."),
    ],
)
def test_what_has_no_end_or_is_over(one: Lease, says: str) -> None:
    assert plan(one) == (None, says)


def test_it_is_not_offered_unless_the_policy_says_so() -> None:
    bare = resolve_allowance(Policy(settings_rule()), "ada", [])
    assert plan(session(), bare) == (None, "You cannot extend it by yourself.")
    zero = allowed(extension=timedelta(0))
    assert plan(session(), zero)[1].startswith("You cannot extend it by yourself")


@pytest.mark.parametrize(
    ("tickets", "says"),
    [
        ([], ""),
        ([ticket(owner="ada")], ""),
        ([ticket(id="bob")], "1 person waits for what it holds."),
        (
            [ticket(id="bob"), ticket(id="b2", owner="bob"), ticket(id="eve")],
            "2 people wait for what it holds.",
        ),
        ([ticket(id="bob", terms=Terms(cards=frozenset({"H100"})))], ""),
        ([ticket(3, id="bob")], "1 person waits for what it holds."),
    ],
)
def test_whoever_waits_for_it_goes_before(tickets: list[Any], says: str) -> None:
    assert plan(session(), tickets=tickets) == (None if says else HOUR, says)


def test_nobody_waits_for_a_server_without_a_gpu() -> None:
    assert plan(session(devices=()), tickets=[ticket(id="bob")]) == (HOUR, "")


@pytest.mark.parametrize(
    ("start", "party", "says"),
    [
        (NOW + HOUR, Party(), "It cannot go on beyond 2030-05-17 13:00 UTC: reserved for course `cs231`"),
        (NOW + 2 * HOUR, Party(), ""),
        (NOW + HOUR, Party((), ("cs231",)), ""),
    ],
    ids=["runs into it", "ends before", "one's own"],
)
def test_a_reservation_that_it_would_run_into(start: Any, party: Party, says: str) -> None:
    found, why_not = plan(session(party=party), occurrences=[first(reservation(start=start))])
    assert why_not.startswith(says)
    assert found == (None if says else HOUR)


@pytest.mark.parametrize(
    ("hours", "more", "possible"),
    [(40.0, (), True), (3.0, (), True), (2.5, (), False), (3.0, (lease(id="b", devices=("GPU-1",)),), False)],
)
def test_the_gpu_hours_must_have_it(hours: float, more: tuple[Lease, ...], possible: bool) -> None:
    """One hour of them is used, and it runs for two more with the extension."""
    found, why_not = plan(
        session(), allowed(gpu_hours_per_week=hours), held={TODAY: 3600.0}, leases=list(more)
    )
    assert found == (HOUR if possible else None)
    assert possible or "GPU-hours in seven days are used up then (default)" in why_not


@pytest.mark.parametrize(
    ("around", "says"),
    [
        ({"drains": [drain()]}, "Its GPU is taken out of service: fan"),
        ({"drains": [drain(until=ago(1))]}, ""),
        ({"drains": [drain("GPU-1")]}, ""),
        ({"pins": [pin()]}, "Its GPU is kept for somebody else from now on."),
        ({"pins": [pin(whom="ada")]}, ""),
    ],
)
def test_what_an_administrator_said_of_its_card(around: dict[str, Any], says: str) -> None:
    assert plan(session(), **around) == (None if says else HOUR, says)


def test_what_is_said_of_a_card_holds_for_its_slices() -> None:
    part = [record("GPU-0", device=device("GPU-0", parent="GPU-9"))]
    assert plan(session(), cards=part, drains=[drain("GPU-9")])[0] is None
