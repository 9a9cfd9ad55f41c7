"""The whole container, and what a site may add to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.types import Mount
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.claims import Actor, ActorKind
from support.fake_docker import FakeDocker, image_id
from support.mock_hub import MockHub
from support.ssh import KEYS

Make = Callable[..., MockHub]
OWN = "NVIDIA_VISIBLE_DEVICES", "GPUSPAWNER_DEVICES"


async def created(
    hub: MockHub, docker: FakeDocker, options: Any, after: Any = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The create call of a start without the Hub's own environment, and what it should be."""
    spawner = await hub.start(options)
    if after:
        after()
    call = dict(docker.named("jupyter-ada").settings)
    environment = call["environment"]
    assert environment["JUPYTERHUB_USER"] == "ada"
    call["environment"] = {key: environment[key] for key in OWN}
    leases = hub.live_leases()
    return call, container(
        list(leases[0].devices) if leases else [],
        lease=leases[0].id if leases else "",
        ledger=spawner.run.known_ledger_id,
        home=spawner.home.source,
    )


def cdi_request(*devices: str) -> dict[str, Any]:
    ids = [f"nvidia.com/gpu={uuid}" for uuid in devices]
    return {"Driver": "cdi", "Count": 0, "DeviceIDs": ids, "Capabilities": [], "Options": {}}


