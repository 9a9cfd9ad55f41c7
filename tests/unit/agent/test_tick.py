"""The agent over a real ledger: each action, each point where it may fail, and the retry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest
from gpuspawner.agent.actions import LOG_ATTEMPTS
from gpuspawner.agent.errands import MOST_AT_ONCE, Errands
from gpuspawner.core.errors import LedgerError, Refused
from gpuspawner.core.model import Health
from gpuspawner.core.model import LeaseState as S
from support.build import GIB, HOST

if TYPE_CHECKING:
    from .conftest import House


SETTLES = timedelta(seconds=31)
RENEWS = timedelta(seconds=10)


def until(true: Callable[[], bool]) -> None:
    """Wait for a thread."""
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


def fail_write(house: House, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Let the n-th write of the work on containers fail."""
    real = house.ledger.write
    writes = count(1)

    def write() -> object:
        if threading.current_thread().name.startswith("gpuspawner-errand") and next(writes) == nth:
            raise LedgerError("The ledger is full.")
        return real()

    monkeypatch.setattr(house.ledger, "write", write)


def kinds(house: House, prefix: str = "lease.") -> list[str]:
    return [event.kind.partition(".")[2] for event in house.events(prefix)]


# -- the ways of a lease ------------------------------------------------------------------------------------


def test_a_server_from_start_to_release(house: House) -> None:
    lease, container = house.run()
    house.tick()
    assert house.state(lease) is S.ACTIVE
    house.let_go(lease)
    house.engine.stop(container, 1)
    house.engine.remove(container)
    assert house.tick().applied == (
        f"lease.released {lease.id}: no container at 12:00:06 UTC, then no process and idle memory on: "
        f"{lease.devices[0]}",
    )
    done = house.lease(lease)
    assert (done.state, done.reason) == (S.RELEASED, "stopped by ada")
    assert kinds(house) == ["granted", "active", "releasing", "released"]
    assert house.events("lease.released")[0].actor == "agent"


def test_a_start_that_the_hub_did_not_live_to_note(house: House) -> None:
    lease = house.reserve()
    container = house.create(lease)
    house.engine.start(container)
    house.kill_hub()
    house.tick()
    assert house.state(lease) is S.ACTIVE
    assert house.lease(lease).container_id == container
    house.tick(600)
    assert house.state(lease) is S.ACTIVE
    assert container in house.engine.containers


def test_the_hub_died_before_the_container_was_made(house: House) -> None:
    lease = house.reserve()
    house.tick()
    assert house.state(lease) is S.RESERVED
    house.restart_hub()
    house.tick()
    house.tick()
    assert house.state(lease) is S.RELEASED
    assert house.lease(lease).reason == "the hub stopped before the server was created"


def test_the_hub_died_before_the_container_was_started(house: House) -> None:
    lease = house.reserve()
    container = house.create(lease)
    house.tick()
    assert house.state(lease) is S.RESERVED
    house.kill_hub()
    house.tick()
    assert container not in house.engine.containers
    house.tick()
    assert house.state(lease) is S.RELEASED
    assert house.lease(lease).outcome is None


def test_a_lock_file_that_is_gone_proves_no_death(house: House) -> None:
    lease = house.reserve()
    house.hub_lock.unlink()
    house.tick()
    assert house.state(lease) is S.RESERVED


def test_a_start_that_never_ends_is_given_up(house: House) -> None:
    lease = house.reserve()
    house.tick(299)
    assert house.state(lease) is S.RESERVED
    house.tick(2)
    assert house.state(lease) is S.RELEASING


def test_a_server_killed_for_memory(house: House) -> None:
    lease, container = house.run()
    house.engine.print(container, "".join(f"line {n}\n" for n in range(80)))
    house.engine.end(container, 137, oom_killed=True)
    house.tick()
    ended = house.lease(lease)
    assert (ended.state, ended.reason) == (S.RELEASING, "memory ran out")
    assert ended.outcome
    assert (ended.outcome.exit_code, ended.outcome.oom_killed) == (137, True)
    assert ended.outcome.memory_limit_bytes == 2 * GIB
    assert ended.outcome.log_tail.splitlines() == [f"line {n}" for n in range(30, 80)]
    assert container not in house.engine.containers
    house.tick()
    assert house.state(lease) is S.RELEASED
    assert house.lease(lease).reason == "memory ran out"
    (collected,) = house.events("container.collected")
    assert collected.data["exit_code"] == 137
    assert collected.data["memory_limit_bytes"] == 2 * GIB


