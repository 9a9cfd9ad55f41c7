"""MIG instances through pynvml, the tools and the CDI spec."""

import json
import os
import subprocess
from collections.abc import Callable

import pytest
from gpuspawner.sim import SimError, Simulation
from unit.sim.sim_probe import Probe

NOT_SUPPORTED, NOT_FOUND = 3, 6
MIB = 1024 * 1024


def test_card_is_whole_at_first(probe: Probe) -> None:
    assert probe.device(0, "[n.nvmlDeviceGetMigMode(h), n.nvmlDeviceGetMaxMigDeviceCount(h)]") == [[0, 0], 0]
    assert probe.error("n.nvmlDeviceGetMigDeviceHandleByIndex(h, 0)") == NOT_FOUND
    assert probe.error("n.nvmlDeviceGetMigMode(n.nvmlDeviceGetHandleByIndex(2))") == NOT_SUPPORTED


def test_instances_have_identity_and_size(probe: Probe, sim: Simulation) -> None:
    first, second = sim.set_mig(0, ["3g.20gb", "2g.10gb"])
    probe(
        "h = n.nvmlDeviceGetHandleByIndex(0)\n"
        "ms = [n.nvmlDeviceGetMigDeviceHandleByIndex(h, i) for i in (0, 1)]"
    )
    assert probe("r = [n.nvmlDeviceGetUUID(m) for m in ms]") == [first.uuid, second.uuid]
    assert probe("r = n.nvmlDeviceGetName(ms[0])") == "NVIDIA A100-SXM4-40GB (simulated) MIG 3g.20gb"
    assert probe("r = [n.nvmlDeviceGetMemoryInfo(m).total for m in ms]") == [19968 * MIB, 9856 * MIB]
    assert probe(
        "r = [[n.nvmlDeviceGetGpuInstanceId(m), n.nvmlDeviceGetComputeInstanceId(m)] for m in ms]"
    ) == [
        [1, 0],
        [2, 0],
    ]
    assert probe("r = [n.nvmlDeviceIsMigDeviceHandle(x).value for x in [h, *ms]]") == [0, 1, 1]
    parent = "r = n.nvmlDeviceGetUUID(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(ms[1]))"
    assert probe(parent) == sim.cards[0].uuid
    attributes = (
        "a = n.nvmlDeviceGetAttributes_v2(ms[0])\n"
        "r = [a.memorySizeMB, a.gpuInstanceSliceCount, a.multiprocessorCount]"
    )
    assert probe(attributes) == [19968, 3, 42]
    assert probe("r = n.nvmlDeviceGetMaxMigDeviceCount(h)") == 7
    assert probe("r = n.nvmlDeviceGetCount()") == 4
    assert probe.error("n.nvmlDeviceGetMigDeviceHandleByIndex(h, 2)") == NOT_FOUND


def test_utilisation_is_not_supported_on_divided_cards(probe: Probe, sim: Simulation) -> None:
    sim.set_mig(0, ["3g.20gb"])
    probe("h = n.nvmlDeviceGetHandleByIndex(0)\nm = n.nvmlDeviceGetMigDeviceHandleByIndex(h, 0)")
    for handle in ("h", "m"):
        assert probe.error(f"n.nvmlDeviceGetUtilizationRates({handle})") == NOT_SUPPORTED
        assert probe.error(f"n.nvmlDeviceGetSamples({handle}, 1, 0)") == NOT_SUPPORTED
        assert probe.error(f"n.nvmlDeviceGetProcessUtilization({handle}, 0)") == NOT_SUPPORTED


def test_processes_show_on_their_instance_and_on_the_card(probe: Probe, sim: Simulation) -> None:
    first, second = sim.set_mig(0, ["3g.20gb", "3g.20gb"])
    sim.set_load(second.uuid, memory_mib=500, pid=os.getpid())
    probe("h = n.nvmlDeviceGetHandleByIndex(0)")
    read = "[[p.pid, p.usedGpuMemory, p.gpuInstanceId] for p in n.nvmlDeviceGetComputeRunningProcesses({})]"
    expected = [[os.getpid(), 500 * MIB, 2]]
    assert probe("r = " + read.format("n.nvmlDeviceGetMigDeviceHandleByIndex(h, 1)")) == expected
    assert probe("r = " + read.format("n.nvmlDeviceGetMigDeviceHandleByIndex(h, 0)")) == []
    assert probe("r = " + read.format("h")) == expected
    used = "r = n.nvmlDeviceGetMemoryInfo({}, n.nvmlMemory_v2).used // 2**20"
    assert probe(used.format("h")) == 504
    assert probe(used.format(f"n.nvmlDeviceGetHandleByUUID({first.uuid!r})")) == 0


