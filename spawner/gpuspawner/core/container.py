"""What a person's container is made of: one pure function builds the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .model import Home, HomeKind, Lease
from .sharing import Mount

LABEL_LEDGER = "gpuspawner.ledger"
"""Id of the ledger that the lease is in: two installations on one Engine leave each other alone."""
LABEL_LEASE = "gpuspawner.lease"
LABEL_OWNER = "gpuspawner.owner"
LABEL_SERVER = "gpuspawner.server"
LABEL_DEVICES = "gpuspawner.devices"
"""UUIDs, separated by commas; empty for a server without a GPU."""

SESSION_URL = "GPUSPAWNER_SESSION_URL"
"""Variable in the container: where its server asks the controller about its own session."""
SSH_TARGET = "/opt/gpuspawner/ssh"
"""Where a container has what its SSH server reads."""
CDI_KIND = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Size:
    """What a container may use of the host; the memory and CPU limits are DockerSpawner's own traits."""

    pids: int
    """Processes and threads."""
    shm_bytes: int
    """Shared memory, through which PyTorch's DataLoader workers pass tensors."""


def build_labels(ledger_id: str, owner: str, server: str, lease: Lease | None) -> dict[str, str]:
    """Labels by which the agent finds the container again; a lease of None is a start without the ledger."""
    return {
        LABEL_LEDGER: ledger_id,
        LABEL_LEASE: lease.id if lease else "",
        LABEL_OWNER: owner,
        LABEL_SERVER: server,
        LABEL_DEVICES: ",".join(lease.devices) if lease else "",
    }


def build_device_requests(devices: tuple[str, ...]) -> list[dict[str, object]]:
    """Docker device requests that inject exactly these devices by CDI; none for an empty tuple."""
    if not devices:
        return []
    return [{"Driver": "cdi", "DeviceIDs": [f"{CDI_KIND}={uuid}" for uuid in devices]}]


def build_gpu_environment(devices: tuple[str, ...]) -> dict[str, str]:
    """Environment that keeps the nvidia runtime and hook, wherever they are installed, from adding cards.

    ``void`` tells them to do nothing; CDI then injects what was leased. It is set for every server, since an
    image may bake ``NVIDIA_VISIBLE_DEVICES=all``.
    """
    return {"NVIDIA_VISIBLE_DEVICES": "void", "GPUSPAWNER_DEVICES": ",".join(devices)}


def build_mounts(home: Home, home_dir: str, mounts: Sequence[Mount]) -> list[dict[str, object]]:
    """Docker mounts of the home, and of directories of the host, of which none is made in passing."""
    own: dict[str, object] = {"Target": home_dir, "Source": home.source, "Type": home.kind.value}
    if home.kind is HomeKind.BIND:
        # Docker must never invent an empty home where a disk is not mounted.
        own["BindOptions"] = {"CreateMountpoint": False}
    else:
        own["VolumeOptions"] = {"Labels": {LABEL_OWNER: home.owner}}
    others: list[dict[str, object]] = [
        {
            "Target": mount.target,
            "Source": mount.path,
            "Type": "bind",
            "ReadOnly": mount.read_only,
            "BindOptions": {"CreateMountpoint": False},
        }
        for mount in mounts
    ]
    return [own, *others]


def build_host_config(
    size: Size, devices: tuple[str, ...], home: Home, home_dir: str, mounts: Sequence[Mount] = ()
) -> dict[str, object]:
    """Keyword arguments of docker-py's ``create_host_config``.

    Args:
        size: Limits.
        devices: UUIDs of the lease.
        home: Where the person's files are.
        home_dir: Where the image expects them.
        mounts: What courses have for this server.
    """
    return {
        "auto_remove": False,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "pids_limit": size.pids,
        "shm_size": size.shm_bytes,
        "device_requests": build_device_requests(devices),
        "mounts": build_mounts(home, home_dir, mounts),
    }


def merge_host_config(ours: dict[str, object], site: dict[str, object]) -> dict[str, object]:
    """Add the site's ``extra_host_config`` to ours: lists are joined, mappings merged, other values replaced.

    DockerSpawner alone would replace the lists, and a site that adds one mount would lose the home and the
    device requests.
    """
    merged = dict(ours)
    for key, theirs in site.items():
        mine = merged.get(key)
        if isinstance(mine, list) and isinstance(theirs, list):
            merged[key] = [*mine, *theirs]
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            merged[key] = merge_host_config(mine, theirs)
        else:
            merged[key] = theirs
    return merged
