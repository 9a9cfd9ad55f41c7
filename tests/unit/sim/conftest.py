"""A simulation per test, and one process that looks at it through pynvml."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpuspawner.sim import Simulation
from gpuspawner.sim.native import NativeFiles, build
from sim_probe import Probe


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


@pytest.fixture
def probe(probe_process: Probe, sim: Simulation) -> Iterator[Probe]:
    """Initialised NVML on this test's simulation."""
    probe_process.root = sim.root
    probe_process("n.nvmlInit()")
    yield probe_process
    probe_process("n.nvmlShutdown()")


@pytest.fixture
def tool(sim: Simulation) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs nvidia-smi or gpu-load on this test's simulation."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(sim.files.directory / name), *arguments],
            env={"GPUSPAWNER_SIM_ROOT": str(sim.root)},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    return run


@pytest.fixture
def gpu_load(sim: Simulation) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts gpu-load, returns once it holds the card."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, str(sim.files.load), *arguments],
            env={"GPUSPAWNER_SIM_ROOT": str(sim.root), "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert "Simulated load" in process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
