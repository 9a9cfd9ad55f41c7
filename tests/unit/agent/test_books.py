"""The agent's accounts: in one transaction with what says so, before every release, after every kill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.agent.accounts import MOST_LOOKS
from gpuspawner.core.claims import Standing, Usage
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import Lease, Outcome
from gpuspawner.core.model import LeaseState as S
from gpuspawner.ports import ProbeReport
from support.build import HOST, MIB, ago, lease, record
from support.fake_probe import FakeProbe

if TYPE_CHECKING:
    from .conftest import House


def rows(house: House, one: Lease) -> Sequence[Usage]:
    with house.ledger.read() as unit:
        return tuple(row for row in unit.usage(HOST, date.min) if row.lease_id == one.id)


def held(house: House, one: Lease) -> float:
    return sum(row.held_seconds for row in rows(house, one))


def standing(house: House, owner: str = "ada") -> Standing | None:
    with house.ledger.read() as unit:
        return unit.standings(HOST).get(owner)


def require_balanced(house: House, one: Lease) -> None:
    """What is in the accounts is what ``accounted_at`` says, on every device."""
    now = house.lease(one)
    until = now.accounted_at or now.created_at
    assert held(house, one) == (until - now.created_at).total_seconds() * len(now.devices)


def tick(house: House, seconds: float, every: float = 2) -> None:
    for _ in range(round(seconds / every)):
        house.tick(every)


def test_accounts_of_a_running_server(house: House) -> None:
    one, _ = house.run(2)
    house.probe.set_load(one.devices[0], utilization=80, memory_mib=1000)
    tick(house, 20)
    first, second = rows(house, one)
    assert (first.held_seconds, first.sampled_seconds, first.active_seconds) == (20, 20, 20)
    assert (second.held_seconds, second.sampled_seconds, second.active_seconds) == (20, 20, 0)
    assert (first.peak_memory_bytes, second.peak_memory_bytes) == (1004 * MIB, 4 * MIB)
    assert (first.energy_joules, first.model, first.image, first.owner) == (1000, "Fake A", "base", "ada")
    assert house.lease(one).accounted_at == house.now
    now = standing(house)
    assert now
    assert now.at == house.now
    assert now.gpu_seconds == pytest.approx(40, rel=1e-4)


def test_work_between_two_kept_samples_is_seen(house: House) -> None:
    one, _ = house.run()
    for load in (0, 90, 0, 0, 0):
        house.probe.set_load(one.devices[0], utilization=load)
        house.tick(2)
    assert [(row.held_seconds, row.active_seconds) for row in rows(house, one)] == [(10, 2)]
    with house.ledger.read() as unit:
        kept = unit.recent_samples(HOST, one.devices[0], house.now - timedelta(seconds=5))
    assert [sample.utilization_percent for sample in kept] == [18], (
        "the mean, so that nobody takes it for idle"
    )


def test_a_look_that_takes_its_time_leaves_no_gap(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts go until the list of containers; what a look shows that ends later is kept for the next."""
    real = house.probe.look

    def look() -> ProbeReport:
        house.now += timedelta(seconds=1)
        return real()

    one, _ = house.run()
    monkeypatch.setattr(house.probe, "look", look)
    tick(house, 60)
    (row,) = rows(house, one)
    assert row.sampled_seconds == row.held_seconds > 60
    assert house.lease(one).accounted_at < house.now
    assert max(len(looks) for looks in house.keeper._books._looks.values()) <= 7


def test_a_server_without_a_gpu_has_no_accounts(house: House) -> None:
    one, _ = house.run(0)
    tick(house, 20)
    assert rows(house, one) == ()
    assert house.lease(one).accounted_at is None
    assert standing(house) is None


def test_everything_is_in_the_accounts_before_a_release(house: House) -> None:
    one, container = house.run()
    tick(house, 14)
    assert held(house, one) == 10
    house.now += timedelta(seconds=1)
    house.let_go(one)
    del house.engine.containers[container]
    house.tick(1)
    released = house.lease(one)
    assert released.state is S.RELEASED
    assert (held(house, one), released.accounted_at) == (15, ago(-2 - 15))
    (row,) = rows(house, one)
    assert (row.sampled_seconds, row.energy_joules) == (15, 750)
    tick(house, 20)
    assert held(house, one) == 15


def test_what_is_held_after_its_end_is_not_accounted(house: House) -> None:
    one, _ = house.run()
    house.let_go(one)
    house.probe.set_load(one.devices[0], memory_mib=500, pid=4242)
    house.engine.containers.clear()
    for _ in range(9):
        house.tick(10)
    assert house.state(one) is S.QUARANTINED
    assert held(house, one) == 0


def test_a_server_that_ended_by_itself_is_charged_until_then(house: House) -> None:
    one, container = house.run()
    tick(house, 10)
    house.engine.end(container, 1)
    ended_at = house.now + timedelta(seconds=30)
    house.engine.containers[container].outcome = Outcome(1, finished_at=ended_at)
    house.new_agent()
    house.tick(3600)
    assert (house.lease(one).ended_at, house.lease(one).accounted_at) == (ended_at, ended_at)
    house.tick()
    assert house.state(one) is S.RELEASED
    assert held(house, one) == 40
    require_balanced(house, one)


