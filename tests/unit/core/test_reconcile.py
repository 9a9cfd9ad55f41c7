"""Every cell of the reconcile table, and the law that no world may break."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from gpuspawner.core.model import Container, ContainerState, Lease, LeaseState, Outcome
from gpuspawner.core.reconcile import (
    BASELINE_MARGIN_BYTES,
    Action,
    Activate,
    Collect,
    Patience,
    Quarantine,
    Release,
    RequestRelease,
    StopContainer,
    World,
    plan_reconcile,
    why_not_free,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import CLAIMANT, GIB, MIB, NOW, ago, busy, container, lease, reading, sample, silent

S = LeaseState
C = ContainerState
SHORT, SETTLED, UNPROVED, LATE = 1, 31, 61, 301
"""Seconds in a state: within every patience, and past each of the three."""


def world(*leases: Lease, containers: list[Container] | None = None, dead: bool = False, **changes) -> World:
    values = {
        "leases": leases,
        "ended_leases": frozenset(),
        "dead_claimants": frozenset({CLAIMANT} if dead else ()),
        "containers": containers,
        "listed_at": ago(1),
        "readings": {"GPU-0": reading()},
        "baselines": {"GPU-0": 4 * MIB},
        "now": NOW,
    }
    return World(**values | changes)


def plan(state: LeaseState, found: ContainerState | None, *, dead: bool, seconds: float) -> str:
    one = lease(state, state_since=ago(seconds))
    containers = [] if found is None else [container(found)]
    actions = plan_reconcile(world(one, containers=containers, dead=dead), Patience())
    assert len(actions) <= 1
    return type(actions[0]).__name__ if actions else "-"


# Rows: state of the lease, state of the container. Columns: time in that state, first with the hub alive,
# then with the hub dead: 1 s, 31 s, 61 s, 301 s.
TABLE = {
    (S.RESERVED, None): "- - - RequestRelease | RequestRelease RequestRelease RequestRelease RequestRelease",
    (S.RESERVED, C.CREATED): "- - - Collect | Collect Collect Collect Collect",
    (S.RESERVED, C.RUNNING): "Activate Activate Activate Activate | Activate Activate Activate Activate",
    (S.RESERVED, C.EXITED): "- - - Collect | Collect Collect Collect Collect",
    (S.RESERVED, C.REMOVING): "- - - - | - - - -",
    (S.ACTIVE, None): "RequestRelease " * 4 + "| " + "RequestRelease " * 4,
    (S.ACTIVE, C.CREATED): "- - - - | Collect Collect Collect Collect",
    (S.ACTIVE, C.RUNNING): "- - - - | - - - -",
    (S.ACTIVE, C.EXITED): "Collect Collect Collect Collect | Collect Collect Collect Collect",
    (S.ACTIVE, C.REMOVING): "- - - - | - - - -",
    (S.RELEASING, None): "Release Release Release Release | Release Release Release Release",
    (S.RELEASING, C.CREATED): "- Collect Quarantine Quarantine | Collect Collect Quarantine Quarantine",
    (S.RELEASING, C.RUNNING): (
        "- StopContainer Quarantine Quarantine | StopContainer StopContainer Quarantine Quarantine"
    ),
    (S.RELEASING, C.EXITED): "Collect Collect Quarantine Quarantine | Collect Collect Quarantine Quarantine",
    (S.RELEASING, C.REMOVING): "- - Quarantine Quarantine | - - Quarantine Quarantine",
    (S.QUARANTINED, None): "Release Release Release Release | Release Release Release Release",
    (S.QUARANTINED, C.CREATED): "Collect Collect Collect Collect | Collect Collect Collect Collect",
    (S.QUARANTINED, C.RUNNING): "StopContainer " * 4 + "| " + "StopContainer " * 4,
    (S.QUARANTINED, C.EXITED): "Collect Collect Collect Collect | Collect Collect Collect Collect",
    (S.QUARANTINED, C.REMOVING): "- - - - | - - - -",
}


def test_the_table_has_every_pair() -> None:
    assert set(TABLE) == {(s, c) for s in S if s.live for c in (None, *C)}


@pytest.mark.parametrize(
    ("pair", "row"), TABLE.items(), ids=lambda v: f"{v[0]}-{v[1]}" if len(v) == 2 else ""
)
def test_table(pair: tuple[LeaseState, ContainerState | None], row: str) -> None:
    alive, dead = row.split("|")
    times = (SHORT, SETTLED, UNPROVED, LATE)
    assert [plan(*pair, dead=False, seconds=t) for t in times] == alive.split()
    assert [plan(*pair, dead=True, seconds=t) for t in times] == dead.split()


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("state", [s for s in S if s.live])
def test_a_silent_engine_frees_nothing(state: LeaseState, dead: bool) -> None:
    young, old = (lease(state, state_since=ago(t)) for t in (SHORT, LATE))
    assert plan_reconcile(world(young, containers=None, dead=dead), Patience()) == ()
    late = plan_reconcile(world(old, containers=None, dead=dead), Patience())
    assert [type(a) for a in late] == ([Quarantine] if state is S.RELEASING else [])


def test_reasons_of_a_death() -> None:
    def reason(outcome: Outcome | None, state: LeaseState = S.ACTIVE) -> str:
        one = container(C.EXITED, outcome=outcome)
        (action,) = plan_reconcile(world(lease(state), containers=[one]), Patience())
        assert isinstance(action, Collect)
        return action.reason

    assert reason(Outcome(exit_code=137, oom_killed=True)) == "memory ran out"
    assert reason(Outcome(exit_code=0)) == "the server ended by itself with exit code 0"
    assert reason(None) == "the server ended by itself"
    assert reason(Outcome(exit_code=137, oom_killed=True), S.RELEASING) == "stopped by ada"


def test_a_collected_death_keeps_its_reason_when_the_agent_died_before_the_last_step() -> None:
    one = lease(S.ACTIVE, outcome=Outcome(exit_code=137, oom_killed=True))
    assert plan_reconcile(world(one, containers=[]), Patience()) == (RequestRelease(one, "memory ran out"),)


@pytest.mark.parametrize(("late", "action"), [(0, "-"), (119, "-"), (121, "RequestRelease")])
def test_what_is_reserved_for_a_turn_waits_for_its_person(late: int, action: str) -> None:
    """No hub has taken it up, so no hub's death means anything; the controller keeps the time."""
    offer = lease(S.RESERVED, claimant="line", state_since=ago(9999), claim_by=ago(late))
    actions = plan_reconcile(world(offer, containers=[], dead_claimants=frozenset({"line"})), Patience())
    assert [type(one).__name__ for one in actions] == ([] if action == "-" else [action])
    if actions:
        assert actions[0].reason == "it was not claimed in time"