def test_a_container_removed_behind_our_back(house: House) -> None:
    lease, container = house.run()
    del house.engine.containers[container]
    house.tick()
    assert house.lease(lease).reason == "the container was removed by somebody else"
    house.tick()
    assert house.state(lease) is S.RELEASED


def test_a_container_that_the_hub_does_not_end(house: House) -> None:
    lease, container = house.run()
    house.let_go(lease)
    house.tick(29)
    assert house.engine.containers[container].state == "running"
    house.tick(2)
    assert house.engine.containers[container].state == "exited"
    house.tick()
    assert container not in house.engine.containers
    house.tick()
    ended = house.lease(lease)
    assert (ended.state, ended.reason) == (S.RELEASED, "stopped by ada")
    assert ended.outcome
    assert ended.outcome.exit_code == 143
    (stopped,) = house.events("container.stopped")
    assert (stopped.reason, stopped.lease_id) == ("stopped by ada", lease.id)


def test_a_container_that_appears_after_its_lease_has_ended(house: House) -> None:
    lease = house.reserve()
    house.let_go(lease)
    house.tick()
    assert house.state(lease) is S.RELEASED
    container = house.create(lease)
    house.engine.start(container)
    house.tick()
    assert container not in house.engine.containers


def test_a_burst_of_deaths(house: House) -> None:
    for n in range(12):
        lease = house.reserve(0, owner=f"user{n}")
        house.engine.start(house.create(lease))
    house.kill_hub()
    house.tick()
    for container in list(house.engine.containers):
        house.engine.end(container)
    for _ in range(4):
        house.tick()
    assert not house.engine.containers
    assert kinds(house).count("released") == 12


# -- proof --------------------------------------------------------------------------------------------------


def let_go_of_empty(house: House) -> tuple[str, object]:
    lease = house.reserve()
    house.let_go(lease)
    return lease.devices[0], lease


def test_a_process_that_stays_on_the_card(house: House) -> None:
    uuid, lease = let_go_of_empty(house)
    house.probe.set_load(uuid, memory_mib=500, pid=4242)
    house.tick()
    assert house.state(lease) is S.RELEASING
    house.tick(60)
    held = house.lease(lease)
    assert held.state is S.QUARANTINED
    assert held.evidence == f"{uuid}: process 4242 is still on it"
    with pytest.raises(Refused):
        house.reserve(4, owner="bob")
    house.probe.idle(uuid)
    house.tick()
    assert house.state(lease) is S.RELEASED
    assert kinds(house) == ["granted", "releasing", "quarantined", "refused", "released"]


def test_memory_that_a_dead_program_left(house: House) -> None:
    uuid, lease = let_go_of_empty(house)
    house.probe.set_load(uuid, memory_mib=300)
    house.tick()
    assert house.state(lease) is S.RELEASING
    house.probe.idle(uuid)
    house.tick()
    assert house.state(lease) is S.RELEASED


def test_a_hanging_card_is_not_freed_and_hides_no_other(house: House) -> None:
    uuid, lease = let_go_of_empty(house)
    house.probe.hang(uuid)
    for _ in range(7):
        house.tick(10)
    assert house.state(lease) is S.QUARANTINED
    ages = {u: (house.now - r.seen_at).total_seconds() for u, r in house.records.items()}
    assert ages.pop(uuid) == 70
    assert set(ages.values()) == {0}
    assert house.records[uuid].health is Health.UNKNOWN
    house.probe.unhang(uuid)
    house.tick()
    assert house.state(lease) is S.RELEASED


def test_a_lost_card_stays_with_its_lease(house: House) -> None:
    uuid, lease = let_go_of_empty(house)
    house.probe.cards = [card for card in house.probe.cards if card.device.uuid != uuid]
    house.tick()
    house.tick(61)
    assert house.state(lease) is S.QUARANTINED
    assert uuid in house.records
    assert house.records[uuid].health is Health.UNKNOWN


def test_a_driver_that_says_nothing_frees_nothing(house: House) -> None:
    _, lease = let_go_of_empty(house)
    before = {u: r.seen_at for u, r in house.records.items()}
    house.probe.hang()
    house.tick()
    assert house.state(lease) is S.RELEASING
    assert {u: r.seen_at for u, r in house.records.items()} == before
    assert {r.health for r in house.records.values()} == {Health.UNKNOWN}


