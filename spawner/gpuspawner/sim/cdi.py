"""The CDI spec by which a container engine puts the granted simulated devices into a container."""

import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from gpuspawner.sim.errors import SimError
from gpuspawner.sim.layout import SimDevice, SimInstance
from gpuspawner.sim.native import LIBRARY, NativeFiles

KIND = "nvidia.com/gpu"
DEFAULT_CDI_DIR = Path("/var/run/cdi")
CONTAINER_ROOT = "/run/gpuspawner-sim"


def spec_path(cdi_dir: Path, instance: str) -> Path:
    """Where the spec of the simulation with this instance name lies."""
    return cdi_dir / f"gpuspawner-sim-{instance}.json"


def library_directory(machine: str | None = None) -> str:
    """Debian's multiarch directory for this machine's architecture.

    Raises:
        SimError: an architecture other than x86_64 and aarch64.
    """
    machine = machine or platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise SimError(f"simulated GPUs run on x86_64 and aarch64, not on {machine}")
    return f"/usr/lib/{machine}-linux-gnu"


def build_spec(
    root: Path, files: NativeFiles, cards: tuple[SimDevice, ...], instances: tuple[SimInstance, ...]
) -> dict[str, Any]:
    """The spec: one device per card by its UUID; a card in MIG mode is offered by its instances only.

    Device nodes are /dev/null under the names of the real ones: harmless, but there to be found.
    A container gets the state of its devices read-only, their drop boxes read-write, nothing of the others.
    """
    divided = {instance.parent.uuid for instance in instances}
    devices = [_device(card.uuid, root, card, None) for card in cards if card.uuid not in divided]
    devices += [_device(instance.uuid, root, instance.parent, instance.uuid) for instance in instances]
    common = [
        _mount(files.library, f"{library_directory()}/{LIBRARY}", executable=True),
        _mount(files.smi, "/usr/bin/nvidia-smi", executable=True),
        _mount(files.load, "/usr/bin/gpu-load", executable=True),
        _mount(root / "host", f"{CONTAINER_ROOT}/host"),
    ]
    nodes = [_null_node("/dev/nvidiactl"), _null_node("/dev/nvidia-uvm")]
    return {
        "cdiVersion": "0.5.0",
        "kind": KIND,
        "containerEdits": {"deviceNodes": nodes, "mounts": common},
        "devices": devices,
    }


def _device(name: str, root: Path, card: SimDevice, instance: str | None) -> dict[str, Any]:
    mounts = [_state(root, card.uuid)]
    if instance is not None:
        mounts.append(_state(root, instance))
    box = instance or card.uuid
    mounts.append(_mount(root / "dropbox" / box, f"{CONTAINER_ROOT}/dropbox/{box}", writable=True))
    return {
        "name": name,
        "containerEdits": {"deviceNodes": [_null_node(f"/dev/nvidia{card.minor}")], "mounts": mounts},
    }


def _state(root: Path, uuid: str) -> dict[str, Any]:
    return _mount(root / "devices" / uuid, f"{CONTAINER_ROOT}/devices/{uuid}")


def _mount(host: Path, container: str, *, writable: bool = False, executable: bool = False) -> dict[str, Any]:
    options = ["rw" if writable else "ro", "nosuid", "nodev", "bind"]
    if not executable:
        options.append("noexec")
    return {"hostPath": str(host), "containerPath": container, "options": options}


def _null_node(path: str) -> dict[str, Any]:
    return {"path": path, "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}


def write_spec(path: Path, spec: dict[str, Any]) -> None:
    """Puts the spec in place in one step; the engine never reads half a file.

    Raises:
        SimError: the directory cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(prefix=".gpuspawner-sim-", dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            json.dump(spec, file, indent=1)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except OSError as error:
        raise SimError(
            f"cannot write the CDI spec {path}: {error.strerror}; run as root or give --cdi-dir"
        ) from error
