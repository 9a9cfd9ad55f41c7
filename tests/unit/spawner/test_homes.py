"""A person keeps their home, whatever is away when they start."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.homes import create_home_directory, name_home
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.model import Home, HomeKind
from jupyterhub.spawner import SpawnException
from support.build import NOW
from support.fake_docker import FakeDocker
from support.mock_hub import LedgerOutage, MockHub

Make = Callable[..., MockHub]


def mounted(docker: FakeDocker, name: str = "jupyter-ada") -> dict[str, Any]:
    (mount,) = docker.named(name).settings["host_config"]["Mounts"]
    return dict(mount)


def mode(directory: Path) -> int | None:
    return directory.stat().st_mode & 0o777 if directory.is_dir() else None


def remove(directory: Path) -> None:
    directory.rmdir()


async def test_home_survives_stop_start_and_another_image(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start({"image": "base"})
    home = mounted(docker)["Source"]
    await hub.stop()
    await hub.start({"image": "torch"})
    assert mounted(docker)["Source"] == home
    assert "ada" not in home
    known = hub.home_in_ledger()
    assert known == Home("ada", HomeKind.VOLUME, home)


async def test_home_made_while_the_ledger_is_away(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage
) -> None:
    outage.everywhere()
    await hub.start({})
    home = mounted(docker)["Source"]
    await hub.stop()
    await hub.start({})
    assert mounted(docker)["Source"] == home
    await hub.stop()
    await hub.restart()
    await hub.start({}, server="lab")
    assert mounted(docker, "jupyter-ada--lab")["Source"] == home
    outage.over()
    assert hub.home_in_ledger() is None
    await hub.start({"gpus": 1})
    assert mounted(docker)["Source"] == home
    assert hub.home_in_ledger() == Home("ada", HomeKind.VOLUME, home)


async def test_home_of_a_first_start_that_failed(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage
) -> None:
    outage.everywhere()
    docker.fail("start")
    with pytest.raises(SpawnException):
        await hub.start({})
    docker.recover()
    await hub.restart()
    spawner = hub.spawner()
    home = spawner.home
    assert home is not None
    await hub.start({})
    assert mounted(docker)["Source"] == home.source


async def test_two_first_servers_at_once_without_ledger(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage
) -> None:
    outage.everywhere()
    await asyncio.gather(hub.start({}), hub.start({}, server="lab"))
    assert mounted(docker) == mounted(docker, "jupyter-ada--lab")


async def test_people_have_homes_of_their_own(hub: MockHub, docker: FakeDocker, outage: LedgerOutage) -> None:
    outage.everywhere()
    await hub.start({})
    await hub.start({}, name="bob")
    assert mounted(docker)["Source"] != mounted(docker, "jupyter-bob")["Source"]


async def test_known_home_while_the_ledger_is_away(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage
) -> None:
    await hub.start({})
    home = mounted(docker)["Source"]
    await hub.stop()
    outage.everywhere()
    await hub.restart()
    await hub.start({})
    assert mounted(docker)["Source"] == home


async def test_ledger_decides(make: Make, docker: FakeDocker, ledger: Any, tmp_path: Path) -> None:
    hub = make(home_kind="bind", home_base=str(tmp_path / "homes"), uid=os.getuid() or 1000)
    with ledger.write() as unit:
        unit.put_home(Home("ada", HomeKind.VOLUME, "by-hand"), NOW)
    await hub.start({})
    assert mounted(docker)["Source"] == "by-hand"
    assert mode(tmp_path / "homes") is None
    await hub.stop()
    hub.spawner().orm_spawner.state = {"home": {"kind": "volume", "source": "remembered"}}
    hub.db.commit()
    await hub.restart()
    await hub.start({})
    assert mounted(docker)["Source"] == "by-hand"


async def test_directory(make: Make, docker: FakeDocker, tmp_path: Path) -> None:
    hub = make(home_kind="bind", home_base=str(tmp_path / "homes"), uid=os.getuid() or 1000)
    await hub.start({})
    mount = mounted(docker)
    home = Path(mount["Source"])
    assert mount == {
        "Type": "bind",
        "Source": str(home),
        "Target": "/home/jovyan",
        "BindOptions": {"CreateMountpoint": False},
    }
    assert home.parent == tmp_path / "homes"
    assert mode(home) == 0o700
    await hub.stop()
    remove(home)
    await hub.start({})
    assert mode(home) is None  # a disk that is not mounted must not look like an empty home


async def test_directory_cannot_be_made(make: Make, docker: FakeDocker, tmp_path: Path) -> None:
    base = tmp_path / "homes"
    base.write_text("a file")
    hub = make(home_kind="bind", home_base=str(base), uid=os.getuid() or 1000)
    with pytest.raises(SpawnException) as refused:
        await hub.start({"gpus": 1})
    assert f"The home directory {base}" in refused.value.jupyterhub_message
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]
    base.unlink()
    spawner = await hub.start({})  # and it is made now, not remembered as made
    assert mode(Path(spawner.home.source)) == 0o700


def test_names_say_nothing_of_the_person(tmp_path: Path) -> None:
    # A name that chance cannot spell: what a home is called is hexadecimal.
    homes = {name_home("zoe", HomeKind.VOLUME, tmp_path).source for _ in range(20)}
    assert len(homes) == 20
    assert not any("zoe" in home for home in homes)


def test_directory_is_not_made_twice(tmp_path: Path) -> None:
    home = name_home("ada", HomeKind.BIND, tmp_path)
    create_home_directory(home, uid=os.getuid(), gid=os.getgid())
    with pytest.raises(SettingsError, match="File exists"):
        create_home_directory(home, uid=os.getuid(), gid=os.getgid())
