"""Reads and writes the simulation's state files. Nothing here decides; layout.py and simulation.py do.

A state file is lines of `key value`. It is replaced as a whole by a rename inside its own directory, because
the directory is what a container has mounted: nobody sees half a state, and a container sees the new one.
"""

import fcntl
import os
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpuspawner.sim.layout import SimDevice, SimInstance

SLOTS = 32
"""Drop box slots of a device, as in native/state.h."""
MARKER = "simulation.json"
"""Describes the simulation; only on the host, which is how the library knows where it is."""
KEPT_XIDS = 64
"""The newest XIDs that a state file keeps."""

_CUDA = 13000
_OWN_ENTRIES = ("devices", "dropbox", "host", "native", "lock")
_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A host process that was put on a card by hand."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat: tells this process from a later one with the same number."""
    memory_mib: int
    utilization: int
    """Percent."""
    since_us: int
    """Microseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Xid:
    """One XID error."""

    sequence: int
    """Counts up per card, from 1."""
    number: int
    time_us: int
    """Microseconds since the epoch."""


@dataclass(slots=True)
class State:
    """One device's state file: its single values as text, and its two lists."""

    values: dict[str, str]
    processes: list[HostProcess] = field(default_factory=list)
    xids: list[Xid] = field(default_factory=list)

    def number(self, key: str) -> int:
        """A value as a whole number; 0 when it was never set."""
        return int(self.values.get(key, "0"))

    def text(self) -> str:
        """The state file's content."""
        lines = [f"{key} {value}" for key, value in self.values.items()]
        lines += [
            f"process {p.pid} {p.start_ticks} {p.memory_mib} {p.utilization} {p.since_us}"
            for p in self.processes
        ]
        lines += [f"xid {x.sequence} {x.number} {x.time_us}" for x in self.xids]
        return "\n".join(lines) + "\n"


def parse_state(text: str) -> State:
    """The state that State.text wrote."""
    state = State({})
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "process":
            state.processes.append(HostProcess(*map(int, value.split())))
        elif key == "xid":
            state.xids.append(Xid(*map(int, value.split())))
        else:
            state.values[key] = value
    return state


def card_state(card: SimDevice) -> State:
    """The state of a card that nobody uses."""
    model = card.model
    values: dict[str, str | int] = {
        "name": card.name,
        "index": card.index,
        "minor": card.minor,
        "pci_bus": card.pci_bus,
        "pci_device_id": model.pci_device_id,
        "memory_mib": model.memory_mib,
        "reserved_mib": model.reserved_mib,
        "baseline_mib": model.baseline_mib,
        "cc_major": model.capability[0],
        "cc_minor": model.capability[1],
        "temperature_c": model.temperature_c,
        "idle_power_mw": model.idle_power_mw,
        "power_limit_mw": model.power_limit_mw,
        "numa": card.numa,
        "pcie_switch": card.pcie_switch,
        "nvlink_group": card.nvlink_group,
        "nvlink_links": model.nvlink_links,
        "nvlink_switched": int(card.nvlink_switched),
        "nvlink_peers": " ".join(map(str, card.nvlink_peers)),
        "mig_capable": int(bool(model.mig_profiles)),
        "compute_slices": 7 if model.mig_profiles else 0,
        "gpu_slices": 7 if model.mig_profiles else 0,
        "sm_count": model.sm_count,
    }
    return State({key: str(value) for key, value in values.items()})


def instance_state(instance: SimInstance) -> State:
    """The state of a MIG instance that nobody uses."""
    model, profile = instance.parent.model, instance.profile
    values: dict[str, str | int] = {
        "name": instance.name,
        "parent": instance.parent.uuid,
        "profile": profile.name,
        "index": instance.index,
        "memory_mib": profile.memory_mib,
        "cc_major": model.capability[0],
        "cc_minor": model.capability[1],
        "gpu_instance": instance.gpu_instance,
        "compute_instance": 0,
        "compute_slices": profile.compute_slices,
        "gpu_slices": profile.compute_slices,
        "sm_count": profile.sm_count,
    }
    return State({key: str(value) for key, value in values.items()})


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step; anyone may read it, whatever the umask."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text)
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Creates a directory that anyone may enter and only its owner may change."""
    path.mkdir(parents=True)
    path.chmod(0o755)


def create_drop_box(path: Path) -> None:
    """The drop box of one device: slots that anyone may write and lock, in a directory only we may change.

    The slots are made ahead, so that what an earlier tenant leaves behind is at most the content of a file
    that nobody holds, which the next load overwrites: no other user's files, links or pipes.
    """
    make_directory(path)
    for slot in range(SLOTS):
        descriptor = os.open(path / f"slot-{slot:02d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC)
        os.fchmod(descriptor, 0o666)
        os.close(descriptor)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lets one host process at a time change the simulation."""
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a drop box slot."""

    pid: int
    """0 when it is in no PID namespace that is visible from here."""
    utilization: int
    memory_mib: int


def read_holders(box: Path, memory_mib: int) -> list[Holder]:
    """Who holds slots of this drop box.

    Values are clamped to 100 percent and memory_mib; hostile content is no error.
    """
    holders = []
    for slot in range(SLOTS):
        try:
            descriptor = os.open(
                box / f"slot-{slot:02d}",
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY,
            )
        except OSError:
            continue
        try:
            holder = _read_holder(descriptor, memory_mib)
        except OSError:
            holder = None
        finally:
            os.close(descriptor)
        if holder is not None:
            holders.append(holder)
    return holders


def _read_holder(descriptor: int, memory_mib: int) -> Holder | None:
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    if kind != fcntl.F_WRLCK or pid < 0:
        return None
    amounts = {"utilization": 0, "memory_mib": 0}
    for line in os.pread(descriptor, 255, 0).decode("ascii", "replace").splitlines():
        key, _, value = line.partition(" ")
        if key in amounts and value.isascii() and value.isdigit():
            amounts[key] = int(value)
    return Holder(pid, min(100, amounts["utilization"]), min(memory_mib, amounts["memory_mib"]))


def create_files(root: Path, cards: tuple[SimDevice, ...], driver: str) -> None:
    """The state of a new simulation, all but the marker."""
    make_directory(root / "host")
    host = State({"driver": driver, "cuda": str(_CUDA), "hang": "0", "mismatch": "0"})
    write_text(root / "host" / "state", host.text())
    make_directory(root / "devices")
    make_directory(root / "dropbox")
    for card in cards:
        create_device(root, card.uuid, card_state(card))


def create_device(root: Path, uuid: str, state: State) -> None:
    """State and drop box of one device."""
    create_drop_box(root / "dropbox" / uuid)
    make_directory(root / "devices" / uuid)
    write_text(root / "devices" / uuid / "state", state.text())


def remove_files(root: Path) -> None:
    """Removes what create made; the marker last, so that an interrupted removal can be repeated."""
    for name in _OWN_ENTRIES:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    (root / MARKER).unlink(missing_ok=True)
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
