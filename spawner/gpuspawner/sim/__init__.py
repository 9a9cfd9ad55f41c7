"""Simulated GPUs: an NVML library, a CDI spec and an nvidia-smi used just as the real ones."""

from gpuspawner.sim.errors import SimError
from gpuspawner.sim.faults import Recovery
from gpuspawner.sim.layout import DEMO_LAYOUT, MODELS, SimDevice, SimInstance, parse_layout
from gpuspawner.sim.report import Report
from gpuspawner.sim.simulation import Simulation

__all__ = [
    "DEMO_LAYOUT",
    "MODELS",
    "Recovery",
    "Report",
    "SimDevice",
    "SimError",
    "SimInstance",
    "Simulation",
    "parse_layout",
]
