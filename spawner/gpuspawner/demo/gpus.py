"""Real GPUs if this machine has them ready, else simulated ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.ports import GpuProbe
from gpuspawner.sim.errors import SimError
from gpuspawner.sim.layout import SIMULATED
from gpuspawner.sim.simulation import Simulation

CDI_DIRS = (Path("/etc/cdi"), Path("/var/run/cdi"))
DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""There as long as the kernel has NVIDIA's driver, whether it works or not."""
LAYOUT_VARIABLE = "GPUSPAWNER_DEMO_LAYOUT"
SIMULATION_VARIABLE = "GPUSPAWNER_SIM_ROOT"
"""Set in a shell that ``gpuspawner sim env`` was told to show simulated cards."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The demo's GPUs."""

    description: str
    environment: dict[str, str] = field(default_factory=dict)
    """Variables under which a process sees them."""
    simulation: Simulation | None = None
    """None for real ones."""


def prepare_gpus(root: Path, instance: str, probe: GpuProbe | None = None) -> Gpus:
    """Use the machine's GPUs, or make simulated ones.

    Args:
        root: Directory of the simulation.
        instance: Name of the simulation on this machine.
        probe: The driver's view of the GPUs; NVML's unless given.

    Raises:
        GpuSpawnerError: The driver does not work, Docker cannot hand the real GPUs out, or the simulation
            cannot be made.
    """
    real = find_real_gpus(probe or NvmlProbe("here"), DRIVER_FILE)
    if real:
        require_specs(real, CDI_DIRS)
        return Gpus(f"{len(real)} NVIDIA GPU{'s' if len(real) != 1 else ''} of this machine")
    layout = os.environ.get(LAYOUT_VARIABLE)
    try:
        simulation = Simulation.ensure(root, *([layout] if layout else []), instance=instance)
    except SimError as error:
        raise GpuSpawnerError(f"GPUs cannot be simulated: {error}") from error
    return Gpus(f"{len(simulation.cards)} simulated GPUs", simulation.environment(), simulation)


def find_real_gpus(probe: GpuProbe, driver_file: Path) -> list[str]:
    """UUIDs of this machine's GPUs; none where it has no driver, or a driver without cards.

    Takes the variable that shows simulated cards out of this process's environment.

    Raises:
        GpuSpawnerError: The driver is there and does not say which GPUs there are.
    """
    other_simulation = os.environ.pop(SIMULATION_VARIABLE, None)
    report = probe.look()
    if report.missing_reason is not None and driver_file.exists():
        fix = (
            f"This shell shows the simulated GPUs of {other_simulation}: run the demo in another one."
            if other_simulation
            else "Run nvidia-smi: once it lists the GPUs, the demo uses them. After a new driver, reboot."
        )
        raise GpuSpawnerError(
            "This machine has the NVIDIA driver, but its GPUs cannot be listed: "
            f"{report.missing_reason}. {fix}"
        )
    return [
        reading.uuid
        for reading in report.devices
        if reading.device is None or SIMULATED not in reading.device.model
    ]


def require_specs(uuids: Sequence[str], directories: Sequence[Path]) -> None:
    """Check that Docker can hand each of these GPUs out.

    Raises:
        GpuSpawnerError: There is one that no CDI specification names.
    """
    found = [path for directory in directories if directory.is_dir() for path in directory.iterdir()]
    known = "".join(path.read_text(errors="replace") for path in found if path.is_file())
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing:
        raise GpuSpawnerError(
            f"This machine has NVIDIA GPUs, but no CDI specification names {missing[0]}. Install "
            "the NVIDIA container toolkit and run:\n"
            "  nvidia-ctk cdi generate --device-name-strategy=uuid --output=/var/run/cdi/nvidia.yaml"
        )
