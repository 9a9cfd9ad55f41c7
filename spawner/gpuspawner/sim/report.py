"""What one simulated card or instance shows now, without asking through NVML."""

from dataclasses import dataclass
from pathlib import Path

from gpuspawner.sim import store
from gpuspawner.sim.faults import Recovery
from gpuspawner.sim.layout import SimDevice, SimInstance


@dataclass(frozen=True, slots=True)
class Report:
    """What one card or MIG instance shows now."""

    index: int
    """Of the card; of the instance within its card."""
    uuid: str
    name: str
    utilization: int
    """Percent."""
    used_mib: int
    memory_mib: int
    pids: tuple[int, ...]
    lost: bool
    hang: bool
    recovery: str
    xids: tuple[int, ...]
    """The newest, oldest first."""
    mig: bool
    """A card that is divided."""
    parent: str | None
    """The card's UUID, for an instance."""


def read_report(root: Path, device: SimDevice | SimInstance) -> Report:
    """Computes from the state file, the drop box and /proc what NVML would say; never blocks."""
    state = store.parse_state((root / "devices" / device.uuid / "state").read_text())
    memory = state.number("memory_mib")
    alive = [p for p in state.processes if store.start_ticks(p.pid) == p.start_ticks]
    holders = store.read_holders(root / "dropbox" / device.uuid, memory)
    busy: list[store.HostProcess | store.Holder] = [*alive, *holders]
    load = state.number("load") + sum(p.utilization for p in busy)
    used = state.number("baseline_mib") + state.number("load_memory_mib")
    used += sum(p.memory_mib for p in busy)
    return Report(
        index=device.index,
        uuid=device.uuid,
        name=device.name,
        utilization=min(100, load),
        used_mib=min(used, memory - state.number("reserved_mib")),
        memory_mib=memory,
        pids=tuple(sorted({p.pid for p in busy if p.pid > 0})),
        lost=bool(state.number("lost")),
        hang=bool(state.number("hang")),
        recovery=Recovery(state.number("recovery")).name.lower().replace("_", "-"),
        xids=tuple(xid.number for xid in state.xids),
        mig=bool(state.number("mig")),
        parent=device.parent.uuid if isinstance(device, SimInstance) else None,
    )