# -- an Engine that fails -----------------------------------------------------------------------------------


def test_an_engine_that_answers_500_frees_nothing_and_the_cards_stay_fresh(house: House) -> None:
    _, lease = let_go_of_empty(house)
    running, container = house.run(owner="bob")
    house.engine.fail("list_containers", "server error (HTTP 500)")
    report = house.tick(10)
    assert report.problems == ("The Docker Engine did not list_containers: server error (HTTP 500).",)
    assert (house.state(lease), house.state(running)) == (S.RELEASING, S.ACTIVE)
    assert {r.seen_at for r in house.records.values()} == {house.now}
    house.tick(60)
    assert (house.state(lease), house.state(running)) == (S.QUARANTINED, S.ACTIVE)
    house.engine.failures.clear()
    house.tick()
    assert (house.state(lease), house.state(running)) == (S.RELEASED, S.ACTIVE)
    assert container in house.engine.containers


def test_a_list_that_hangs_is_given_up_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, container = house.run()
    going_on = threading.Event()
    real = house.engine.list_containers
    monkeypatch.setattr(house.engine, "list_containers", lambda: (going_on.wait(5), real())[1])
    monkeypatch.setattr(house.keeper._list, "_wait_seconds", 0.01)
    del house.engine.containers[container]
    assert "within 0.01 s" in house.tick().problems[0]
    assert "still does not answer" in house.tick().problems[0]
    assert house.state(lease) is S.ACTIVE
    going_on.set()
    monkeypatch.setattr(house.keeper._list, "_wait_seconds", 5)
    until(lambda: not house.keeper._list._last.hangs)
    house.tick()
    assert house.state(lease) is S.RELEASING


def died(house: House) -> tuple[object, str]:
    lease, container = house.run()
    house.engine.print(container, "last words")
    house.engine.end(container, 1)
    return lease, container


@pytest.mark.parametrize("point", ["read_log_tail", "remove", "after remove"])
def test_collecting_fails_at_a_point_and_is_taken_up_again(house: House, point: str) -> None:
    lease, container = died(house)
    house.engine.fail(point)
    report = house.tick()
    assert report.problems
    assert house.state(lease) is S.ACTIVE
    assert (container in house.engine.containers) == (point != "after remove")
    house.engine.failures.clear()
    house.tick()
    ended = house.lease(lease)
    assert (ended.state, ended.reason) == (S.RELEASING, "the server ended by itself with exit code 1")
    assert ended.outcome
    assert (ended.outcome.exit_code, ended.outcome.log_tail) == (1, "last words")
    house.tick()
    assert kinds(house) == ["granted", "active", "releasing", "released"]


