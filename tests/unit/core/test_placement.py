from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.line import plan_line
from gpuspawner.core.model import Health, SpawnRequest
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.placement import Offer, require_possible, survey, why_not_grantable
from gpuspawner.core.policy import allow
from gpuspawner.core.situation import Situation
from hypothesis import given
from hypothesis import strategies as st
from support.build import GIB, NOW, ago, lease, record, ticket

STALE = timedelta(seconds=30)
FLEET = [record("A0"), record("A1", index=1), record("B0", model="T4", index=2)]


def choose(gpus: int, model: str | None = None, *, fleet=FLEET, held=()) -> tuple[str, ...]:
    """What somebody gets who is alone in the line."""
    request = SpawnRequest(gpus, model)
    require_possible(request, fleet, now=NOW, stale_after=STALE)
    taken = [lease(S.ACTIVE, uuid, id=uuid) for uuid in held]
    plan = plan_line(Situation(NOW, fleet, taken, [ticket(request)], stale_after=STALE))
    if plan.waits:
        raise Refused(RefusalKind.NOT_NOW, plan.waits[0].reason)
    return plan.grants[0].devices


def refusal(gpus: int, model: str | None = None, *, fleet=FLEET, held=()) -> tuple[RefusalKind, str]:
    with pytest.raises(Refused) as caught:
        choose(gpus, model, fleet=fleet, held=held)
    return caught.value.kind, str(caught.value)


def test_a_server_without_a_gpu_needs_no_inventory() -> None:
    require_possible(SpawnRequest(0), [], now=NOW, stale_after=STALE)


def test_the_smaller_stock_is_used_first() -> None:
    assert choose(1) == ("B0",)
    assert choose(1, held={"A0"}) == ("A1",)
    assert choose(1, held={"B0"}) == ("A0",)


def test_several_cards_are_of_one_model() -> None:
    assert choose(2) == ("A0", "A1")
    assert refusal(2, held={"A0"}) == (
        RefusalKind.NOT_NOW,
        "You asked for 2 GPUs; 2 of 3 GPUs are free now (1 in use).",
    )


def test_a_chosen_model() -> None:
    assert choose(1, "A100") == ("A0",)
    assert refusal(1, "T4", held={"B0"}) == (
        RefusalKind.NOT_NOW,
        "You asked for 1 GPU of model T4; 0 of 1 GPU is free now (1 in use).",
    )


def test_never() -> None:
    assert refusal(1, "H100") == (
        RefusalKind.NEVER,
        "There is no GPU of model 'H100' here; there are: A100, T4.",
    )
    assert refusal(3) == (RefusalKind.NEVER, "3 GPUs of one model were asked for; this server has 2 at most.")
    assert refusal(2, "T4")[0] is RefusalKind.NEVER


def test_no_inventory() -> None:
    assert refusal(1, fleet=[])[0] is RefusalKind.NO_INVENTORY
    old = [record("A0", seen_at=ago(31)), record("A1", seen_at=ago(40))]
    kind, text = refusal(1, fleet=old)
    assert kind is RefusalKind.NO_INVENTORY
    assert "31 s ago" in text


def test_no_inventory_because_of_the_driver() -> None:
    old = [record("A0", seen_at=ago(95), health=Health.FAULTY, health_reason="the driver was replaced")]
    kind, text = refusal(1, fleet=old)
    assert kind is RefusalKind.NO_INVENTORY
    assert "none has answered for 95 s (the driver was replaced)" in text


OBSTACLES = {
    "stale": ({"seen_at": ago(31)}, "not seen for 31 s"),
    "faulty": ({"health": Health.FAULTY, "health_reason": "XID 79"}, "faulty: XID 79"),
    "unknown": ({"health": Health.UNKNOWN, "health_reason": "hangs"}, "unknown: hangs"),
    "occupied": ({"occupied_by": "process 7 on the host"}, "in use by others: process 7 on the host"),
}


@pytest.mark.parametrize(("changes", "why"), OBSTACLES.values(), ids=OBSTACLES)
def test_each_obstacle_alone(changes: dict, why: str) -> None:
    bad = record("A0", **changes)
    assert why_not_grantable(bad, (), now=NOW, stale_after=STALE) == why
    assert why_not_grantable(bad, {"A0"}, now=NOW, stale_after=STALE) == "held by a lease"
    fleet = [bad, record("A1", index=1)]
    assert choose(1, fleet=fleet) == ("A1",)
    assert refusal(2, fleet=fleet)[1].endswith("1 of 2 GPUs are free now (1 out of service).")


def test_at_the_very_age_it_is_still_believed() -> None:
    assert choose(1, fleet=[record("A0", seen_at=ago(30))]) == ("A0",)


def test_survey() -> None:
    assert survey(FLEET, {"A0"}, allow(), now=NOW, stale_after=STALE) == (
        Offer("A100", 40 * GIB, total=2, free=1),
        Offer("T4", 40 * GIB, total=1, free=1),
    )


records = st.builds(
    lambda n, model, age, health, stranger: record(
        f"GPU-{n}", model=model, seen_at=ago(age), health=health, occupied_by=stranger
    ),
    st.integers(0, 7),
    st.sampled_from(["A100", "T4"]),
    st.sampled_from([0, 30, 31]),
    st.sampled_from(list(Health)),
    st.none() | st.just("process 7 on the host"),
)


@given(
    st.lists(records, unique_by=lambda r: r.device.uuid),
    st.sets(st.sampled_from([f"GPU-{n}" for n in range(8)])),
    st.integers(1, 4),
    st.sampled_from([None, "A100", "T4", "H100"]),
)
def test_what_is_given_is_right_and_what_is_refused_was_not_there(fleet, held, gpus, model) -> None:
    good = [r for r in fleet if why_not_grantable(r, held, now=NOW, stale_after=STALE) is None]
    stocks = [
        [r for r in good if r.device.model == name and model in (None, name)] for name in ("A100", "T4")
    ]
    try:
        chosen = choose(gpus, model, fleet=fleet, held=held)
    except Refused:
        assert all(len(stock) < gpus for stock in stocks)
        return
    assert len(chosen) == len(set(chosen)) == gpus
    by_uuid = {r.device.uuid: r for r in good}
    assert len({by_uuid[uuid].device.model for uuid in chosen}) <= 1
    assert all(model in (None, by_uuid[uuid].device.model) for uuid in chosen)


def test_survey_counts_what_a_person_may_use() -> None:
    lab = allow(cards=frozenset({"A1"}))
    assert survey(FLEET, {"A0"}, lab, now=NOW, stale_after=STALE) == (
        Offer("A100", 40 * GIB, total=1, free=1),
        Offer("T4", 40 * GIB, total=1, free=1, barred="not allowed to you: settings allows A1"),
    )
