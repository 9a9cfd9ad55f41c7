"""A simulation per test, and one process that looks at it through pynvml."""

import os
import select
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.sim import Simulation
from gpuspawner.sim.native import NativeFiles, build
from unit.sim.sim_probe import Probe


@pytest.fixture(scope="session")
def native_files(tmp_path_factory: pytest.TempPathFactory) -> NativeFiles:
    before = os.umask(0o077)
    try:
        return build(tmp_path_factory.mktemp("native"))
    finally:
        os.umask(before)


@pytest.fixture(scope="session")
def probe_process(native_files: NativeFiles) -> Iterator[Probe]:
    probe = Probe(native_files)
    yield probe
    probe.close()


@pytest.fixture
def sim(tmp_path: Path, native_files: NativeFiles) -> Iterator[Simulation]:
    """Two A100 and two L40S."""
    simulation = Simulation.create(
        tmp_path / "sim", instance="unit", cdi_dir=tmp_path / "cdi", build_dir=native_files.directory.parent
    )
    yield simulation
    if (simulation.root / "simulation.json").exists():
        simulation.destroy()


@pytest.fixture(scope="module")
def calm_sim(tmp_path_factory: pytest.TempPathFactory, native_files: NativeFiles) -> Iterator[Simulation]:
    """One for the tests of a module that change nothing, or try to and are refused."""
    folder = tmp_path_factory.mktemp("calm")
    simulation = Simulation.create(
        folder / "sim", instance="calm", cdi_dir=folder / "cdi", build_dir=native_files.directory.parent
    )
    yield simulation
    simulation.destroy()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes whose output we read, and kills them at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def probe(probe_process: Probe, sim: Simulation) -> Iterator[Probe]:
    """Initialised NVML on this test's simulation."""
    probe_process.root = sim.root
    probe_process("n.nvmlInit()")
    yield probe_process
    probe_process("n.nvmlShutdown()")


def _environment(sim: Simulation) -> dict[str, str]:
    return {"GPUSPAWNER_SIM_ROOT": str(sim.root), "PATH": os.environ["PATH"]}


def _run_tool(sim: Simulation, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(sim.files.directory / name), *arguments]
    return subprocess.run(
        command, env=_environment(sim), capture_output=True, text=True, timeout=10, check=False
    )


@pytest.fixture
def tool(sim: Simulation) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs nvidia-smi or gpu-load on this test's simulation."""
    return partial(_run_tool, sim)


@pytest.fixture
def calm_tool(calm_sim: Simulation) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs nvidia-smi or gpu-load on the module's simulation."""
    return partial(_run_tool, calm_sim)


@pytest.fixture
def gpu_load(
    sim: Simulation, spawn: Callable[..., subprocess.Popen[str]]
) -> Callable[..., subprocess.Popen[str]]:
    """Starts gpu-load, returns once it holds the card."""

    def start(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = spawn(*prefix, str(sim.files.load), *arguments, env=_environment(sim))
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 5)[0], "gpu-load says nothing for 5 s"
        assert "Simulated load" in process.stdout.readline()
        return process

    return start