def test_of_two_containers_with_one_lease_the_running_one_counts() -> None:
    pair = [container(C.RUNNING, id="a"), container(C.EXITED, id="b")]
    for containers in (pair, pair[::-1]):
        assert plan_reconcile(world(lease(S.ACTIVE), containers=containers), Patience()) == ()


@pytest.mark.parametrize("state", list(C))
def test_the_container_of_an_ended_lease_goes(state: ContainerState) -> None:
    one = container(state)
    planned = plan_reconcile(world(containers=[one], ended_leases=frozenset({"lease1"})), Patience())
    gone = () if state is C.REMOVING else (StopContainer(one, "lease1", "its lease has ended"),)
    assert planned == gone


def test_containers_of_unknown_leases_and_of_others_are_left_alone() -> None:
    others = [container(lease_id="not-ours"), container(lease_id=None), container(lease_id="")]
    assert plan_reconcile(world(containers=others), Patience()) == ()


# -- proof --------------------------------------------------------------------------------------------------

LIMIT = 4 * MIB + BASELINE_MARGIN_BYTES
DOUBTS = {
    "no reading": ({"readings": {}}, "no sample (it did not answer)"),
    "silent": ({"readings": {"GPU-0": silent()}}, "no sample (the driver did not answer"),
    "stale": ({"readings": {"GPU-0": reading(sample=sample(at=ago(2)))}}, "older than the list"),
    "processes unknown": (
        {"readings": {"GPU-0": reading(sample=sample(processes=None))}},
        "processes are not known",
    ),
    "a process": ({"readings": {"GPU-0": reading(sample=busy(41, 42))}}, "process 41, 42 is still on it"),
    "memory unknown": (
        {"readings": {"GPU-0": reading(sample=sample(memory_used_bytes=None))}},
        "memory use is not",
    ),
    "memory high": (
        {"readings": {"GPU-0": reading(sample=sample(memory_used_bytes=LIMIT + 1))}},
        "260 MiB still",
    ),
    "no baseline": ({"baselines": {}}, "idle memory is not known"),
}


