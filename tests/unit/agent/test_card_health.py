"""The agent and cards that fail: who is out of service, why, and how they come back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gpuspawner.adapters.freshdriver import FreshDriver, ask_new_process
from gpuspawner.agent.tick import Keeper
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.faults import Cause
from gpuspawner.core.model import Health
from gpuspawner.core.model import LeaseState as S
from gpuspawner.sim import Simulation
from support.build import HOST
from support.probe_worker import RemoteProbe

if TYPE_CHECKING:
    from .conftest import House

SLICES = ["MIG-a", "MIG-b"]


def faulty(house: House) -> set[str]:
    return {uuid for uuid, r in house.records.items() if r.health is not Health.OK}


def pass_check(house: House) -> None:
    for _ in range(7):
        house.tick(10)


def told(house: House, kind: str) -> list[tuple[str | None, object]]:
    return [(event.device, event.data.get("cause")) for event in house.events(kind)]


# -- one card and the others --------------------------------------------------------------------------------


def test_a_lost_card_blocks_no_other(house: House) -> None:
    lost, *others = house.probe.uuids
    running, _ = house.run()
    assert running.devices[0] == lost
    house.probe.raise_xid(lost, 79)
    house.probe.lose(lost)
    house.tick()
    assert faulty(house) == {lost}
    granted = {house.reserve(owner=name).devices[0] for name in ("bob", "cy", "dan")}
    assert granted == set(others)
    assert house.state(running) is S.ACTIVE
    assert {house.now - house.records[uuid].seen_at for uuid in others} == {house.now - house.now}


def test_a_lost_card_that_answers_again_comes_back_after_its_check(house: House) -> None:
    uuid = house.probe.uuids[0]
    house.probe.lose(0)
    house.tick()
    lost_at = house.now
    house.probe.restore(0)
    house.tick()
    well_since = house.now
    house.tick(10)
    assert faulty(house) == {uuid}
    pass_check(house)
    assert faulty(house) == set()
    back = house.events("device.ok")[-1]
    assert back.device == uuid
    assert back.data == {
        "cause": "lost",
        "evidence": f"{lost_at:%Y-%m-%d %H:%M:%S} UTC: NVML error 15 (GPU is lost)",
        "since": lost_at.isoformat(),
        "well_since": well_since.isoformat(),
    }


def test_a_check_goes_on_over_a_restart_of_the_agent(house: House) -> None:
    house.probe.lose(0)
    house.tick()
    house.probe.restore(0)
    for _ in range(5):
        house.tick(10)
    house.new_agent()
    house.tick(10)
    assert faulty(house) == {house.probe.uuids[0]}
    house.tick(10)
    assert faulty(house) == set()


def test_a_hard_xid_stays_until_it_is_cleared(house: House) -> None:
    house.probe.raise_xid(0, 48)
    house.tick()
    pass_check(house)
    assert faulty(house) == {house.probe.uuids[0]}
    house.clear_fault(0)
    house.tick()
    assert faulty(house) == set()
    assert house.events("device.ok")[-1].reason.startswith("cleared by an administrator")


def test_a_driver_that_was_replaced_takes_the_whole_host_out(house: House) -> None:
    house.probe.set_driver("590", mismatch=True)
    house.tick()
    assert faulty(house) == set(house.probe.uuids)
    assert {cause for _, cause in told(house, "device.faulty")} == {"driver"}
    with pytest.raises(Refused) as caught:
        house.reserve()
    assert caught.value.kind is RefusalKind.NOT_NOW
    house.tick(31)
    with pytest.raises(Refused, match="the NVIDIA driver was replaced while it was in use"):
        house.reserve(owner="bob")
    house.probe.set_driver("590")
    house.tick()
    assert faulty(house) == set(house.probe.uuids)
    pass_check(house)
    assert faulty(house) == set()


def test_a_driver_that_was_replaced_and_cards_that_can_still_be_seen(house: House) -> None:
    lease = house.reserve()
    house.let_go(lease)
    house.probe.driver_replaced = True
    house.tick()
    house.tick()
    assert {(r.health, r.fault and r.fault.cause) for r in house.records.values()} == {
        (Health.FAULTY, Cause.DRIVER)
    }
    assert house.state(lease) is S.RELEASED, "what was seen proves a release"
    house.probe.raise_xid(0, 48)
    house.tick()
    assert house.record(0).standing_fault
    house.probe.driver_replaced = False
    pass_check(house)
    assert faulty(house) == {house.probe.uuids[0]}


# -- MIG ----------------------------------------------------------------------------------------------------


def test_a_hard_fault_of_a_card_takes_out_all_its_slices_and_no_others(house: House) -> None:
    house.probe.set_mig(0, SLICES)
    house.probe.set_mig(1, ["MIG-other"])
    house.tick()
    assert faulty(house) == set()
    house.probe.raise_xid(0, 48)
    house.tick()
    assert faulty(house) == set(SLICES)
    assert told(house, "device.faulty") == [(name, "xid") for name in SLICES]


def test_slices_that_are_made_while_the_fault_stands_are_out_too(house: House) -> None:
    house.probe.set_mig(0, SLICES)
    house.probe.raise_xid(0, 48)
    house.tick()
    new = house.probe.set_mig(0, ["MIG-c", "MIG-d", "MIG-e"])
    house.tick()
    assert faulty(house) == set(new)
    house.tick()
    assert faulty(house) == set(new)


def test_a_card_with_a_standing_fault_keeps_its_slices_out_and_they_keep_it(house: House) -> None:
    house.probe.raise_xid(0, 48)
    house.tick()
    house.probe.set_mig(0, SLICES)
    house.tick()
    assert faulty(house) == set(SLICES)
    house.probe.set_mig(0, [])
    house.tick()
    assert faulty(house) == {house.probe.uuids[0]}


def test_the_slices_of_a_lost_card_come_back_together(house: House) -> None:
    house.probe.set_mig(0, SLICES)
    house.tick()
    house.probe.lose(0)
    house.tick()
    assert faulty(house) == set(SLICES)
    house.probe.restore(0)
    pass_check(house)
    assert faulty(house) == set()


# -- through NVML -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def native_build(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.cache.mkdir("sim-native"))


def watch(house: House, simulation: Simulation) -> None:
    """A new agent that looks at simulated cards through the real NVML adapter."""
    probe = RemoteProbe(simulation.environment(), 5.0, HOST)
    house.keeper = Keeper(house.ledger, house.engine, probe, HOST, house.hub_lock, clock=house.clock)
    house.closing.append(probe.close)
    house.tick()


@pytest.fixture
def simulation(house: House, tmp_path: Path, native_build: Path) -> Iterator[Simulation]:
    """The cards of the house are simulated ones."""
    made = Simulation.create(
        tmp_path / "sim", "2xa100-40gb,1xl40s", instance="health", cdi_dir=None, build_dir=native_build
    )
    watch(house, made)
    assert len(house.records) == 3
    yield made
    made.destroy()


def test_simulated_lost_card_blocks_no_other(house: House, simulation: Simulation) -> None:
    simulation.lose(1)
    house.tick()
    assert faulty(house) == {simulation.cards[1].uuid}
    assert house.records[simulation.cards[1].uuid].fault.cause is Cause.LOST  # type: ignore[union-attr]


def test_simulated_replaced_driver_takes_the_whole_host_out(house: House, simulation: Simulation) -> None:
    simulation.set_driver("590.10", mismatch=True)
    watch(house, simulation)  # a process that was there before goes on with the library that it loaded
    assert {r.fault and r.fault.cause for r in house.records.values()} == {Cause.DRIVER}


def test_simulated_replaced_driver_is_found_by_a_new_process(house: House, simulation: Simulation) -> None:
    hours = count(0, 3600)
    probe = FreshDriver(
        house.keeper._probe, lambda: ask_new_process(simulation.environment()), lambda: next(hours)
    )
    for mismatch in (True, False):
        simulation.set_driver("590.10", mismatch=mismatch)
        deadline = time.monotonic() + 20
        while (report := probe.look()).driver_replaced is not mismatch:
            assert time.monotonic() < deadline, "no new process said so within 20 s"
            time.sleep(0.3)
        assert len(report.devices) == 3


def test_simulated_hard_xid_takes_out_all_slices_also_later_ones(
    house: House, simulation: Simulation
) -> None:
    first = simulation.set_mig(0, ["3g.20gb", "3g.20gb"])
    house.tick()
    assert faulty(house) == set()
    simulation.raise_xid(0, 48)
    house.tick()
    assert faulty(house) == {one.uuid for one in first}
    simulation.restore(0)
    later = simulation.set_mig(0, ["1g.5gb", "2g.10gb"])
    house.tick()
    assert faulty(house) == {one.uuid for one in later}
