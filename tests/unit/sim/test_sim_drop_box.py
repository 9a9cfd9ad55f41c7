"""Processes that make a card busy through its drop box, and what a hostile one can write there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gpuspawner.sim import Simulation
from unit.sim.sim_probe import Probe

MIB = 1024 * 1024
READ = (
    "[n.nvmlDeviceGetUtilizationRates(h).gpu, n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used // 2**20,"
    " [p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(h)]]"
)
Start = Callable[..., "subprocess.Popen[str]"]

HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("Simulated load", flush=True)
time.sleep(60)
"""


def box(sim: Simulation, card: int = 0) -> Path:
    return sim.root / "dropbox" / sim.cards[card].uuid


def hold(spawn: Start, slot: Path) -> "subprocess.Popen[str]":
    """A process that holds this slot without changing what is in it."""
    holder = spawn(sys.executable, "-c", HOLDER, str(slot))
    assert holder.stdout is not None
    assert holder.stdout.readline()
    return holder


def test_load_shows_with_its_process(probe: Probe, gpu_load: Start, sim: Simulation) -> None:
    process = gpu_load("--gpu", "1", "--utilization", "65%", "--memory", "2GiB")
    assert probe.device(1, READ) == [65, 2052, [process.pid]]
    assert probe.device(0, READ) == [0, 4, []]
    report = sim.reports()[1]
    assert (report.utilization, report.used_mib, report.pids) == (65, 2052, (process.pid,))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_process_that_ends_leaves_nothing(probe: Probe, gpu_load: Start, sim: Simulation, how: int) -> None:
    process = gpu_load()
    assert probe.device(0, READ)[0] == 80
    process.send_signal(how)
    process.wait(5)
    assert probe.device(0, READ) == [0, 4, []]
    assert sim.reports()[0].pids == ()


def test_slot_of_a_killed_process_is_used_again(probe: Probe, gpu_load: Start) -> None:
    first = gpu_load("--utilization", "99", "--memory", "30000MiB")
    first.kill()
    first.wait()
    second = gpu_load("--utilization", "1", "--memory", "1")
    assert probe.device(0, READ) == [1, 5, [second.pid]]


def test_two_processes_add_up(probe: Probe, gpu_load: Start) -> None:
    pids = [gpu_load("--utilization", "30", "--memory", "100").pid for _ in range(2)]
    assert probe.device(0, READ) == [60, 204, pids]


def test_load_ends_by_itself(probe: Probe, gpu_load: Start) -> None:
    process = gpu_load("--for", "1s")
    assert probe.device(0, READ)[0] == 80
    assert process.wait(5) == 0
    assert probe.device(0, READ)[0] == 0


def test_holder_in_another_pid_namespace_shows_with_its_host_pid(
    probe: Probe, gpu_load: Start, sim: Simulation
) -> None:
    """What a container is: there the process is number 1, here it has the PID that /proc shows."""
    unshare = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this machine does not let us make a PID namespace")
    parent = gpu_load(prefix=unshare)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    inside = Path(f"/proc/{children[0]}/status").read_text()
    assert f"NSpid:\t{children[0]}\t1\n" in inside
    assert probe.device(0, READ) == [80, 1004, [int(children[0])]]
    assert sim.reports()[0].pids == (int(children[0]),)


HOSTILE = {
    "garbage": b"\xff\x00\xfe" * 50,
    "no numbers": b"utilization lots\nmemory_mib\n",
    "negative": b"utilization -5\nmemory_mib -1\n",
    "one long line": b"utilization " + b"9" * 5000,
    "other keys": b"lost 1\nhang 1\nxid 1 79 1\nprocess 1 1 1 1 1\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_content_is_read_as_nothing_much(
    probe: Probe, sim: Simulation, spawn: Start, content: bytes
) -> None:
    slot = box(sim) / "slot-07"
    slot.write_bytes(content)
    holder = hold(spawn, slot)
    utilization, used, pids = probe.device(0, READ)
    assert utilization in (0, 100)
    assert used == 4
    assert pids == [holder.pid]
    assert sim.reports()[0].pids == (holder.pid,)


def test_values_are_clamped(probe: Probe, sim: Simulation, spawn: Start) -> None:
    slot = box(sim) / "slot-00"
    slot.write_text(f"utilization 5000\nmemory_mib {10**30}\n")
    hold(spawn, slot)
    assert probe.device(0, READ)[:2] == [100, 40960 - 427]
    assert probe.device(0, "[s.smUtil for s in n.nvmlDeviceGetProcessUtilization(h, 0)]") == [100]
    report = sim.reports()[0]
    assert (report.utilization, report.used_mib) == (100, 40960 - 427)


def test_content_without_a_holder_counts_for_nothing(probe: Probe, sim: Simulation) -> None:
    (box(sim) / "slot-00").write_text("utilization 100\nmemory_mib 1000\n")
    assert probe.device(0, READ) == [0, 4, []]


@pytest.mark.alone
def test_links_pipes_directories_and_huge_files_neither_block_nor_show(
    probe: Probe, sim: Simulation, gpu_load: Start, tmp_path: Path
) -> None:
    """Root in a container could replace slots by such things; whoever else holds a slot is still seen."""
    other = gpu_load("--gpu", "1")
    folder = box(sim)
    for name in ("slot-00", "slot-01", "slot-02", "slot-03"):
        (folder / name).unlink()
    held = next(slot for slot in box(sim, 1).iterdir() if slot.read_bytes())
    (folder / "slot-00").symlink_to(held)
    os.mkfifo(folder / "slot-01")
    (folder / "slot-02").mkdir()
    (folder / "slot-03").symlink_to("/dev/zero")
    os.truncate(folder / "slot-04", 1 << 40)
    seen = gpu_load("--gpu", "0", "--memory", "10")
    began = time.monotonic()
    assert probe.device(0, READ) == [80, 14, [seen.pid]]
    assert time.monotonic() - began < 0.5
    assert sim.reports()[0].pids == (seen.pid,)
    assert other.poll() is None


@pytest.mark.alone
def test_ten_thousand_files_do_not_slow_the_reader(probe: Probe, sim: Simulation, gpu_load: Start) -> None:
    folder = box(sim)
    for number in range(10_000):
        os.link(folder / "slot-31", folder / f"junk-{number}")
    process = gpu_load()
    began = time.monotonic()
    assert probe.device(0, READ) == [80, 1004, [process.pid]]
    assert time.monotonic() - began < 0.2


def test_only_slots_can_be_written(sim: Simulation) -> None:
    folder = box(sim)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {slot.stat().st_mode & 0o777 for slot in folder.iterdir()} == {0o666}
    assert len(list(folder.iterdir())) == 32
