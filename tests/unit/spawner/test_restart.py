"""A restart of the hub loses nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from gpuspawner.adapters import runlock
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.spawner import hubrun
from gpuspawner.spawner.spawner import _mounted_home
from support.fake_docker import FakeDocker
from support.mock_hub import LedgerOutage, MockHub, reached

Make = Callable[..., MockHub]
GPU = {"gpus": 1}


async def test_state_round_trip(hub: MockHub) -> None:
    spawner = await hub.start(GPU)
    state = spawner.get_state()
    assert state == {
        "object_id": spawner.object_id,
        "object_name": "jupyter-ada",
        "lease_id": spawner.lease_id,
        "home": {"kind": "volume", "source": spawner.home.source},
    }
    await hub.restart()
    other = hub.spawner()
    assert other is not spawner
    assert other.get_state() == state
    assert other.home == spawner.home


async def test_clear_state_keeps_what_the_stop_needs(hub: MockHub) -> None:
    """JupyterHub clears the state before the hook that lets go of the lease."""
    spawner = await hub.start(GPU)
    lease_id, home = spawner.lease_id, spawner.home
    spawner.clear_state()
    assert spawner.api_token == ""
    assert (spawner.lease_id, spawner.home) == (lease_id, home)
    await spawner.run_post_stop_hook()
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]


async def test_state_after_a_stop_is_the_home_alone(hub: MockHub) -> None:
    spawner = await hub.start(GPU)
    await hub.stop()
    assert spawner.orm_spawner.state == {"home": {"kind": "volume", "source": spawner.home.source}}


async def test_servers_go_on(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start(GPU)
    (before,) = hub.live_leases()
    await hub.restart()
    assert await hub.check() is None
    (after,) = hub.live_leases()
    spawner = hub.spawner()
    assert spawner.ready
    assert after.state == before.state
    assert after.claimant != before.claimant
    assert after.claimant == spawner.run.claim()
    await hub.stop()
    assert docker.containers == {}
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]


async def killed_before_saving(hub: MockHub, docker: FakeDocker, options: Any) -> tuple[Any, Home]:
    """A hub that is killed after ``docker start`` and before it saved anything of it."""
    gate = docker.hang("after start")
    task = hub.begin(options)
    await reached(gate.reached)
    spawner = hub.spawner()
    lease_id, home = spawner.lease_id, spawner.home
    state, server = dict(spawner.orm_spawner.state or {}), spawner.orm_spawner.server
    gate.open()
    await asyncio.wait([task])
    spawner.orm_spawner.state = state
    server.ip, server.port = "127.0.0.1", 43210
    hub.db.commit()
    await hub.restart()
    return lease_id, home


async def test_hub_killed_before_it_saved(hub: MockHub, docker: FakeDocker) -> None:
    lease_id, home = await killed_before_saving(hub, docker, GPU)
    assert hub.spawner().lease_id is None
    assert await hub.check() is None
    spawner = hub.spawner()
    assert (spawner.lease_id, spawner.home) == (lease_id, home)
    assert spawner.server.port == 32768
    await hub.stop()
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]
    assert spawner.orm_spawner.state == {"home": {"kind": "volume", "source": home.source}}


async def test_hub_killed_before_it_saved_and_no_ledger(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage
) -> None:
    outage.everywhere()
    lease_id, home = await killed_before_saving(hub, docker, {})
    assert lease_id is None
    assert await hub.check() is None
    assert hub.spawner().home == home
    await hub.stop()
    await hub.start({})
    assert hub.spawner().home == home


async def test_server_ended_while_the_hub_was_away(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start(GPU)
    await hub.restart()
    docker.end("jupyter-ada", 1)
    await hub.check()
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]
    assert [c.name for c in docker.containers.values()] == ["jupyter-ada"]  # the agent reads its last words


async def test_lease_that_is_over_is_not_taken_over(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start(GPU)
    spawner.allocator.request_release(spawner.lease_id, reason="quarantined", actor="agent")
    await hub.restart()
    assert await hub.check() is None
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]


@pytest.mark.parametrize("labels", [None, {}])
async def test_container_of_another_tool(hub: MockHub, docker: FakeDocker, labels: Any) -> None:
    """``poll`` never fails, whatever the container of that name is: the Hub would forget the server."""
    await hub.start({})
    container = docker.named("jupyter-ada")
    inspect = docker.inspect_container
    container.settings["host_config"]["Mounts"] = [
        {"Type": "tmpfs", "Target": "/home/jovyan", "Source": ""},
        {"Type": "bind", "Target": "/data", "Source": "/data"},
    ]

    def without_labels(name: str) -> dict[str, Any]:
        found = inspect(name)
        found["Config"]["Labels"] = labels
        return found

    docker.inspect_container = without_labels  # type: ignore[method-assign]
    await hub.restart()
    spawner = hub.spawner()
    spawner.load_state({})
    spawner.home = None
    assert await spawner.poll() is None
    assert (spawner.lease_id, spawner.home) == (None, None)


@pytest.mark.parametrize(
    ("mount", "home"),
    [
        (
            {"Type": "bind", "Destination": "/home/jovyan", "Source": "/homes/1"},
            Home("ada", HomeKind.BIND, "/homes/1"),
        ),
        (
            {"Type": "volume", "Destination": "/home/jovyan", "Source": "/var/…", "Name": "v1"},
            Home("ada", HomeKind.VOLUME, "v1"),
        ),
        ({"Type": "volume", "Destination": "/data", "Source": "/var/…", "Name": "v1"}, None),
    ],
)
def test_home_is_read_from_the_container(mount: dict[str, str], home: Home | None) -> None:
    assert _mounted_home({"Mounts": [mount]}, "ada", "/home/jovyan") == home
    assert _mounted_home({}, "ada", "/home/jovyan") is None


async def test_poll_vouches_once(hub: MockHub) -> None:
    await hub.start(GPU)
    await hub.restart()
    spawner = hub.spawner()
    calls = []
    spawner._activate = _counting(spawner._activate, calls)
    for _ in range(3):
        assert await spawner.poll() is None
    assert len(calls) == 1


def _counting(function: Any, calls: list[Any]) -> Any:
    async def counted(*args: Any) -> Any:
        calls.append(args)
        return await function(*args)

    return counted


async def test_claim_is_not_waited_for_on_the_event_loop(
    hub: MockHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that another process looks at is waited for: 2 s for each of 30 servers at a hub's start."""
    await hub.start(GPU)
    await hub.restart()
    threads = []
    lock = hubrun.RunLock

    class Noted(lock):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any) -> None:
            threads.append(threading.current_thread())
            super().__init__(*args)

    monkeypatch.setattr(hubrun, "RunLock", Noted)
    assert await hub.check() is None
    assert threads
    assert threading.main_thread() not in threads