@pytest.mark.parametrize("nth", [1, 2])
def test_the_ledger_fails_between_the_steps_of_collecting(
    house: House, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, container = died(house)
    fail_write(house, monkeypatch, nth)
    assert house.tick(1).problems == ("The ledger is full.",)
    assert house.state(lease) is S.ACTIVE
    assert (container in house.engine.containers) == (nth == 1)
    monkeypatch.undo()
    house.tick()
    ended = house.lease(lease)
    assert (ended.state, ended.reason) == (S.RELEASING, "the server ended by itself with exit code 1")
    assert ended.outcome
    assert (ended.outcome.exit_code, ended.outcome.log_tail) == (1, "last words")


def test_an_agent_killed_after_the_removal(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, _ = died(house)
    fail_write(house, monkeypatch, 2)
    house.tick(1)
    monkeypatch.undo()
    house.new_agent()
    house.tick()
    assert house.lease(lease).reason == "the server ended by itself with exit code 1"
    house.tick()
    assert house.state(lease) is S.RELEASED


def test_a_log_that_cannot_be_read_does_not_hold_the_card_for_ever(house: House) -> None:
    lease, container = died(house)
    house.engine.fail("read_log_tail")
    for _ in range(LOG_ATTEMPTS - 1):
        house.tick()
    assert container in house.engine.containers
    house.tick()
    assert house.lease(lease).outcome.log_tail.startswith("(the log could not be read: ")
    assert house.state(lease) is S.RELEASING


def test_a_log_that_went_with_its_container_is_not_overwritten(house: House) -> None:
    lease, container = died(house)
    house.engine.fail("remove")
    house.tick()
    house.engine.containers[container].log = ""
    house.engine.failures.clear()
    house.tick()
    assert house.lease(lease).outcome.log_tail == "last words"


@pytest.mark.parametrize("point", ["stop", "after stop"])
def test_stopping_fails_and_is_taken_up_again(house: House, point: str) -> None:
    lease, container = house.run()
    house.let_go(lease)
    house.engine.fail(point)
    assert house.tick(31).problems
    house.engine.failures.clear()
    for _ in range(3):
        house.tick()
    assert container not in house.engine.containers
    assert house.state(lease) is S.RELEASED


def test_a_stop_that_never_works_is_quarantined_and_tried_on(house: House) -> None:
    lease, container = house.run()
    house.let_go(lease)
    house.engine.fail("stop")
    house.tick(31)
    house.tick(31)
    assert house.state(lease) is S.QUARANTINED
    assert "is still running" in house.lease(lease).evidence
    house.engine.failures.clear()
    for _ in range(3):
        house.tick()
    assert container not in house.engine.containers
    assert house.state(lease) is S.RELEASED


def test_the_hub_lets_go_while_the_agent_collects(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, _ = died(house)
    real = house.engine.remove
    monkeypatch.setattr(house.engine, "remove", lambda id_: (house.let_go(lease), real(id_)))
    assert house.tick().problems == ()
    assert house.lease(lease).reason == "stopped by ada"
    assert len(house.events("container.collected")) == 1
    assert kinds(house).count("releasing") == 1


def test_a_lease_that_moved_on_since_the_plan_is_left_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, _ = died(house)
    real = house.engine.read_log_tail
    monkeypatch.setattr(house.engine, "read_log_tail", lambda *a: (house.let_go(lease), real(*a))[1])
    house.tick()
    assert house.lease(lease).outcome is None
    monkeypatch.undo()
    house.tick()
    assert house.lease(lease).outcome is not None


def test_a_release_is_not_written_for_a_lease_that_moved_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = house.reserve()
    house.kill_hub()
    real = house.probe.look
    monkeypatch.setattr(house.probe, "look", lambda: (house.let_go(lease), real())[1])
    assert house.tick().applied == ()
    assert house.lease(lease).reason == "stopped by ada"


# -- nothing blocks -----------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_stop_that_hangs_holds_up_neither_the_cards_nor_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, slow_container = house.run()
    other, other_container = house.run(owner="bob")
    house.let_go(slow)
    hanging, going_on = threading.Event(), threading.Event()
    monkeypatch.setattr(house.engine, "stop", lambda *_: (hanging.set(), going_on.wait(10)))
    house.now += SETTLES
    house.keeper.tick()
    assert hanging.wait(5)
    house.engine.end(other_container)
    began = time.monotonic()
    for _ in range(3):
        house.now += RENEWS
        house.keeper.tick()
    assert time.monotonic() - began < 2
    until(lambda: other_container not in house.engine.containers)
    assert {r.seen_at for r in house.records.values()} == {house.now}
    # One errand for each container: the hanging stop was not begun again, and its lease is left alone.
    assert house.state(slow) is S.RELEASING
    going_on.set()
    monkeypatch.undo()
    for _ in range(5):
        house.tick()
    assert slow_container not in house.engine.containers
    assert {house.state(slow), house.state(other)} == {S.RELEASED}


def test_one_errand_for_each_container_and_not_too_many() -> None:
    errands, going_on = Errands(), threading.Event()

    def work() -> str:
        going_on.wait(5)
        return "done"

    assert [errands.begin(f"c{n}", f"l{n}", work) for n in range(MOST_AT_ONCE + 1)][-2:] == [True, False]
    errands.collect()
    going_on.set()
    assert errands.collect(5) == (["done"] * MOST_AT_ONCE, [])
    assert errands.lease_ids == frozenset()
    going_on.clear()
    assert [errands.begin("c1", "l1", work) for _ in range(2)] == [True, False]
    going_on.set()


def test_it_stops_between_two_actions(house: House) -> None:
    leases = [house.reserve(owner=name) for name in ("ada", "bob")]
    for lease in leases:
        house.let_go(lease)
    answers = iter([False, True])
    house.now += RENEWS
    house.keeper.tick(stopping=lambda: next(answers))
    assert sorted(house.state(lease) for lease in leases) == [S.RELEASED, S.RELEASING]
    with house.ledger.read() as unit:
        assert len(unit.live_leases(HOST)) == 1