def test_instances_of_a_lost_card_are_lost(probe: Probe, sim: Simulation) -> None:
    (instance,) = sim.set_mig(0, ["7g.40gb"])
    probe(f"m = n.nvmlDeviceGetHandleByUUID({instance.uuid!r})")
    sim.lose(0)
    assert probe.error("n.nvmlDeviceGetMemoryInfo(m)") == 15


def test_whole_again(probe: Probe, sim: Simulation) -> None:
    (instance,) = sim.set_mig(0, ["3g.20gb"])
    probe(f"m = n.nvmlDeviceGetHandleByUUID({instance.uuid!r})")
    sim.set_mig(0, [])
    assert probe.device(0, "[n.nvmlDeviceGetMigMode(h)[0], n.nvmlDeviceGetUtilizationRates(h).gpu]") == [0, 0]
    assert probe.error("n.nvmlDeviceGetMemoryInfo(m)") == NOT_FOUND
    assert sim.instances() == ()
    assert not (sim.root / "dropbox" / instance.uuid).exists()


def test_card_in_use_is_not_divided(
    sim: Simulation, gpu_load: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = gpu_load()
    with pytest.raises(SimError, match=str(process.pid)):
        sim.set_mig(0, ["3g.20gb"])
    assert sim.instances() == ()


@pytest.mark.parametrize(
    ("card", "profiles", "message"),
    [
        (2, ["3g.20gb"], "has no MIG"),
        (0, ["9g.99gb"], "9g.99gb.*1g.5gb"),
        (0, ["4g.20gb", "4g.20gb"], "8 compute"),
        (0, ["3g.20gb", "3g.20gb", "1g.5gb"], "9 memory"),
        (9, ["3g.20gb"], "no card '9'"),
    ],
)
def test_bad_division_changes_nothing(sim: Simulation, card: int, profiles: list[str], message: str) -> None:
    with pytest.raises(SimError, match=message):
        sim.set_mig(card, profiles)
    assert sim.instances() == ()
    assert not any(report.mig for report in sim.reports())


def test_spec_offers_instances_instead_of_the_card(sim: Simulation) -> None:
    first, second = sim.set_mig(0, ["3g.20gb", "3g.20gb"])
    assert sim.cdi_dir is not None
    spec = json.loads((sim.cdi_dir / "gpuspawner-sim-unit.json").read_text())
    names = [device["name"] for device in spec["devices"]]
    assert names == [*(card.uuid for card in sim.cards[1:]), first.uuid, second.uuid]
    mounts = {m["containerPath"]: m["options"][0] for m in spec["devices"][-1]["containerEdits"]["mounts"]}
    base = "/run/gpuspawner-sim"
    assert mounts == {
        f"{base}/devices/{sim.cards[0].uuid}": "ro",
        f"{base}/devices/{second.uuid}": "ro",
        f"{base}/dropbox/{second.uuid}": "rw",
    }


def test_load_on_the_one_instance(
    probe: Probe, sim: Simulation, gpu_load: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (instance,) = sim.set_mig(0, ["3g.20gb"])
    process = gpu_load("--gpu", "0", "--memory", "100")
    probe(f"m = n.nvmlDeviceGetHandleByUUID({instance.uuid!r})")
    assert probe("r = [p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(m)]") == [process.pid]


def test_nvidia_smi_lists_instances(
    sim: Simulation, tool: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    first, second = sim.set_mig(1, ["3g.20gb", "1g.5gb"])
    lines = tool("nvidia-smi", "-L").stdout.splitlines()
    assert lines[1:4] == [
        f"GPU 1: NVIDIA A100-SXM4-40GB (simulated) (UUID: {sim.cards[1].uuid})",
        f"  MIG 3g.20gb     Device  0: (UUID: {first.uuid})",
        f"  MIG 1g.5gb      Device  1: (UUID: {second.uuid})",
    ]