def container(devices: list[str], *, lease: str, ledger: str, home: str) -> dict[str, Any]:
    host_config: dict[str, Any] = {
        "NetworkMode": "bridge",
        "Memory": 2 * 1024**3,
        "CpuPeriod": 100_000,
        "CpuQuota": 150_000,
        "PidsLimit": 512,
        "ShmSize": 256 * 1024**2,
        "Init": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Binds": [],
        "Links": [],
        "PortBindings": {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "Mounts": [
            {
                "Type": "volume",
                "Source": home,
                "Target": "/home/jovyan",
                "VolumeOptions": {"Labels": {"gpuspawner.owner": "ada"}},
            }
        ],
    }
    host_config["DeviceRequests"] = [cdi_request(*devices)] if devices else []
    return {
        "image": image_id("demo/base:1"),
        "name": "jupyter-ada",
        "command": ["start"],
        "user": "1234:2345",
        "volumes": [],
        "ports": {"8888/tcp": None},
        "environment": {"NVIDIA_VISIBLE_DEVICES": "void", "GPUSPAWNER_DEVICES": ",".join(devices)},
        "labels": {
            "gpuspawner.ledger": ledger,
            "gpuspawner.lease": lease,
            "gpuspawner.owner": "ada",
            "gpuspawner.server": "",
            "gpuspawner.devices": ",".join(devices),
        },
        "host_config": host_config,
    }


SIZE = {
    "mem_limit": "2G",
    "cpu_limit": 1.5,
    "pids_limit": 512,
    "shm_size": "256M",
    "uid": 1234,
    "gid": 2345,
}


@pytest.mark.parametrize(("gpus", "devices"), [(0, []), (1, ["GPU-0"]), (2, ["GPU-0", "GPU-1"])])
async def test_whole_container(make: Make, docker: FakeDocker, gpus: int, devices: list[str]) -> None:
    hub = make(gpus_per_server=2, gpus_per_person=2, **SIZE)
    call, expected = await created(hub, docker, {"gpus": gpus})
    assert call == expected
    assert call["labels"]["gpuspawner.devices"].split(",") == (devices or [""])
    assert len(call["labels"]["gpuspawner.lease"]) == 16


async def test_whole_container_without_ledger(make: Make, docker: FakeDocker, outage: Any) -> None:
    hub = make(**SIZE)
    outage.everywhere()
    call, expected = await created(hub, docker, {}, outage.over)
    assert call == expected
    assert call["labels"]["gpuspawner.lease"] == call["labels"]["gpuspawner.ledger"] == ""
    assert hub.leases() == []


def as_dict(value: Any) -> Any:
    return value


def as_callable(value: Any) -> Any:
    return lambda spawner: value


def as_async(value: Any) -> Any:
    async def give(spawner: Any) -> Any:
        return value

    return give


@pytest.mark.parametrize("shape", [as_dict, as_callable, as_async])
async def test_site_adds_and_overrides_nothing(make: Make, docker: FakeDocker, shape: Any) -> None:
    data = {"Type": "bind", "Source": "/data/{username}", "Target": "/data"}
    site_host = {
        "mounts": [data],
        "cap_drop": ["NET_RAW"],
        "security_opt": ["apparmor=site"],
        "auto_remove": True,
        "init": False,
        "pids_limit": 1,
        "sysctls": {"net.core.somaxconn": "5"},
    }
    site_create = {
        "labels": {"site": "{username}", "gpuspawner.owner": "eve"},
        "user": "root",
        "hostname": "gpu-host",
        "image": "demo/unchecked:1",
        "environment": {"NVIDIA_VISIBLE_DEVICES": "all", "SITE": "1"},
    }
    hub = make(extra_host_config=shape(site_host), extra_create_kwargs=shape(site_create), **SIZE)
    spawner = await hub.start({"gpus": 1})
    call = docker.named("jupyter-ada").settings
    host = call["host_config"]
    assert host["Mounts"][0] == {**data, "Source": "/data/ada"}
    assert host["Mounts"][1]["Source"] == spawner.home.source
    assert host["CapDrop"] == ["NET_RAW", "ALL"]
    assert host["SecurityOpt"] == ["apparmor=site", "no-new-privileges"]
    assert (host.get("AutoRemove"), host["Init"], host["PidsLimit"]) == (None, True, 512)
    assert host["Sysctls"] == {"net.core.somaxconn": "5"}
    assert host["DeviceRequests"] == [cdi_request("GPU-0")]
    assert call["labels"]["site"] == "ada"
    assert call["labels"]["gpuspawner.owner"] == "ada"
    assert (call["user"], call["hostname"]) == ("1234:2345", "gpu-host")
    assert call["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert call["image"] == image_id("demo/base:1")
    assert call["environment"]["SITE"] == "1"
    assert call["environment"]["JUPYTERHUB_USER"] == "ada"
    # The site's own settings are as they were: the next start adds to them and not to this result.
    again = spawner.extra_host_config
    assert again == site_host if shape is as_dict else callable(again)
    assert site_host["mounts"] == [data]


async def test_site_mounts_and_volumes(make: Make, docker: FakeDocker) -> None:
    hub = make(
        mounts=[{"source": "shared-{username}", "target": "/shared", "type": "volume"}],
        volumes={"/srv/{username}": "/srv/own"},
        read_only_volumes={"/datasets": "/datasets"},
    )
    spawner = await hub.start({})
    call = docker.named("jupyter-ada").settings
    shared = Mount(source="shared-ada", target="/shared", type="volume")
    assert call["host_config"]["Mounts"][0] == shared
    assert call["host_config"]["Mounts"][1]["Source"] == spawner.home.source
    assert sorted(call["host_config"]["Binds"]) == ["/datasets:/datasets:ro", "/srv/ada:/srv/own:rw"]
    assert call["volumes"] == ["/datasets", "/srv/own"]


async def test_environment_of_site_does_not_open_cards(make: Make, docker: FakeDocker) -> None:
    hub = make(environment={"NVIDIA_VISIBLE_DEVICES": "all", "GPUSPAWNER_DEVICES": "GPU-9"})
    await hub.start({})
    environment = docker.named("jupyter-ada").settings["environment"]
    assert {key: environment[key] for key in OWN} == {OWN[0]: "void", OWN[1]: ""}


async def test_names_are_no_templates(make: Make, docker: FakeDocker) -> None:
    hub = make(mounts=[{"source": "{raw_username}", "target": "/by-name", "type": "volume"}])
    await hub.start({}, name="{prefix}")
    call = next(iter(docker.containers.values())).settings
    assert call["labels"]["gpuspawner.owner"] == "{prefix}"
    assert call["host_config"]["Mounts"][0]["Source"] == "{prefix}"
    assert call["host_config"]["Mounts"][1]["VolumeOptions"]["Labels"] == {"gpuspawner.owner": "{prefix}"}


async def test_image_of_the_catalogue(make: Make, docker: FakeDocker) -> None:
    hub = make()
    await hub.start({"image": "torch"})
    settings = docker.named("jupyter-ada").settings
    assert settings["image"] == image_id("demo/torch:1")
    assert settings["environment"]["JUPYTER_IMAGE_SPEC"] == "demo/torch:1"
    assert [lease.image for lease in hub.live_leases()] == ["demo/torch:1"]


async def test_only_one_image(make: Make, docker: FakeDocker) -> None:
    hub = make(allowed_images={})
    await hub.start({})
    assert docker.named("jupyter-ada").settings["image"] == image_id("demo/base:1")


async def test_named_server(make: Make, docker: FakeDocker) -> None:
    hub = make(gpus_per_person=2)
    await hub.start({"gpus": 1})
    await hub.start({"gpus": 1}, server="lab")
    assert docker.running == ["jupyter-ada", "jupyter-ada--lab"]
    first, second = docker.named("jupyter-ada"), docker.named("jupyter-ada--lab")
    assert second.labels["gpuspawner.server"] == "lab"
    assert first.devices != second.devices
    homes = [c.settings["host_config"]["Mounts"][0]["Source"] for c in (first, second)]
    assert homes[0] == homes[1]


async def test_what_its_ssh_server_reads_is_mounted_and_cannot_be_written(
    make: Make, docker: FakeDocker, ledger: Ledger, tmp_path: Path
) -> None:
    hub = make(ssh_dir=str(tmp_path / "ssh"), **SIZE)
    SshKeys(ledger).add("ada", KEYS[0], actor=Actor("ada", ActorKind.PERSON))
    await hub.start({"gpus": 0})
    mount = docker.named("jupyter-ada").settings["host_config"]["Mounts"][-1]
    assert (mount["Target"], mount["ReadOnly"], mount["Type"]) == ("/opt/gpuspawner/ssh", True, "bind")
    folder = Path(mount["Source"])
    assert folder.parent == tmp_path / "ssh" / "people"
    assert (folder / "authorized_keys").read_text() == f"{KEYS[0]}\n"
    assert "PRIVATE KEY" in (folder / "host_key").read_text()


@pytest.mark.parametrize("gone", ["ledger", "folder"])
async def test_a_server_starts_also_where_it_cannot_be_reached_by_ssh(
    make: Make, docker: FakeDocker, outage: Any, tmp_path: Path, gone: str
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    hub = make(ssh_dir=str(blocked / "ssh" if gone == "folder" else tmp_path / "ssh"), **SIZE)
    if gone == "ledger":
        outage.everywhere()
    await hub.start({"gpus": 0})
    (mount,) = docker.named("jupyter-ada").settings["host_config"]["Mounts"]
    assert mount["Target"] == "/home/jovyan"
