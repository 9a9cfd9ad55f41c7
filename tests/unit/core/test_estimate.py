"""When a turn may come: a range with what it rests on, or honestly none."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from gpuspawner.core.claims import Ticket
from gpuspawner.core.estimate import Estimate, estimate_turns
from gpuspawner.core.line import Wait
from gpuspawner.core.model import Lease, SpawnRequest
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.order import Claim
from gpuspawner.core.situation import Situation
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, ago, lease, record, ticket

HOUR = timedelta(hours=1)
CARDS = [record("A0"), record("A1", index=1), record("T0", model="T4", index=2)]


def held(uuid: str, *, age: float = 0, until: datetime | None = None, state: S = S.ACTIVE) -> Lease:
    return lease(state, uuid, id=uuid, created_at=ago(age), ends_at=until)


def estimates(tickets: list[Ticket], leases: list[Lease], past: list[float] = ()) -> list[Estimate | None]:
    waits = [Wait(one, n, "", Claim.USE) for n, one in enumerate(tickets)]
    return list(estimate_turns(Situation(NOW, CARDS, leases, tickets), waits, past))


def test_nothing_is_known_of_sessions_without_an_end() -> None:
    assert estimates([ticket(1)], [held(r.device.uuid) for r in CARDS]) == [None]


def test_announced_ends_bound_it() -> None:
    leases = [held("A0", until=NOW + HOUR), held("A1", until=NOW + 2 * HOUR)]
    tickets = [ticket(SpawnRequest(1, "A100"), id=f"t{n}") for n in range(3)]
    first, second, third = estimates(tickets, leases)
    assert first == Estimate(NOW, NOW + HOUR, "the announced ends of the sessions that run")
    assert second is not None
    assert second.latest == NOW + 2 * HOUR
    assert third is None, "it needs a second round, of which nothing is known"


def test_two_cards_need_two_ends() -> None:
    leases = [held("A0", until=NOW + HOUR), held("A1", until=NOW + 2 * HOUR)]
    (found,) = estimates([ticket(SpawnRequest(2, "A100"))], leases)
    assert found is not None
    assert found.latest == NOW + 2 * HOUR


def test_those_who_want_other_cards_are_not_ahead() -> None:
    leases = [held("A0", until=NOW + HOUR), held("A1", until=NOW + HOUR), held("T0", until=NOW + HOUR)]
    tickets = [ticket(SpawnRequest(2, "A100"), id="a"), ticket(SpawnRequest(1, "T4"), id="b")]
    assert [one and one.latest for one in estimates(tickets, leases)] == [NOW + HOUR, NOW + HOUR]


PAST = [1800.0, 3600.0, 3600.0, 7200.0, 36000.0]


def test_past_sessions_say_when_one_usually_ends() -> None:
    (found,) = estimates([ticket(SpawnRequest(1, "T4"))], [held("T0", age=600)], PAST)
    assert found == Estimate(
        NOW + timedelta(minutes=50),
        NOW + timedelta(seconds=36000 - 600),
        "the last 5 sessions of 28 d, and the announced ends of those that run",
    )


def test_a_session_that_outlasts_all_is_not_bounded() -> None:
    (found,) = estimates([ticket(SpawnRequest(1, "T4"))], [held("T0", age=99999)], PAST)
    assert found is not None
    assert (found.earliest, found.latest) == (NOW, None)


def test_a_second_round_takes_another_session() -> None:
    tickets = [ticket(SpawnRequest(1, "T4"), id=f"t{n}") for n in range(2)]
    _, second = estimates(tickets, [held("T0", until=NOW + HOUR)], PAST)
    assert second is not None
    assert second.latest == NOW + HOUR + timedelta(seconds=36000)


def test_what_is_being_released_is_free_and_what_is_quarantined_never() -> None:
    t4 = [ticket(SpawnRequest(1, "T4"))]
    (found,) = estimates(t4, [held("T0", state=S.RELEASING)])
    assert found is not None
    assert (found.earliest, found.latest) == (NOW, NOW)
    assert estimates(t4, [held("T0", state=S.QUARANTINED)]) == [None]


ends = st.one_of(st.none(), st.integers(1, 500).map(lambda n: NOW + timedelta(minutes=n)))


@given(
    st.lists(st.tuples(st.integers(0, 90000), ends), min_size=3, max_size=3),
    st.lists(st.integers(1, 2), max_size=6),
    st.lists(st.floats(60, 1e5), max_size=9),
)
def test_nobody_behind_is_earlier_and_no_range_is_the_wrong_way_round(sessions, wanted, past) -> None:
    leases = [held(r.device.uuid, age=age, until=end) for r, (age, end) in zip(CARDS, sessions, strict=True)]
    found = estimates(
        [ticket(SpawnRequest(n, "A100"), id=f"t{i}") for i, n in enumerate(wanted)], leases, past
    )
    known = [one for one in found if one is not None]
    assert all(one.latest is None or one.earliest <= one.latest for one in known)
    assert all(one.earliest >= NOW for one in known)
    for before, after in pairwise(known):
        assert before.earliest <= after.earliest


@pytest.mark.parametrize("count", [0, 4])
def test_few_past_sessions_prove_nothing(count: int) -> None:
    assert estimates([ticket(SpawnRequest(1, "T4"))], [held("T0")], [3600.0] * count) == [None]
