"""The whole of what a container is made of, compared as one value."""

from __future__ import annotations

from copy import deepcopy

from gpuspawner.core.container import (
    Size,
    build_device_requests,
    build_gpu_environment,
    build_host_config,
    build_labels,
    build_mounts,
    merge_host_config,
)
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.core.sharing import Mount
from support.build import GIB, lease

SIZE = Size(pids=4096, shm_bytes=GIB)
VOLUME = Home("ada", HomeKind.VOLUME, "home-1")
BIND = Home("ada", HomeKind.BIND, "/homes/ada")
SAFE = {
    "auto_remove": False,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "init": True,
    "pids_limit": 4096,
    "shm_size": GIB,
}


def test_with_two_cards_and_a_volume() -> None:
    assert build_host_config(SIZE, ("GPU-a", "GPU-b"), VOLUME, "/home/jovyan") == SAFE | {
        "device_requests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]}],
        "mounts": [
            {
                "Target": "/home/jovyan",
                "Source": "home-1",
                "Type": "volume",
                "VolumeOptions": {"Labels": {"gpuspawner.owner": "ada"}},
            }
        ],
    }


def test_without_a_card_and_with_a_directory() -> None:
    assert build_host_config(SIZE, (), BIND, "/home/jovyan") == SAFE | {
        "device_requests": [],
        "mounts": [
            {
                "Target": "/home/jovyan",
                "Source": "/homes/ada",
                "Type": "bind",
                "BindOptions": {"CreateMountpoint": False},
            }
        ],
    }


def test_directories_of_courses() -> None:
    """Docker must invent none of them either."""
    mounts = (Mount("/srv/notes", "/notes"), Mount("/srv/in", "/in", read_only=False))
    assert build_mounts(BIND, "/home/jovyan", mounts) == [
        *build_mounts(BIND, "/home/jovyan", ()),
        {
            "Target": "/notes",
            "Source": "/srv/notes",
            "Type": "bind",
            "ReadOnly": True,
            "BindOptions": {"CreateMountpoint": False},
        },
        {
            "Target": "/in",
            "Source": "/srv/in",
            "Type": "bind",
            "ReadOnly": False,
            "BindOptions": {"CreateMountpoint": False},
        },
    ]


def test_no_request_and_never_every_card() -> None:
    assert build_device_requests(()) == []


def test_labels() -> None:
    assert build_labels("ledger9", "ada", "s", lease(devices=("GPU-a", "GPU-b"))) == {
        "gpuspawner.ledger": "ledger9",
        "gpuspawner.lease": "lease1",
        "gpuspawner.owner": "ada",
        "gpuspawner.server": "s",
        "gpuspawner.devices": "GPU-a,GPU-b",
    }
    bare = build_labels("", "ada", "", None)
    assert (bare["gpuspawner.lease"], bare["gpuspawner.devices"]) == ("", "")


def test_environment() -> None:
    assert build_gpu_environment(("GPU-a", "GPU-b")) == {
        "NVIDIA_VISIBLE_DEVICES": "void",
        "GPUSPAWNER_DEVICES": "GPU-a,GPU-b",
    }
    assert build_gpu_environment(())["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_the_sites_own_settings_are_added() -> None:
    ours = build_host_config(SIZE, ("GPU-a",), VOLUME, "/home/jovyan")
    site = {
        "mounts": [{"Target": "/data", "Source": "/srv/data", "Type": "bind"}],
        "shm_size": 2 * GIB,
        "ulimits": {"nofile": 1},
    }
    before = deepcopy((ours, site))
    merged = merge_host_config(ours, site)
    assert merged == ours | {
        "mounts": [*ours["mounts"], *site["mounts"]],
        "shm_size": 2 * GIB,
        "ulimits": {"nofile": 1},
    }
    assert merge_host_config({"sysctls": {"a": 1, "b": 2}}, {"sysctls": {"b": 3}}) == {
        "sysctls": {"a": 1, "b": 3}
    }
    assert (ours, site) == before