@pytest.mark.parametrize(("changes", "says"), DOUBTS.values(), ids=DOUBTS)
def test_each_doubt_alone_keeps_the_lease(changes: dict, says: str) -> None:
    fresh = world(lease(S.RELEASING), containers=[], **changes)
    assert says in (why_not_free("GPU-0", fresh) or "")
    assert plan_reconcile(fresh, Patience()) == ()
    old = lease(S.RELEASING, state_since=ago(UNPROVED))
    (action,) = plan_reconcile(replace(fresh, leases=[old]), Patience())
    assert isinstance(action, Quarantine)
    assert says in action.evidence
    stays = lease(S.QUARANTINED, state_since=ago(LATE))
    assert plan_reconcile(replace(fresh, leases=[stays]), Patience()) == ()


def test_memory_at_the_margin_is_free() -> None:
    at_margin = world(readings={"GPU-0": reading(sample=sample(memory_used_bytes=LIMIT))}, containers=[])
    assert why_not_free("GPU-0", at_margin) is None


def test_one_doubtful_card_of_two_keeps_both_and_only_it_is_named() -> None:
    two = lease(S.RELEASING, "GPU-0", "GPU-1", state_since=ago(UNPROVED))
    seen = world(two, containers=[], baselines={"GPU-0": 0, "GPU-1": 0})
    assert plan_reconcile(seen, Patience()) == (Quarantine(two, "GPU-1: no sample (it did not answer)"),)


def test_the_evidence_of_a_release_names_the_cards_and_the_time() -> None:
    (action,) = plan_reconcile(world(lease(S.RELEASING), containers=[]), Patience())
    assert isinstance(action, Release)
    assert action.evidence == "no container at 11:59:59 UTC, then no process and idle memory on: GPU-0"


def test_a_lease_without_cards_needs_only_the_containers_absence() -> None:
    bare = replace(lease(S.RELEASING), devices=())
    assert [type(a) for a in plan_reconcile(world(bare, containers=[]), Patience())] == [Release]
    assert plan_reconcile(world(bare, containers=[container(C.RUNNING)]), Patience()) == ()


# -- the law ------------------------------------------------------------------------------------------------

