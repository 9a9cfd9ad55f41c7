"""Each hook exists because of a trap: first stock DockerSpawner falls in, then GPUSpawner does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dockerspawner import DockerSpawner
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.spawner import GPUSpawner
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import format_exception
from support.fake_docker import FakeDocker, api_error, timed_out
from support.mock_hub import Clock, MockHub, reached
from support.ssh import KEYS
from tornado.web import HTTPError

Make = Callable[..., MockHub]
STOCK = {"spawner_class": DockerSpawner, "remove": True}


async def test_500_is_not_gone_stock(make: Make, docker: FakeDocker) -> None:
    spawner = await make(**STOCK).start()
    docker.fail("inspect_container")
    assert await spawner.poll() == 0
    assert spawner.object_id == ""


async def test_500_is_not_gone(hub: MockHub, docker: FakeDocker, clock: Clock) -> None:
    spawner = await hub.start()
    docker.fail("inspect_container")
    assert await spawner.poll() is None
    assert spawner.object_id == docker.named("jupyter-ada").id
    assert sum(clock.pauses) <= 3
    docker.recover()
    assert await spawner.poll() is None
    await hub.stop()
    assert docker.containers == {}


@pytest.mark.parametrize("error", [api_error(500, "oops"), timed_out()], ids=["500", "time-out"])
async def test_forgotten_at_restart_stock(make: Make, docker: FakeDocker, error: Exception) -> None:
    hub = make(**STOCK)
    await hub.start()
    await hub.restart()
    docker.fail("inspect_container", error, times=2)
    await hub.check()
    assert hub.user().spawners[""].server is None
    assert docker.running == ["jupyter-ada"]


@pytest.mark.parametrize("error", [api_error(500, "oops"), timed_out()], ids=["500", "time-out"])
async def test_forgotten_at_restart(hub: MockHub, docker: FakeDocker, error: Exception, clock: Clock) -> None:
    await hub.start({"gpus": 1})
    await hub.restart()
    docker.fail("inspect_container", error, times=5)
    assert await hub.check() is None
    assert sum(clock.pauses) > 3
    assert hub.user().spawners[""].ready
    assert hub.leases() == [("ada", "active", ("GPU-0",))]


async def test_patience_counts_the_waiting_for_answers(
    hub: MockHub, docker: FakeDocker, clock: Clock
) -> None:
    """Calls that take a minute to fail must not add up to half an hour of starting hub."""
    await hub.start()
    await hub.restart()
    inspect = docker.inspect_container
    asked = 0

    def slow(container: str) -> Any:
        nonlocal asked
        asked += 1
        clock.jump(60)
        return inspect(container)

    docker.inspect_container = slow  # type: ignore[method-assign]
    docker.fail("inspect_container", timed_out())
    spawner = hub.user().spawners[""]
    spawner._check_pending = True
    assert await spawner.poll() is None
    assert asked <= 3


async def test_gone_is_gone(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start()
    docker.containers.clear()
    assert await spawner.poll() == 0


async def test_how_it_ended(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start()
    docker.end("jupyter-ada", 137, oom_killed=True)
    assert await spawner.poll() == "ended with exit code 137, memory ran out"


async def test_old_devices_come_back_stock(make: Make, docker: FakeDocker) -> None:
    device = {"device_requests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-0"]}]}
    hub = make(DockerSpawner, extra_host_config=device)
    await hub.start()
    await hub.stop()
    device["device_requests"][0]["DeviceIDs"] = ["nvidia.com/gpu=GPU-1"]
    await hub.start()
    assert docker.named("jupyter-ada").starts == 2
    assert docker.named("jupyter-ada").devices == ["nvidia.com/gpu=GPU-0"]


async def test_containers_are_disposable(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start({"gpus": 1})
    first = docker.named("jupyter-ada")
    await hub.stop()
    assert docker.containers == {}
    await hub.start({"gpus": 1})
    second = docker.named("jupyter-ada")
    assert (first.devices, second.devices) == (["nvidia.com/gpu=GPU-0"], ["nvidia.com/gpu=GPU-1"])
    assert second.starts == 1


async def test_a_leftover_container_is_not_started_again(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start({"gpus": 1})
    leftover = docker.named("jupyter-ada")
    await hub.restart()
    spawner = hub.spawner()
    spawner.orm_spawner.server = None
    hub.db.commit()
    await hub.start({})
    assert leftover.id not in docker.containers
    assert docker.named("jupyter-ada").devices == []


async def test_auto_remove_loses_the_exit_code_stock(make: Make, docker: FakeDocker) -> None:
    await make(**STOCK).start()
    assert docker.named("jupyter-ada").settings["host_config"]["AutoRemove"] is True


async def poll_beside_a_hanging_stop(hub: MockHub, docker: FakeDocker, seconds: float) -> bool:
    """Whether one person's poll ends while another's stop hangs."""
    await hub.start()
    await hub.start(name="bob")
    gate = docker.hang("stop")
    stop = asyncio.ensure_future(hub.stop())
    await reached(gate.reached)
    poll = asyncio.ensure_future(hub.user("bob").spawners[""].poll())
    done, _ = await asyncio.wait([poll], timeout=seconds)
    gate.open()
    await asyncio.gather(stop, poll)
    return bool(done)


async def test_one_thread_for_all_stock(make: Make, docker: FakeDocker) -> None:
    assert not await poll_beside_a_hanging_stop(make(**STOCK), docker, 0.1)


async def test_nobody_waits_for_another(hub: MockHub, docker: FakeDocker) -> None:
    assert await poll_beside_a_hanging_stop(hub, docker, 5)


async def cancel_during_docker_start(hub: MockHub, docker: FakeDocker) -> bool:
    """Cancel while ``docker start`` runs in its thread; it ends a moment later."""
    gate = docker.hang("start")
    hub.begin()
    await reached(gate.reached)
    asyncio.get_running_loop().call_later(0.05, gate.open)
    seen_ready = await hub.cancel()
    await asyncio.to_thread(gate.opened.wait, 5)
    await asyncio.sleep(0.02)
    return seen_ready


async def test_orphan_of_a_plain_pool_stock(make: Make, docker: FakeDocker, monkeypatch: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(DockerSpawner, "_executor", pool)
        seen_ready = await cancel_during_docker_start(make(**STOCK), docker)
    assert docker.running == ["jupyter-ada"]
    assert seen_ready


async def test_no_orphan(hub: MockHub, docker: FakeDocker) -> None:
    seen_ready = await cancel_during_docker_start(hub, docker)
    assert docker.containers == {}
    assert not seen_ready


async def test_ready_again_after_a_failure(hub: MockHub, docker: FakeDocker) -> None:
    docker.fail("start")
    with pytest.raises(SpawnException):
        await hub.start()
    docker.recover()
    spawner = await hub.start()
    assert spawner.ready
    await hub.restart()
    assert await hub.check() is None
    assert hub.user().spawners[""].ready


async def test_lists_are_replaced_stock(make: Make, docker: FakeDocker) -> None:
    site = {"mounts": [{"Type": "bind", "Source": "/data", "Target": "/data"}]}
    home = [{"source": "home", "target": "/home/jovyan", "type": "volume"}]
    await make(**STOCK, mounts=home, extra_host_config=site).start()
    mounts = docker.named("jupyter-ada").settings["host_config"]["Mounts"]
    assert [m["Target"] for m in mounts] == ["/data"]  # the home is lost; ours is in test_create.py


async def test_409_of_a_running_container_stock(make: Make, docker: FakeDocker) -> None:
    spawner = await make(**STOCK).start()
    await spawner.remove_object()
    assert docker.running == ["jupyter-ada"]


async def test_409_of_a_running_container(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start()
    await spawner.remove_object()
    assert docker.containers == {}


async def test_409_of_a_removal_is_waited_out(hub: MockHub, docker: FakeDocker, clock: Clock) -> None:
    spawner = await hub.start()
    docker.fail("remove_container", api_error(409, "removal is already in progress"), times=3)
    await spawner.remove_object()
    assert clock.pauses == [0.2] * 3
    assert docker.containers == {}


async def test_409_for_ever(hub: MockHub, docker: FakeDocker, clock: Clock) -> None:
    await hub.start({"gpus": 1})
    docker.named("jupyter-ada").status = "removing"
    spawner = hub.user().spawners[""]
    with pytest.raises(Exception, match="does not finish removing"):
        await spawner.stop()
    assert 19 < sum(clock.pauses) < 22
    assert hub.leases() == [("ada", "releasing", ("GPU-0",))]


HOSTILE = {"extra_host_config": {"privileged": True}}


async def test_options_are_stored_before_they_are_checked_stock(make: Make) -> None:
    def check(spawner: Any, options: Any) -> None:
        raise HTTPError(400, "no")

    hub = make(**STOCK, apply_user_options=check)
    with pytest.raises(HTTPError):
        await hub.start(HOSTILE)
    assert hub.spawner().orm_spawner.user_options == HOSTILE


async def test_refused_options_are_forgotten(hub: MockHub, docker: FakeDocker) -> None:
    with pytest.raises(SpawnException) as refused:
        await hub.start(HOSTILE)
    assert refused.value.jupyterhub_message == (
        "There is no option 'extra_host_config'. The options are: gpus, model, image, slice, memory, "
        "compute_capability, session, shorten, wait, notebooks, course."
    )
    assert refused.value.status_code == 400
    assert "create_container" not in docker.methods()
    assert hub.leases() == []
    await hub.restart()
    assert hub.spawner().orm_spawner.user_options == {}
    await hub.start()  # without options: the last good ones, not the refused ones
    assert docker.running == ["jupyter-ada"]


async def test_options_are_checked_without_the_hook_too(make: Make, docker: FakeDocker) -> None:
    hub = make(apply_user_options={})
    with pytest.raises(SpawnException):
        await hub.start(HOSTILE)
    assert docker.containers == {}


async def test_a_refused_spawn_lets_go_of_nothing(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start({"gpus": 1})
    with pytest.raises(SpawnException):
        await hub.start({"gpus": 99}, server="lab")
    assert hub.leases() == [("ada", "active", ("GPU-0",))]
    assert docker.running == ["jupyter-ada"]


async def start_too_slowly(hub: MockHub, docker: FakeDocker, clock: Clock, seconds: float) -> Exception:
    gate = docker.hang("start")
    task = hub.begin({})
    await reached(gate.reached)
    clock.jump(seconds)
    await asyncio.sleep(0.02)
    gate.open()
    await asyncio.wait([task])
    error = task.exception()
    assert isinstance(error, Exception)
    return error


async def test_start_timeout_says_nothing_stock(make: Make, docker: FakeDocker, clock: Clock) -> None:
    error = await start_too_slowly(make(**STOCK, start_timeout=120), docker, clock, 121)
    assert (format_exception(error)[0] or "").strip() in ("", "TimeoutError")


async def test_own_deadline(hub: MockHub, docker: FakeDocker, clock: Clock) -> None:
    error = await start_too_slowly(hub, docker, clock, 101)
    assert format_exception(error)[0] == (
        "Your server did not start within 100 s. Try again; if it happens again, tell the administrator."
    )
    assert docker.containers == {}


def test_message_of_a_spawn_exception_stock() -> None:
    error = SpawnException("for people", reason="full", log_message="for the log")
    assert "for people" not in format_exception(error, only_jupyterhub=True)
    assert not hasattr(error, "jupyterhub_message")


async def test_random_port_after_a_killed_hub_stock(make: Make, docker: FakeDocker) -> None:
    hub = make(**STOCK)
    await hub.start()
    spawner = hub.user().spawners[""]
    spawner.server.port = 43210
    assert ":43210" in await spawner.get_url()


@pytest.mark.parametrize("network", ["bridge", "gpuspawner"])
async def test_url_is_asked_of_docker(make: Make, docker: FakeDocker, network: str) -> None:
    docker.network = network
    hub = make(network_name=network)
    spawner = await hub.start()
    known = spawner.server.url
    assert await spawner.get_url() == known  # or the hub warns of every server at each of its starts
    spawner.server.ip, spawner.server.port = "127.0.0.1", 43210
    assert await spawner.get_url() == known
    hub.user().settings["internal_ssl"] = True
    assert (await spawner.get_url()).startswith("https://")


async def test_url_never_fails(make: Make, docker: FakeDocker) -> None:
    docker.network = "gpuspawner"
    spawner = await make(network_name="gpuspawner").start()
    known = spawner.server.url
    docker.fail("inspect_container")
    assert await spawner.get_url() == known
    docker.recover()
    docker.end("jupyter-ada")  # Docker gives an address of "" then
    assert await spawner.get_url() == known
    docker.containers.clear()
    assert await spawner.get_url() == known


async def test_image_is_not_here(make: Make, docker: FakeDocker) -> None:
    docker.images.clear()
    hub = make()
    with pytest.raises(SpawnException) as refused:
        await hub.start({"gpus": 1})
    assert refused.value.jupyterhub_message == (
        "The image demo/base:1 is not on this server. The administrator must build or load it first."
    )
    assert "create_container" not in docker.methods()
    assert hub.leases() == []


async def test_rename_is_refused(hub: MockHub) -> None:
    spawner = await hub.start(server="lab")
    with pytest.raises(SpawnException) as refused:
        await spawner.rename("lab", "other")
    assert "cannot be renamed" in refused.value.jupyterhub_message


async def test_delete_keeps_the_home(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start()
    home = spawner.home
    await hub.stop()
    docker.calls.clear()
    await spawner.delete_forever()
    assert docker.calls == []
    assert hub.home_in_ledger() == home


async def test_delete_of_a_person_ends_their_keys(hub: MockHub, ledger: Ledger) -> None:
    """Also where people come by an authenticator of the site's own; whoever is called so next has none."""
    keys = SshKeys(ledger)
    for number, owner in enumerate(("ada", "eve")):
        keys.add(owner, KEYS[number], actor=Actor(owner, ActorKind.PERSON))
    named = await hub.start(server="lab")
    default = await hub.start()
    await hub.stop(server="lab")
    await hub.stop()
    await named.delete_forever()
    assert len(keys.list("ada")) == 1
    await default.delete_forever()
    assert [key.owner for key in keys.list()] == ["eve"]


async def test_any_image_is_not_offered(make: Make, docker: FakeDocker) -> None:
    hub = make(allowed_images="*")
    with pytest.raises(HTTPError):
        await hub.start({"image": "evil/miner"})
    assert docker.containers == {}


def test_defaults() -> None:
    spawner = GPUSpawner()
    assert (spawner.remove, spawner.pull_policy, spawner.start_timeout) == (True, "never", 120)
    assert (spawner.uid, spawner.gid, spawner.pids_limit, spawner.shm_size) == (1000, 1000, 4096, 1024**3)
    assert spawner.client_kwargs == {"max_pool_size": 32}
    assert spawner.host
