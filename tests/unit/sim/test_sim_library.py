"""What pynvml reads from the simulated library."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gpuspawner.sim import Simulation
from gpuspawner.sim.native import NativeFiles
from unit.sim.sim_probe import Probe

MIB = 1024 * 1024


def test_cards_have_identity(probe: Probe, sim: Simulation) -> None:
    assert probe("r = n.nvmlDeviceGetCount()") == 4
    for card in sim.cards:
        expression = (
            "[n.nvmlDeviceGetUUID(h), n.nvmlDeviceGetName(h), n.nvmlDeviceGetIndex(h),"
            " n.nvmlDeviceGetMinorNumber(h), list(n.nvmlDeviceGetCudaComputeCapability(h)),"
            " n.nvmlDeviceGetPciInfo(h).busId]"
        )
        bus_id = f"00000000:{card.pci_bus:02X}:00.0"
        assert probe.device(card.index, expression) == [
            card.uuid,
            card.name,
            card.index,
            card.minor,
            list(card.model.capability),
            bus_id,
        ]
        by_uuid = f"r = n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID({card.uuid!r}))"
        assert probe(by_uuid) == card.index
    assert {card.name for card in sim.cards} == {
        "NVIDIA A100-SXM4-40GB (simulated)",
        "NVIDIA L40S (simulated)",
    }
    assert len({card.pci_bus for card in sim.cards}) == 4


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("n.nvmlDeviceGetHandleByIndex(4)", 2),
        ("n.nvmlDeviceGetHandleByUUID('GPU-00000000-0000-0000-0000-000000000000')", 6),
        ("n.nvmlDeviceGetHandleByUUID('../../etc')", 6),
        ("n.nvmlDeviceGetHandleByUUID('GPU-/../../host')", 6),
        ("n.nvmlDeviceGetHandleByUUID('GPU-' + 'x' * 5000)", 6),
    ],
)
def test_unknown_devices_are_refused(probe: Probe, call: str, code: int) -> None:
    assert probe.error(call) == code


def test_driver_versions(probe: Probe, sim: Simulation) -> None:
    calls = ("nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion", "nvmlSystemGetNVMLVersion")
    assert [probe(f"r = n.{call}()") for call in calls] == ["580.95.05", 13000, "13.580.95.05"]
    sim.set_driver("535.104.05")
    assert probe("r = n.nvmlSystemGetDriverVersion()") == "535.104.05"


def test_idle_card_uses_its_baseline_only(probe: Probe) -> None:
    memory = probe.device(0, "[getattr(n.nvmlDeviceGetMemoryInfo(h), k) for k in ('total', 'free', 'used')]")
    assert memory == [40960 * MIB, (40960 - 427 - 4) * MIB, (427 + 4) * MIB]
    memory = probe.device(
        2,
        "[getattr(n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2), k)"
        " for k in ('total', 'reserved', 'free', 'used')]",
    )
    assert memory == [46068 * MIB, 594 * MIB, (46068 - 594 - 2) * MIB, 2 * MIB]
    assert probe.device(0, "n.nvmlDeviceGetUtilizationRates(h).gpu") == 0
    assert probe.device(0, "n.nvmlDeviceGetComputeRunningProcesses(h)") == []
    assert probe.error("n.nvmlDeviceGetProcessUtilization(h, 0)") == 6


def test_load_shows_on_its_card_only(probe: Probe, sim: Simulation) -> None:
    sim.set_load(1, utilization=70, memory_mib=5000)
    expression = (
        "[n.nvmlDeviceGetUtilizationRates(h).gpu, n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used]"
    )
    assert probe.device(1, expression) == [70, 5004 * MIB]
    assert probe.device(0, expression) == [0, 4 * MIB]
    sim.idle(1)
    assert probe.device(1, expression) == [0, 4 * MIB]


def test_heat_and_power_follow_the_load(probe: Probe, sim: Simulation) -> None:
    expression = (
        "[n.nvmlDeviceGetTemperature(h, 0), n.nvmlDeviceGetTemperatureV(h, 0), n.nvmlDeviceGetPowerUsage(h),"
        " n.nvmlDeviceGetEnforcedPowerLimit(h)]"
    )
    assert probe.device(0, expression) == [34, 34, 52_000, 400_000]
    sim.set_load(0, utilization=100)
    assert probe.device(0, expression) == [74, 74, 400_000, 400_000]


def test_energy_grows_with_the_load_and_never_shrinks(probe: Probe, sim: Simulation) -> None:
    read = "n.nvmlDeviceGetTotalEnergyConsumption(h)"
    sim.set_load(0, utilization=100)
    first, at = probe.device(0, read), time.monotonic()
    time.sleep(0.05)
    second, elapsed = probe.device(0, read), time.monotonic() - at
    assert 0.04 * 400_000 <= second - first <= (elapsed + 0.2) * 400_000
    sim.idle(0)
    assert probe.device(0, read) >= second


def test_samples_start_when_the_load_did(probe: Probe, sim: Simulation) -> None:
    sim.set_load(0, utilization=60)
    time.sleep(0.2)
    kind, values, times = probe.device(
        0,
        "(lambda s: [s[0], [x.sampleValue.uiVal for x in s[1]], [x.timeStamp for x in s[1]]])"
        "(n.nvmlDeviceGetSamples(h, n.NVML_GPU_UTILIZATION_SAMPLES, 0))",
    )
    assert kind == 1
    assert values[0] == 0
    assert values[-1] == 60
    assert sorted(set(times)) == times
    later = f"n.nvmlDeviceGetSamples(h, n.NVML_GPU_UTILIZATION_SAMPLES, {times[-1] + 10**9})"
    assert probe.error(f"h = n.nvmlDeviceGetHandleByIndex(0)\n{later}") == 6
    newer = (
        f"[x.timeStamp for x in n.nvmlDeviceGetSamples(h, n.NVML_GPU_UTILIZATION_SAMPLES, {times[-3]})[1]]"
    )
    assert min(probe.device(0, newer)) > times[-3]


def test_host_process_shows_until_it_ends(
    probe: Probe, sim: Simulation, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = spawn("sleep", "60")
    sim.set_load(0, utilization=30, memory_mib=2000, pid=process.pid)
    shown = probe.device(0, "[[p.pid, p.usedGpuMemory] for p in n.nvmlDeviceGetComputeRunningProcesses(h)]")
    assert shown == [[process.pid, 2000 * MIB]]
    busy = probe.device(0, "[[s.pid, s.smUtil] for s in n.nvmlDeviceGetProcessUtilization(h, 0)]")
    assert busy == [[process.pid, 30]]
    assert probe.device(0, "n.nvmlDeviceGetUtilizationRates(h).gpu") == 30
    assert probe.device(0, "n.nvmlDeviceGetGraphicsRunningProcesses(h)") == []
    process.kill()
    process.wait()
    assert probe.device(0, "n.nvmlDeviceGetComputeRunningProcesses(h)") == []
    assert probe.device(0, "n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used") == 4 * MIB
    assert sim.reports()[0].pids == ()


def test_reused_pid_is_not_the_same_process(probe: Probe, sim: Simulation) -> None:
    sim.set_load(0, memory_mib=2000, pid=os.getpid())
    path = sim.root / "devices" / sim.cards[0].uuid / "state"
    lines = path.read_text().splitlines()
    other = [re.sub(r"^(process \d+) \d+", r"\1 12345", line) for line in lines]
    assert other != lines
    path.write_text("\n".join(other))
    assert probe.device(0, "n.nvmlDeviceGetComputeRunningProcesses(h)") == []
    assert sim.reports()[0].pids == ()


def test_several_processes_add_up_and_are_clamped(probe: Probe, sim: Simulation) -> None:
    sim.set_load(0, utilization=60, memory_mib=30_000, pid=os.getpid())
    sim.set_load(0, utilization=70, memory_mib=30_000, pid=os.getppid())
    read = "[n.nvmlDeviceGetUtilizationRates(h).gpu, n.nvmlDeviceGetMemoryInfo(h).free]"
    assert probe.device(0, read) == [100, 0]
    assert len(probe.device(0, "[p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(h)]")) == 2


def test_modes_topology_and_links(probe: Probe) -> None:
    assert probe.device(0, "[n.nvmlDeviceGetPersistenceMode(h), n.nvmlDeviceGetComputeMode(h)]") == [1, 0]
    levels = probe(
        "hs = [n.nvmlDeviceGetHandleByIndex(i) for i in range(4)]\n"
        "r = [n.nvmlDeviceGetTopologyCommonAncestor(hs[0], h) for h in hs]"
    )
    assert levels == [0, 10, 50, 50]
    assert probe.device(0, "n.nvmlDeviceGetNvLinkState(h, 11)") == 1
    assert probe.error("n.nvmlDeviceGetNvLinkState(n.nvmlDeviceGetHandleByIndex(0), 12)") == 2
    assert probe.error("n.nvmlDeviceGetNvLinkState(n.nvmlDeviceGetHandleByIndex(2), 0)") == 3


def test_nvlinks_of_a_few_cards_go_to_each_other(probe: Probe, sim: Simulation) -> None:
    ends = "[[n.nvmlDeviceGetNvLinkRemoteDeviceType(h, i), n.nvmlDeviceGetNvLinkRemotePciInfo(h, i).busId]"
    peer = [0, f"00000000:{sim.cards[1].pci_bus:02X}:00.0"]
    assert probe.device(0, ends + " for i in range(12)]") == [peer] * 12
    can = "[n.nvmlDeviceGetNvLinkCapability(h, 0, i) for i in range(6)]"
    assert probe.device(0, can) == [1, 1, 1, 1, 0, 1]
    for call in (
        "RemotePciInfo(h, 12)",
        "RemoteDeviceType(h, 12)",
        "Capability(h, 12, 0)",
        "Capability(h, 0, 6)",
    ):
        assert probe.error(f"h = n.nvmlDeviceGetHandleByIndex(0)\nn.nvmlDeviceGetNvLink{call}") == 2
    assert probe.error("n.nvmlDeviceGetNvLinkRemotePciInfo(n.nvmlDeviceGetHandleByIndex(2), 0)") == 3


def test_nvlinks_of_many_cards_go_to_switches(
    probe_process: Probe, tmp_path: Path, native_files: NativeFiles
) -> None:
    sim = Simulation.create(
        tmp_path / "sim",
        "5xh100-80gb",
        instance="many",
        cdi_dir=None,
        build_dir=native_files.directory.parent,
    )
    probe_process.root = sim.root
    probe_process("n.nvmlInit()")
    kinds, buses = probe_process.device(
        4,
        "[[n.nvmlDeviceGetNvLinkRemoteDeviceType(h, i) for i in range(18)],"
        " [n.nvmlDeviceGetNvLinkRemotePciInfo(h, i).bus for i in range(18)]]",
    )
    probe_process("n.nvmlShutdown()")
    sim.destroy()
    assert kinds == [2] * 18
    assert len(set(buses)) == 6
    assert not set(buses) & {card.pci_bus for card in sim.cards}


def test_fields_answer_one_by_one(probe: Probe) -> None:
    fields = "[[v.nvmlReturn, v.value.uiVal] for v in n.nvmlDeviceGetFieldValues(h, [230, 83, 9999, 186])]"
    recovery, energy, unknown, power = probe.device(0, fields)
    assert (recovery, energy[0], unknown[0], power) == ([0, 0], 0, 3, [0, 52_000])


def test_nothing_answers_before_init(native_files: NativeFiles, sim: Simulation) -> None:
    code = (
        "import ctypes; l = ctypes.CDLL('libnvidia-ml.so.1'); u = ctypes.c_uint();"
        "first = l.nvmlDeviceGetCount_v2(ctypes.byref(u)), l.nvmlShutdown(); l.nvmlInit_v2();"
        "l.nvmlErrorString.restype = ctypes.c_char_p;"
        "print(*first, l.nvmlDeviceGetCount_v2(ctypes.byref(u)), u.value, l.nvmlErrorString(15).decode())"
    )
    environment = {**os.environ, **sim.environment()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1 1 0 4 GPU is lost"


def test_without_a_simulation_the_driver_is_not_loaded(probe: Probe, tmp_path: Path) -> None:
    known, probe.root = probe.root, tmp_path / "none"
    try:
        assert probe.error("n.nvmlInit()") == 9
    finally:
        probe.root = known


def test_order_is_by_index_not_by_uuid(probe: Probe, sim: Simulation) -> None:
    uuids = probe("r = [n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(i)) for i in range(4)]")
    assert uuids == [card.uuid for card in sim.cards]
    assert uuids != sorted(uuids), "the layout no longer tells the two orders apart"


def test_library_loads_in_older_images(native_files: NativeFiles) -> None:
    """Nothing newer than glibc 2.28, whatever the building host has."""
    symbols = subprocess.run(
        ["objdump", "-T", str(native_files.library)], capture_output=True, text=True, check=True
    ).stdout
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([0-9.]+)", symbols)}
    assert versions
    assert max(versions) <= (2, 28)
    assert "isoc23" not in symbols
    header = subprocess.run(
        ["objdump", "-p", str(native_files.library)], capture_output=True, text=True, check=True
    )
    assert re.search(r"SONAME\s+libnvidia-ml\.so\.1\n", header.stdout)
