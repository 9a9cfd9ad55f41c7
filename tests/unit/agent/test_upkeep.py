"""What a tick costs and keeps: inventory, samples, events."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from gpuspawner.core.errors import LedgerError, Refused
from gpuspawner.core.model import Health
from support.build import HOST

if TYPE_CHECKING:
    from .conftest import House


class Counted:
    """Counts the transactions of a ledger."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = self.writes = 0
        read, write = house.ledger.read, house.ledger.write
        monkeypatch.setattr(house.ledger, "read", lambda: (self._count("reads"), read())[1])
        monkeypatch.setattr(house.ledger, "write", lambda: (self._count("writes"), write())[1])

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)


def test_a_steady_tick_costs_little(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.run()
    house.tick(10)
    counted = Counted(house, monkeypatch)
    house.engine.calls.clear()
    looks = house.probe.looks
    for _ in range(5):
        house.tick(2)
    assert (counted.reads, counted.writes) == (5, 1)
    assert house.engine.calls == [("list_containers",)] * 5
    assert house.probe.looks - looks == 5


def test_seen_at_stays_fresh_and_samples_are_kept(house: House) -> None:
    start = house.now
    for _ in range(15):
        house.tick(2)
        assert all(house.now - r.seen_at < timedelta(seconds=10) for r in house.records.values())
    with house.ledger.read() as unit:
        kept = unit.recent_samples(HOST, house.probe.uuids[0], start)
    assert [(s.at - start).total_seconds() for s in kept] == [0, 10, 20, 30]
    assert kept[0].power_milliwatts == 50_000


def test_a_change_is_written_at_once(house: House) -> None:
    house.probe.set_load(2, pid=7)
    house.tick(2)
    assert house.record(2).occupied_by == "process 7 on the host"
    assert [e.kind for e in house.events("device.stranger")] == ["device.stranger"]
    house.probe.idle(2)
    house.tick(2)
    assert house.record(2).occupied_by is None


def test_a_clock_that_was_set_back_does_not_stop_the_upkeep(house: House) -> None:
    house.tick(-3600)
    assert house.record(0).seen_at == house.now


def test_an_xid_is_not_lost_when_the_ledger_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise LedgerError("The ledger is full.")

    house.probe.raise_xid(0, 79)
    monkeypatch.setattr(house.ledger, "write", full)
    for _ in range(2):
        with pytest.raises(LedgerError):
            house.tick()
    monkeypatch.undo()
    house.tick()
    assert house.record(0).health is Health.FAULTY
    house.tick()
    assert [e.data["xid"] for e in house.events("device.xid")] == [79]


def test_a_fault_that_was_cleared_during_a_tick_stays_cleared(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.probe.raise_xid(0, 79)
    house.tick()
    real = house.probe.look
    monkeypatch.setattr(house.probe, "look", lambda: (house.clear_fault(0), real())[1])
    house.tick(10)
    assert house.record(0).standing_fault is None
    assert house.record(0).health is Health.OK


def test_a_card_that_goes_and_comes_back_is_still_faulty(house: House) -> None:
    house.probe.raise_xid(3, 79)
    house.tick()
    card = house.probe.cards.pop()
    house.tick()
    assert len(house.records) == 3
    house.probe.cards.append(card)
    house.tick()
    assert house.record(3).health is Health.FAULTY
    assert [e.kind for e in house.events("device.")][-4:] == [
        "device.xid",
        "device.faulty",
        "device.gone",
        "device.found",
    ]


def test_a_foreign_container_keeps_a_card_out_of_use(house: House) -> None:
    uuids = house.probe.uuids
    for uuid in uuids[:3]:
        house.engine.start(house.engine.create("training", devices=(uuid,)))
    house.tick()
    assert house.reserve().devices == (uuids[3],)
    with pytest.raises(Refused):
        house.reserve(owner="bob")
    assert len(house.engine.containers) == 3


def test_a_container_of_another_ledger_is_a_stranger_and_left_alone(house: House) -> None:
    lease = house.reserve()
    container = house.create(lease)
    house.engine.start(container)
    house.engine.ledger_id = "another"
    house.let_go(lease)
    house.tick()
    assert container in house.engine.containers
    assert "no lease for it" in (house.records[lease.devices[0]].occupied_by or "")


def test_a_server_that_starts_during_a_tick_is_no_stranger(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = house.engine.list_containers
    monkeypatch.setattr(house.engine, "list_containers", lambda: (house.run(), real())[1])
    house.tick()
    assert house.events("device.stranger") == []


def test_samples_are_rolled_up_after_a_day(house: House) -> None:
    first = house.now
    house.tick(3600 * 26)
    with house.ledger.read() as unit:
        kept = unit.recent_samples(HOST, house.probe.uuids[0], first)
    assert [s.at for s in kept] == [house.now]