async def test_two_hubs_on_one_ledger(
    hub: MockHub, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.start(GPU)
    (before,) = hub.live_leases()
    await hub.restart()
    monkeypatch.setattr(runlock, "_PATIENCE_SECONDS", 0)
    other = runlock.RunLock(hub.ledger_path.with_name("ledger.sqlite.hub.lock"), "hub")
    assert await hub.check() is None  # it runs, and whose it is does not change
    assert hub.live_leases() == (before,)
    other.release()


async def test_one_run_for_all_spawners(make: Make) -> None:
    hub = make()
    first, second = hub.spawner("ada"), hub.spawner("bob")
    assert first.run is second.run
    assert first.run.claim() == second.run.claim()
    assert first.run.known_ledger_id == ""
    assert first.run.ledger_id() == second.run.known_ledger_id != ""


async def test_progress(hub: MockHub, docker: FakeDocker) -> None:
    spawner = hub.spawner()
    events = []
    creating = asyncio.Event()

    async def read() -> None:
        async for event in spawner.progress():
            events.append(event)
            if event["progress"] == 30:
                creating.set()

    reading = asyncio.ensure_future(read())  # before the start: authentication may take its time
    await asyncio.sleep(0)
    gate = docker.hang("create_container")
    task = hub.begin(GPU)
    await reached(gate.reached)
    await asyncio.wait_for(creating.wait(), 5)
    gate.open()
    await asyncio.wait([task, reading])
    assert events[0] == {"progress": 0, "message": "Waiting"}
    assert events[-2:] == [
        {"progress": 30, "message": "Creating your server"},
        {"progress": 80, "message": "Waiting for JupyterLab to answer"},
    ]
