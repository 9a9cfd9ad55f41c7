"""What the machine is, and who used its processors and memory."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker

from .sides import Side

TICKS = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, str]:
    """The machine and the software, for the record."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    memory = int(next(line for line in _read("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "engine": _engine(),
        "python": platform.python_version(),
        "load before": load,
    }


def _engine() -> str:
    try:
        info = docker.APIClient(version="auto").info()
    except docker.errors.DockerException:
        return "no Docker"
    return f"Docker {info['ServerVersion']}, {info['Driver']}"


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since the machine's or the process's start."""

    at: float
    whole: float
    """Of all processors together, without idling."""
    parts: dict[str, float]
    """By process, those of children that it waited for included."""


def cpu_times(side: Side) -> CpuTimes:
    """Of the processes that take part in a start."""
    pids = {name: [process.popen.pid] for name, process in side.processes.items()}
    pids |= {"dockerd": _pids("dockerd"), "containerd": _pids("containerd"), "bench": [os.getpid()]}
    fields = [int(value) for value in _read("/proc/stat")[0].split()[1:9]]
    busy = sum(fields) - fields[3] - fields[4]
    parts = {name: sum(map(_cpu_seconds, found)) for name, found in pids.items()}
    return CpuTimes(time.time(), busy / TICKS, parts)


def shares(before: CpuTimes, after: CpuTimes) -> dict[str, float]:
    """Processors that each kept busy on average; the rest is runc, shims, proxies and the servers."""
    wall = after.at - before.at
    parts = {name: (after.parts[name] - value) / wall for name, value in before.parts.items()}
    whole = (after.whole - before.whole) / wall
    return {
        **{name: round(value, 2) for name, value in parts.items()},
        "rest": round(whole - sum(parts.values()), 2),
        "whole machine": round(whole, 2),
    }


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process."""
    lines = {line.split(":")[0]: line for line in _read(f"/proc/{pid}/smaps_rollup")}
    rss, pss = (int(lines[key].split()[1]) / 1024 for key in ("Rss", "Pss"))
    return rss, pss


def _cpu_seconds(pid: int) -> float:
    try:
        fields = _read(f"/proc/{pid}/stat")[0].rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) / TICKS


def _pids(name: str) -> list[int]:
    """Of this machine's own; an Engine in a container has a process namespace of its own."""
    ours = Path("/proc/self/ns/pid").readlink()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "comm").read_text().strip() == name and (folder / "ns/pid").readlink() == ours:
                found.append(int(folder.name))
    return found


def _read(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
