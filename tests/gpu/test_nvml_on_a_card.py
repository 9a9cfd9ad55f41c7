"""NVML's adapter on real hardware."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.core.health import judge_health
from gpuspawner.core.model import Health
from gpuspawner.ports import ProbeReport

pytestmark = pytest.mark.gpu

MEBIBYTE = 1024 * 1024
HOLD_512_MIB = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
for result in (cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
               cuda.cuCtxSetCurrent(context),
               cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(512 << 20))):
    assert result == 0, result
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def probe() -> NvmlProbe:
    return NvmlProbe("host", timeout_seconds=30)


def look_until(probe: NvmlProbe, holds: Callable[[ProbeReport], bool]) -> ProbeReport:
    deadline = time.monotonic() + 30
    while not holds(report := probe.look()):
        assert time.monotonic() < deadline, report
        time.sleep(0.2)
    return report


def holders(report: ProbeReport) -> set[int]:
    return {p.pid for r in report.devices if r.sample for p in r.sample.processes or ()}


def used(report: ProbeReport) -> int:
    return sum(r.sample.memory_used_bytes or 0 for r in report.devices if r.sample)


def test_inventory(probe: NvmlProbe) -> None:
    report = probe.look()
    assert report.missing_reason is None
    assert report.driver_version
    assert report.devices
    for reading in report.devices:
        assert reading.uuid.startswith(("GPU-", "MIG-"))
        assert reading.device
        assert reading.device.memory_bytes > 256 * MEBIBYTE
        assert (reading.device.compute_capability or (0, 0)) >= (3, 0)


def test_links_are_told_from_both_ends_and_do_not_change(probe: NvmlProbe) -> None:
    whole = [r.device for r in probe.look().devices if r.device and r.device.parent is None]
    links = {device.uuid: dict(device.links) for device in whole}
    for uuid, near in links.items():
        assert all(links[other][uuid] == nearness for other, nearness in near.items())
    assert [r.device for r in probe.look().devices if r.device and r.device.parent is None] == whole


def test_sample(probe: NvmlProbe) -> None:
    before = datetime.now(UTC)
    for reading in probe.look().devices:
        sample = reading.sample
        assert sample
        assert before <= sample.at <= datetime.now(UTC)
        assert sample.processes is not None
        assert sample.memory_used_bytes is not None
        assert sample.temperature_celsius is not None
        assert sample.temperature_celsius < 130
        if reading.device and reading.device.parent is None:
            assert sample.utilization_percent in range(101)
        assert judge_health(reading, None) == (Health.OK, "")


def test_a_look_is_quick(probe: NvmlProbe) -> None:
    probe.look()
    begun = time.monotonic()
    probe.look()
    assert time.monotonic() - begun < 2


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("libcuda.so.1 is not here")
    running = subprocess.Popen(
        [sys.executable, "-c", HOLD_512_MIB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield running
    running.kill()
    running.communicate()


def test_a_process_appears_and_disappears(probe: NvmlProbe, program: subprocess.Popen[str]) -> None:
    before = probe.look()
    assert program.stdout
    assert program.stdout.readline() == "ready\n"
    busy = look_until(probe, lambda r: len(holders(r)) > len(holders(before)))
    assert used(busy) >= used(before) + 500 * MEBIBYTE
    # Inside a PID namespace the driver tells the host's number, which is not ours.
    assert len(holders(busy) - holders(before)) == 1
    program.kill()
    program.wait()
    look_until(probe, lambda r: holders(r) == holders(before) and used(r) < used(before) + 64 * MEBIBYTE)
