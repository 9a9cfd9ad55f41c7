"""Real GPUs if this machine has them ready, else simulated ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from gpuspawner.adapters.nvml import NvmlProbe
from gpuspawner.core.errors import GpuSpawnerError
from gpuspawner.sim.errors import SimError
from gpuspawner.sim.simulation import Simulation

CDI_DIRS = (Path("/etc/cdi"), Path("/var/run/cdi"))
LAYOUT_VARIABLE = "GPUSPAWNER_DEMO_LAYOUT"


@dataclass(frozen=True, slots=True)
class Gpus:
    """The demo's GPUs."""

    description: str
    environment: dict[str, str] = field(default_factory=dict)
    """Variables under which a process sees them."""
    simulation: Simulation | None = None
    """None for real ones."""


def prepare_gpus(root: Path, instance: str) -> Gpus:
    """Use the machine's GPUs, or make simulated ones.

    Args:
        root: Directory of the simulation.
        instance: Name of the simulation on this machine.

    Raises:
        GpuSpawnerError: Docker cannot hand the real GPUs out, or the simulation cannot be made.
    """
    real = [reading.uuid for reading in NvmlProbe("here").look().devices]
    if real:
        specs = [path for directory in CDI_DIRS if directory.is_dir() for path in directory.iterdir()]
        known = "".join(path.read_text(errors="replace") for path in specs)
        missing = [uuid for uuid in real if uuid not in known]
        if missing:
            raise GpuSpawnerError(
                f"This machine has NVIDIA GPUs, but no CDI specification names {missing[0]}. Install "
                "the NVIDIA container toolkit and run:\n"
                "  nvidia-ctk cdi generate --device-name-strategy=uuid --output=/var/run/cdi/nvidia.yaml"
            )
        return Gpus(f"{len(real)} NVIDIA GPU{'s' if len(real) != 1 else ''} of this machine")
    layout = os.environ.get(LAYOUT_VARIABLE)
    try:
        simulation = Simulation.ensure(root, *([layout] if layout else []), instance=instance)
    except SimError as error:
        raise GpuSpawnerError(f"GPUs cannot be simulated: {error}") from error
    return Gpus(f"{len(simulation.cards)} simulated GPUs", simulation.environment(), simulation)