maybe = (
    st.none()
    | st.just(sample())
    | st.sampled_from(
        [
            busy(7),
            sample(at=ago(9)),
            sample(processes=None),
            sample(memory_used_bytes=GIB),
            sample(memory_used_bytes=None),
        ]
    )
)
uuids = st.sampled_from(["GPU-0", "GPU-1", "GPU-2"])
some_leases = st.builds(
    lambda n, state, devices, seconds: replace(
        lease(state, id=f"lease{n}", state_since=ago(seconds)), devices=tuple(devices)
    ),
    st.integers(0, 3),
    st.sampled_from([s for s in S if s.live]),
    st.lists(uuids, unique=True, max_size=2),
    st.sampled_from([SHORT, SETTLED, UNPROVED, LATE]),
)
some_containers = st.builds(
    lambda n, state: container(state, id=f"c{n}", lease_id=f"lease{n}"),
    st.integers(0, 3),
    st.sampled_from(list(C)),
)
worlds = st.builds(
    lambda leases, containers, samples, baselines, dead, ended: world(
        *leases,
        containers=containers,
        dead=dead,
        readings={u: reading(u, sample=s) for u, s in samples.items()},
        baselines=baselines,
        ended_leases=frozenset(ended),
    ),
    st.lists(some_leases, max_size=4, unique_by=lambda one: one.id),
    st.none() | st.lists(some_containers, max_size=4),
    st.dictionaries(uuids, maybe),
    st.dictionaries(uuids, st.just(4 * MIB)),
    st.booleans(),
    st.lists(st.sampled_from(["lease8", "lease9"]), unique=True),
)


@given(worlds)
@settings(max_examples=150, deadline=None)
def test_nothing_is_freed_without_proof(seen: World) -> None:
    for action in plan_reconcile(seen, Patience()):
        if isinstance(action, Release):
            assert action.lease.state in (S.RELEASING, S.QUARANTINED)
            assert seen.containers is not None
            assert action.lease.id not in {c.lease_id for c in seen.containers}
            for uuid in action.lease.devices:
                one = seen.readings[uuid].sample
                assert one is not None
                assert one.at >= seen.listed_at
                assert one.processes == ()
                assert one.memory_used_bytes is not None
                assert one.memory_used_bytes <= seen.baselines[uuid] + BASELINE_MARGIN_BYTES


@given(worlds)
@settings(max_examples=80, deadline=None)
def test_a_running_server_that_nobody_let_go_of_is_never_ended(seen: World) -> None:
    running = {c.lease_id for c in seen.containers or () if c.state is C.RUNNING}
    theirs = {one.id for one in seen.leases if not one.state.ending} & running
    for action in plan_reconcile(seen, Patience()):
        named = action.lease_id if isinstance(action, StopContainer) else action.lease.id
        assert named not in theirs or isinstance(action, Activate)


def apply(action: Action, leases: dict[str, Lease], seen: World) -> None:
    """What the agent would make of the lease; containers are the next world's affair."""
    next_state = {
        Activate: S.ACTIVE,
        RequestRelease: S.RELEASING,
        Quarantine: S.QUARANTINED,
        Release: S.RELEASED,
    }.get(type(action))
    if next_state is not None and not isinstance(action, StopContainer):
        leases[action.lease.id] = replace(action.lease, state=next_state, state_since=seen.now)


@given(st.lists(worlds, max_size=6))
@settings(max_examples=80, deadline=None)
def test_over_any_course_of_events_a_card_is_freed_only_when_it_is_free(course: list[World]) -> None:
    leases = {"lease1": lease(S.RESERVED)}
    for n, seen in enumerate(course):
        before = leases["lease1"]
        if not before.state.live:
            return
        later = NOW + timedelta(seconds=20 * n)
        now = replace(seen, leases=[before], now=later)
        for action in plan_reconcile(now, Patience()):
            apply(action, leases, now)
        if leases["lease1"].state is S.RELEASED:
            assert before.state.ending
            assert now.containers is not None
            assert all(c.lease_id != "lease1" for c in now.containers)
            assert why_not_free("GPU-0", now) is None


def test_a_check_that_was_killed_between_two_containers_leaves_none() -> None:
    one = lease(S.ACTIVE)
    held, made = container(C.EXITED), replace(container(C.CREATED), id="c" * 64)
    (first,) = plan_reconcile(world(one, containers=[held, made], dead=True), Patience())
    assert isinstance(first, Collect)
    assert first.container == made
    then = replace(one, state=S.RELEASING)
    (second,) = plan_reconcile(world(then, containers=[held], dead=True), Patience())
    assert isinstance(second, Collect)
    assert second.container == held
