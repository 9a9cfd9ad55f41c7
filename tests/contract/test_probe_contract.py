"""The same demands on the fake driver and on NVML over the simulated library."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.core.model import DeviceReading
from gpuspawner.core.topology import Nearness, nearness_of_nvlinks
from gpuspawner.ports import GpuProbe, ProbeReport
from gpuspawner.sim import Simulation
from support.fake_probe import FakeProbe
from support.probe_worker import RemoteProbe

MEBIBYTE = 1024 * 1024
TIMEOUT_SECONDS = 0.5


@pytest.fixture(scope="session")
def native_build(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.cache.mkdir("sim-native"))


@pytest.fixture(params=["fake", "simulated"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[GpuProbe, Any]]:
    """The probe, and the hand that changes what it sees."""
    if request.param == "fake":
        fake = FakeProbe(cards=3)
        yield fake, fake
        return
    build = request.getfixturevalue("native_build")
    simulation = Simulation.create(
        tmp_path / "sim", "2xa100-40gb,1xl40s", instance="contract", cdi_dir=None, build_dir=build
    )
    probe = RemoteProbe(simulation.environment(), TIMEOUT_SECONDS)
    yield probe, simulation
    probe.close()
    simulation.destroy()


def look_until(probe: GpuProbe, holds: Callable[[ProbeReport], bool]) -> ProbeReport:
    """A driver takes a moment to show a change; its samples cover the time before it."""
    deadline = time.monotonic() + 10
    while not holds(report := probe.look()):
        assert time.monotonic() < deadline, report
        time.sleep(0.05)
    return report


def of(report: ProbeReport, index: int) -> DeviceReading:
    return report.devices[index]


def test_inventory(driver: tuple[GpuProbe, Any]) -> None:
    before = datetime.now(UTC)
    report = driver[0].look()
    assert report.missing_reason is None
    assert report.driver_version
    devices = [reading.device for reading in report.devices]
    assert [d.index for d in devices if d] == [0, 1, 2]
    assert len({d.uuid for d in devices if d}) == 3
    assert devices[0]
    assert devices[2]
    assert devices[0].model != devices[2].model
    assert devices[0].memory_bytes > 8 * 1024**3
    assert devices[0].compute_capability == (8, 0)
    assert all(r.uuid == r.device.uuid and r.error is None for r in report.devices if r.device)
    assert all(r.sample and before <= r.sample.at <= datetime.now(UTC) for r in report.devices)


def test_links_are_told_from_both_ends(driver: tuple[GpuProbe, Any]) -> None:
    report = driver[0].look()
    uuids = [reading.uuid for reading in report.devices]
    links = {r.uuid: dict(r.device.links) for r in report.devices if r.device}
    assert links == {
        uuids[0]: {uuids[1]: nearness_of_nvlinks(12), uuids[2]: Nearness.SYSTEM},
        uuids[1]: {uuids[0]: nearness_of_nvlinks(12), uuids[2]: Nearness.SYSTEM},
        uuids[2]: {uuids[0]: Nearness.SYSTEM, uuids[1]: Nearness.SYSTEM},
    }


@pytest.mark.parametrize("fault", ["lose", "hang"])
def test_a_failing_card_changes_no_others_description(driver: tuple[GpuProbe, Any], fault: str) -> None:
    probe, hand = driver
    before = [reading.device for reading in probe.look().devices]
    getattr(hand, fault)(0)
    after = [reading.device for reading in probe.look().devices]
    assert after == [None, *before[1:]]
    hand.restore(0)
    hand.unhang(0)
    back = look_until(probe, lambda r: r.devices[0].device is not None)
    assert [reading.device for reading in back.devices] == before


def test_idle_card_is_known_to_be_idle(driver: tuple[GpuProbe, Any]) -> None:
    sample = of(driver[0].look(), 0).sample
    assert sample
    assert (sample.utilization_percent, sample.processes) == (0, ())
    assert sample.memory_used_bytes is not None
    assert sample.memory_used_bytes < 64 * MEBIBYTE
    assert sample.temperature_celsius
    assert sample.power_milliwatts


def test_load_and_process_come_and_go(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    idle = of(probe.look(), 1).sample
    assert idle
    assert idle.memory_used_bytes is not None
    hand.set_load(1, utilization=60, memory_mib=1000, pid=os.getpid())
    busy = of(look_until(probe, lambda r: (r.devices[1].sample or idle).utilization_percent == 60), 1).sample
    assert busy
    assert busy.memory_used_bytes == idle.memory_used_bytes + 1000 * MEBIBYTE
    assert [(p.pid, p.memory_bytes) for p in busy.processes or ()] == [(os.getpid(), 1000 * MEBIBYTE)]
    other = of(probe.look(), 0).sample
    assert other
    assert (other.utilization_percent, other.processes) == (0, ())
    hand.idle(1)
    gone = look_until(probe, lambda r: bool(r.devices[1].sample and r.devices[1].sample.processes == ()))
    assert of(gone, 1).sample.memory_used_bytes == idle.memory_used_bytes  # type: ignore[union-attr]


def test_xid_is_told_once_and_by_its_card_only(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    probe.look()
    hand.raise_xid(1, 48, 0)
    hand.raise_xid(1, 63, 0)
    assert [r.xids for r in probe.look().devices] == [(), (48, 63), ()]
    assert [r.xids for r in probe.look().devices] == [(), (), ()]


def test_recovery_action(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    hand.raise_xid(0, 31, 1)
    assert [r.recovery_action for r in probe.look().devices] == [1, 0, 0]


def test_lost_card_hides_no_other_and_tells_its_last_xid(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    uuids = [r.uuid for r in probe.look().devices]
    hand.raise_xid(1, 79, 0)
    hand.lose(1)
    report = probe.look()
    assert report.missing_reason is None
    assert [r.uuid for r in report.devices] == uuids
    assert [r.lost for r in report.devices] == [False, True, False]
    lost = of(report, 1)
    assert (lost.sample, lost.xids) == (None, (79,))
    assert lost.error
    assert of(report, 2).sample
    hand.restore(1)
    assert of(probe.look(), 1).lost is False


def test_hanging_card_hides_no_other(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    uuids = [r.uuid for r in probe.look().devices]
    hand.hang(0)
    for _ in range(2):
        report = probe.look()
        assert report.missing_reason is None
        assert [r.uuid for r in report.devices] == uuids
        assert of(report, 0).sample is None
        assert "did not answer within" in (of(report, 0).error or "")
        assert of(report, 1).sample
        assert of(report, 2).sample
    hand.unhang(0)
    look_until(probe, lambda r: r.devices[0].sample is not None)


def test_hanging_driver_is_no_inventory(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    hand.hang()
    report = probe.look()
    assert "did not answer within" in (report.missing_reason or "")
    assert report.devices == ()
    hand.unhang()
    look_until(probe, lambda r: r.missing_reason is None and len(r.devices) == 3)


def test_replaced_driver_is_no_inventory_until_it_fits_again(driver: tuple[GpuProbe, Any]) -> None:
    probe, hand = driver
    hand.set_driver("590.10", mismatch=True)
    report = probe.look()
    assert "replaced" in (report.missing_reason or "")
    assert report.devices == ()
    hand.set_driver("590.10")
    report = look_until(probe, lambda r: r.missing_reason is None)
    assert report.driver_version == "590.10"
    assert len(report.devices) == 3


@pytest.mark.parametrize("driver", ["simulated"], indirect=True)
def test_mig_instances_take_the_place_of_their_card(driver: tuple[GpuProbe, Any]) -> None:
    probe, simulation = driver
    card = of(probe.look(), 0).uuid
    instances = simulation.set_mig(0, ["1g.5gb", "2g.10gb"])
    report = look_until(probe, lambda r: len(r.devices) == 4)
    found = report.devices[:2]
    assert [r.uuid for r in found] == [i.uuid for i in instances]
    assert [r.device.parent for r in found if r.device] == [card, card]
    assert found[0].sample
    assert found[0].sample.utilization_percent is None
    assert found[0].sample.processes == ()
    simulation.hang(0)
    hanging = probe.look()
    assert [r.uuid for r in hanging.devices[:2]] == [i.uuid for i in instances]
    assert all(r.sample is None for r in hanging.devices[:2])


@pytest.mark.parametrize("driver", ["simulated"], indirect=True)
def test_a_card_that_hangs_from_the_start_keeps_no_other_from_answering(
    driver: tuple[GpuProbe, Any],
) -> None:
    probe, simulation = driver
    simulation.hang(0)
    first = probe.look()
    assert [bool(r.sample) for r in first.devices] == [True, True]
    uuids = [r.uuid for r in first.devices]
    known = look_until(probe, lambda r: bool(r.devices[0].device and r.devices[0].device.links))
    assert [r.device.links for r in known.devices if r.device] == [
        ((uuids[1], Nearness.SYSTEM),),
        ((uuids[0], Nearness.SYSTEM),),
    ]
    simulation.unhang(0)
    look_until(probe, lambda r: all(r.device and len(r.device.links) == 2 for r in r.devices))


@pytest.mark.parametrize("driver", ["simulated"], indirect=True)
def test_mig_instances_have_no_links(driver: tuple[GpuProbe, Any]) -> None:
    probe, simulation = driver
    simulation.set_mig(0, ["1g.5gb", "2g.10gb"])
    report = look_until(probe, lambda r: len(r.devices) == 4)
    links = [r.device.links for r in report.devices if r.device]
    assert links[:2] == [(), ()]
    assert links[2:] == [
        ((report.devices[3].uuid, Nearness.SYSTEM),),
        ((report.devices[2].uuid, Nearness.SYSTEM),),
    ]