def test_time_without_an_agent_is_held_and_not_known(house: House) -> None:
    one, _ = house.run()
    house.probe.set_load(one.devices[0], utilization=80)
    tick(house, 10)
    house.new_agent()
    tick(house, 3600, every=3600)
    (row,) = rows(house, one)
    assert (row.held_seconds, row.sampled_seconds, row.active_seconds) == (3610, 40, 40)


def test_a_new_agent_goes_on_from_the_sample_that_the_ledger_has(house: House) -> None:
    one, _ = house.run()
    tick(house, 14)
    house.new_agent()
    house.tick(4)
    (row,) = rows(house, one)
    assert (row.held_seconds, row.sampled_seconds) == (18, 18)


# -- killed at any point ------------------------------------------------------------------------------------

WRITES = ("add_usage", "put_standings", "mark_accounted", "update_lease", "add_event", "add_samples")


@pytest.mark.parametrize("point", WRITES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_in_the_middle_of_writing(
    house: House, monkeypatch: pytest.MonkeyPatch, point: str, after: bool
) -> None:
    """The transaction rolls back as a whole, whoever fails in it; the next agent takes it up."""
    one, container = house.run()
    tick(house, 10)
    house.let_go(one)
    del house.engine.containers[container]
    real = getattr(LedgerUnit, point)

    def fail(*arguments: object, **named: object) -> None:
        if after:
            real(*arguments, **named)
        raise LedgerError("killed")

    monkeypatch.setattr(LedgerUnit, point, fail)
    for seconds in (10, 10):
        with pytest.raises(LedgerError):
            house.tick(seconds)
        require_balanced(house, one)
        house.new_agent()
    monkeypatch.undo()
    house.tick()
    assert house.state(one) is S.RELEASED
    assert held(house, one) == 10
    assert standing(house).gpu_seconds == pytest.approx(10, rel=1e-4)


def test_a_full_ledger_loses_nothing_of_what_was_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise LedgerError("The ledger is full.")

    one, _ = house.run()
    house.probe.set_load(one.devices[0], utilization=80)
    house.tick(2)
    monkeypatch.setattr(house.ledger, "write", full)
    for _ in range(60):
        house.now += timedelta(seconds=2)
        try:
            house.keeper.tick()
        except LedgerError:
            continue
    monkeypatch.undo()
    house.tick(2)
    (row,) = rows(house, one)
    assert (row.held_seconds, row.active_seconds) == (124, 124)


def test_what_is_remembered_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    books = house.keeper._books
    for n in range(2 * MOST_LOOKS):
        house.now += timedelta(seconds=n)
        books.note(house.probe.look().devices, ())
    assert {len(looks) for looks in books._looks.values()} == {MOST_LOOKS}
    books.forget(house.now)
    assert {len(looks) for looks in books._looks.values()} == {1}


def test_a_lease_that_changes_during_a_tick_is_not_overwritten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = house.run()
    real = house.probe.look
    monkeypatch.setattr(house.probe, "look", lambda: (house.let_go(one), real())[1])
    house.tick(10)
    found = house.lease(one)
    assert (found.state, found.accounted_at) == (S.RELEASING, house.now)


# -- the clock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_and_is_put_right(house: House, jump: float) -> None:
    one, _ = house.run()
    house.probe.set_load(one.devices[0], utilization=80)
    tick(house, 20)
    house.tick(jump)
    tick(house, 20)
    house.tick(-jump)
    tick(house, 20)
    require_balanced(house, one)
    (row,) = rows(house, one)
    assert 60 <= row.held_seconds <= 60 + abs(jump)
    assert 0 < row.active_seconds == row.sampled_seconds <= row.held_seconds
    assert 0 < standing(house).gpu_seconds <= row.held_seconds


def test_a_lease_that_ends_before_it_began_is_released_with_nothing(house: House) -> None:
    one, container = house.run()
    house.now -= timedelta(hours=1)
    house.let_go(one)
    del house.engine.containers[container]
    house.tick()
    assert house.state(one) is S.RELEASED
    assert rows(house, one) == ()


# -- what it costs ------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_accounts_of_64_leases_are_cheap(house: House) -> None:
    cards = FakeProbe(HOST, 64, clock=house.clock)
    with house.ledger.write() as unit:
        for n, uuid in enumerate(cards.uuids):
            unit.put_device(record(uuid, index=n))
            unit.add_lease(lease(S.ACTIVE, uuid, id=f"l{n}", owner=f"user{n}", created_at=house.now))
    books = house.keeper._books
    costs = []
    for _ in range(5):
        for _ in range(5):
            house.now += timedelta(seconds=2)
            books.note(cards.look().devices, ())
        with house.ledger.write() as unit:
            began = time.perf_counter()
            books.write(unit, until=house.now, now=house.now)
            costs.append(time.perf_counter() - began)
        books.forget(house.now)
    with house.ledger.write() as unit:
        assert sum(row.held_seconds for row in unit.usage(HOST, house.now.date())) == 64 * 50
        for one in unit.live_leases(HOST):
            unit.update_lease(replace(one, state=S.RELEASED))
    assert min(costs) < 0.05
