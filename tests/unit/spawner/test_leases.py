"""What becomes of lease and container, wherever a start or a stop is cut off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters import runlock
from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.allocator import Allocator
from gpuspawner.spawner.containers import see_through
from jupyterhub.spawner import SpawnException
from support.fake_docker import FakeDocker, api_error, timed_out
from support.mock_hub import Clock, LedgerOutage, MockHub, reached

Make = Callable[..., MockHub]
GPU = {"gpus": 1}
LET_GO = [("ada", "releasing", ("GPU-0",))]

DOCKER_POINTS = [
    "create_container",
    "after create_container",
    "start",
    "after start",
]
LEDGER_POINTS = ["ledger_id", "live_leases", "after add_lease", "home_of", "put_home", "update_lease"]


async def test_a_life(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start(GPU)
    (lease,) = hub.live_leases()
    assert hub.leases() == [("ada", "active", ("GPU-0",))]
    assert lease.container_id == docker.named("jupyter-ada").id
    assert spawner.lease_id == lease.id == docker.named("jupyter-ada").labels["gpuspawner.lease"]
    await hub.stop()
    assert hub.leases() == LET_GO
    assert docker.containers == {}
    assert spawner.lease_id is None


async def test_a_life_without_gpu(hub: MockHub) -> None:
    await hub.start({})
    assert hub.leases() == [("ada", "active", ())]
    await hub.stop()
    assert hub.leases() == [("ada", "releasing", ())]


async def test_lease_is_let_go_of_before_the_container_is_stopped(hub: MockHub, docker: FakeDocker) -> None:
    await hub.start(GPU)
    gate = docker.hang("stop")
    stop = asyncio.ensure_future(hub.stop())
    await reached(gate.reached)
    assert hub.leases() == LET_GO
    gate.open()
    await stop


async def test_a_server_that_died_never_gets_stop(hub: MockHub, docker: FakeDocker) -> None:
    spawner = await hub.start(GPU)
    docker.end("jupyter-ada", 1)
    docker.calls.clear()
    assert await spawner.poll() is not None
    await hub.stop()
    assert set(docker.methods()) == {"inspect_container"}
    assert hub.leases() == LET_GO


async def test_post_stop_hook_of_the_site_still_runs(make: Make) -> None:
    seen = []

    async def hook(spawner: Any) -> None:
        seen.append(spawner.lease_id)

    hub = make(post_stop_hook=hook)
    await hub.start(GPU)
    await hub.stop()
    assert seen == [None]


@pytest.mark.parametrize("point", DOCKER_POINTS)
@pytest.mark.parametrize("error", [api_error(500, "oops"), timed_out()], ids=["500", "time-out"])
async def test_docker_fails(hub: MockHub, docker: FakeDocker, point: str, error: Exception) -> None:
    docker.fail(point, error)
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU)
    assert refused.value.jupyterhub_message.startswith("Docker could not start your server.")
    assert refused.value.reason == "engine_failed"
    assert docker.containers == {}
    assert hub.leases() == LET_GO
    docker.recover()
    spawner = await hub.start(GPU)
    assert spawner.lease.devices == ("GPU-1",)


async def test_docker_does_not_know_the_card(hub: MockHub, docker: FakeDocker) -> None:
    docker.cdi.clear()
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU)
    assert "gpuspawner doctor" in refused.value.jupyterhub_message
    assert docker.containers == {}


async def test_docker_says_nothing_at_all(hub: MockHub, docker: FakeDocker, clock: Clock) -> None:
    docker.fail("inspect_container")
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU)
    assert "Docker does not answer for jupyter-ada" in refused.value.jupyterhub_message
    assert hub.leases() == LET_GO


async def test_container_cannot_be_cleared_away(hub: MockHub, docker: FakeDocker) -> None:
    docker.fail("after start")
    docker.fail("remove_container")
    docker.fail("stop")
    with pytest.raises(SpawnException):
        await hub.start(GPU)
    assert docker.running == ["jupyter-ada"]  # the agent's, who sees that its lease is over
    assert hub.leases() == LET_GO


@pytest.mark.parametrize("point", ["create_container", "after create_container", "start"])
async def test_deadline_at_docker(hub: MockHub, docker: FakeDocker, clock: Clock, point: str) -> None:
    """The Engine hangs for good: the start ends with its own message, and in time for JupyterHub's limit."""
    gate = docker.hang(point)
    task = hub.begin(GPU)
    await reached(gate.reached)
    for seconds in (101, 16):
        clock.jump(seconds)
        for _ in range(20):
            await asyncio.sleep(0.001)
    await hub.spawner()._started.wait()
    assert hub.leases() == LET_GO
    gate.open()
    await asyncio.wait([task])
    error = task.exception()
    assert isinstance(error, SpawnException)
    assert error.reason == "start_too_slow"


@pytest.mark.parametrize("point", DOCKER_POINTS)
async def test_cancelled_at_docker(hub: MockHub, docker: FakeDocker, point: str) -> None:
    gate = docker.hang(point)
    task = hub.begin(GPU)
    await reached(gate.reached)
    asyncio.get_running_loop().call_later(0.02, gate.open)
    assert not await hub.cancel()
    assert task.cancelled()
    assert docker.containers == {}
    assert hub.leases() == LET_GO


class Hold:
    """Holds a step of the ledger in its thread, before or after the deed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        name = point.removeprefix("after ")
        original = getattr(LedgerUnit, name)

        def held(unit: LedgerUnit, *args: Any, **kwargs: Any) -> Any:
            result = original(unit, *args, **kwargs) if point != name else None
            self.reached.set()
            assert self.opened.wait(5)
            return result if point != name else original(unit, *args, **kwargs)

        monkeypatch.setattr(LedgerUnit, name, held)


@pytest.mark.parametrize("point", LEDGER_POINTS)
@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_at_the_ledger(
    hub: MockHub, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, point: str, times: int
) -> None:
    """A thread cannot be cancelled: what it reserves meanwhile must be known and let go of."""
    hold = Hold(monkeypatch, point)
    task = hub.begin(GPU)
    await reached(hold.reached)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.005)
    hold.opened.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not hub.user().spawners[""].ready
    await hub.stop()
    assert docker.containers == {}
    assert [state for _, state, _ in hub.leases()] in ([], ["releasing"])


async def test_cancelled_again_while_clearing_away(hub: MockHub, docker: FakeDocker) -> None:
    started, removal = docker.hang("after start"), docker.hang("remove_container")
    task = hub.begin(GPU)
    await reached(started.reached)
    task.cancel()
    started.open()
    await reached(removal.reached)
    spawner = hub.user().spawners[""]
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.005)
        assert not spawner.ready
        assert await spawner.poll() is None
    removal.open()
    await asyncio.wait([task])
    await spawner._started.wait()
    assert docker.containers == {}
    assert hub.leases() == LET_GO


async def test_cancelled_start_ends_at_once(hub: MockHub, docker: FakeDocker) -> None:
    """JupyterHub gives it one second and fails then; a slow ``docker start`` is seen through behind it."""
    gate = docker.hang("start")
    task = hub.begin(GPU)
    await reached(gate.reached)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    spawner = hub.spawner()
    assert (spawner.ready, spawner.active, await spawner.poll()) == (False, False, None)
    assert hub.leases() == [("ada", "reserved", ("GPU-0",))]  # not before the container is gone
    gate.open()
    await spawner._started.wait()
    assert not spawner.ready  # nor later: nobody has told the Hub yet that there is no server
    await hub.stop()
    assert docker.containers == {}
    assert hub.leases() == LET_GO


async def test_start_again_while_the_last_one_is_cleared_away(hub: MockHub, docker: FakeDocker) -> None:
    started, removal = docker.hang("after start"), docker.hang("remove_container")
    task = hub.begin(GPU)
    await reached(started.reached)
    task.cancel()
    started.open()
    await reached(removal.reached)
    again = hub.begin(GPU)
    await asyncio.sleep(0.02)
    assert len(hub.leases()) == 1
    removal.open()
    await asyncio.wait([again])
    assert again.exception() is None
    assert docker.running == ["jupyter-ada"]
    assert hub.leases() == [*LET_GO, ("ada", "active", ("GPU-1",))]


async def test_nothing_stops_the_end_of_a_start(
    hub: MockHub, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody thought of must not make every later stop wait for ever."""
    docker.fail("start")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(Allocator, "request_release", fail)
    with pytest.raises(Exception, match=r"nobody thought|Docker could not start"):
        await asyncio.wait_for(hub.start(GPU), 2)
    assert not hub.spawner()._starting


async def test_stop_waits_for_the_clearing_away(hub: MockHub, docker: FakeDocker) -> None:
    started, removal = docker.hang("after start"), docker.hang("remove_container")
    task = hub.begin(GPU)
    await reached(started.reached)
    task.cancel()
    started.open()
    await reached(removal.reached)
    stop = asyncio.ensure_future(hub.stop())
    await asyncio.sleep(0.02)
    assert hub.leases() == [("ada", "reserved", ("GPU-0",))]
    removal.open()
    await asyncio.wait([task, stop])
    assert stop.exception() is None
    assert docker.containers == {}


async def test_server_does_not_answer(hub: MockHub, docker: FakeDocker) -> None:
    hub.answers = False
    with pytest.raises(TimeoutError):
        await hub.start(GPU)
    assert docker.containers == {}
    assert hub.leases() == LET_GO


async def test_lease_given_up_meanwhile(hub: MockHub, docker: FakeDocker, ledger: Any) -> None:
    """The agent gave the reservation up while Docker was slow: the container must not go on."""
    gate = docker.hang("start")
    task = hub.begin(GPU)
    await reached(gate.reached)
    (lease,) = hub.live_leases()
    hub.user().spawners[""].allocator.request_release(
        lease.id, reason="the start took too long", actor="agent"
    )
    gate.open()
    await asyncio.wait([task])
    assert isinstance(task.exception(), SpawnException)
    assert docker.containers == {}
    assert hub.leases() == LET_GO


async def test_no_container_is_started_on_a_lease_that_was_given_up(hub: MockHub, docker: FakeDocker) -> None:
    """While Docker was slow to create it the GPU may have got another owner."""
    gate = docker.hang("create_container")
    task = hub.begin(GPU)
    await reached(gate.reached)
    (lease,) = hub.live_leases()
    hub.user().spawners[""].allocator.request_release(
        lease.id, reason="the start took too long", actor="agent"
    )
    gate.open()
    await asyncio.wait([task])
    error = task.exception()
    assert isinstance(error, SpawnException)
    assert error.jupyterhub_message.startswith(
        "Your GPU was given back before your server was ready: the start took too long."
    )
    assert "start" not in docker.methods()
    assert docker.containers == {}


# -- the ledger is away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["_open", "ledger_id", "live_leases", "add_lease", "add_event"])
async def test_no_gpu_without_a_reservation(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage, point: str
) -> None:
    outage.at(point)
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU)
    assert refused.value.jupyterhub_message == (
        "GPUs cannot be given out now. The ledger is away. "
        "You can start a server without a GPU now: choose “No GPU”."
    )
    assert refused.value.status_code == 503
    assert "create_container" not in docker.methods()
    outage.over()
    assert hub.leases() == []


@pytest.mark.parametrize("point", ["_open", "ledger_id", "live_leases", "add_lease", "home_of", "put_home"])
async def test_cpu_server_starts_without_ledger(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage, point: str
) -> None:
    outage.at(point)
    spawner = await hub.start({})
    assert docker.running == ["jupyter-ada"]
    assert await spawner.poll() is None
    await hub.stop()
    assert docker.containers == {}


@pytest.mark.parametrize("point", ["home_of", "put_home", "update_lease"])
async def test_gpu_server_with_a_lease_starts(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage, point: str
) -> None:
    outage.at(point)
    await hub.start(GPU)
    outage.over()
    assert docker.running == ["jupyter-ada"]
    state = "reserved" if point == "update_lease" else "active"
    assert hub.leases() == [("ada", state, ("GPU-0",))]


@pytest.mark.parametrize("options", [{}, GPU])
async def test_ledger_away_at_a_stop(
    hub: MockHub, docker: FakeDocker, outage: LedgerOutage, options: dict[str, int]
) -> None:
    await hub.start(options)
    devices = hub.live_leases()[0].devices
    outage.everywhere()
    await hub.stop()
    outage.over()
    assert docker.containers == {}
    assert hub.leases() == [("ada", "active", devices)]  # held until the agent sees that nobody uses them
    await hub.start(options)
    assert [state for _, state, _ in hub.leases()] == ["releasing", "active"]


async def test_lock_file_cannot_be_made(hub: MockHub, docker: FakeDocker) -> None:
    lock = hub.ledger_path.with_name("ledger.sqlite.hub.lock")
    lock.mkdir()
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU)
    assert "lock" in refused.value.jupyterhub_message
    await hub.start({})
    assert docker.running == ["jupyter-ada"]
    assert hub.leases() == []


# -- who may have what --------------------------------------------------------------------------------------


async def test_refusals_touch_nothing(hub: MockHub, docker: FakeDocker) -> None:
    for name in ("ada", "bob"):
        await hub.start(GPU, name=name)
    docker.calls.clear()
    with pytest.raises(SpawnException) as refused:
        await hub.start(GPU, name="eve")
    assert refused.value.jupyterhub_message == (
        "You asked for 1 GPU; 0 of 2 GPUs are free now (2 in use). "
        "You can start a server without a GPU now: choose “No GPU”."
    )
    assert refused.value.jupyterhub_html_message == (
        "You asked for 1 GPU; 0 of 2 GPUs are free now (2 in use)."
        "<br>You can start a server without a GPU now: choose “No GPU”."
    )
    assert (refused.value.status_code, refused.value.reason) == (409, "not_free_now")
    assert docker.calls == [("inspect_image", "demo/base:1")]


async def test_a_refused_start_leaves_other_containers_alone(
    hub: MockHub, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another hub on the same ledger runs a container of that name: this one removes nothing."""
    await hub.start(GPU)
    await hub.restart()
    hub.spawner().orm_spawner.server = None
    monkeypatch.setattr(runlock, "_PATIENCE_SECONDS", 0)
    lock = runlock.RunLock(Path(f"{hub.ledger_path}.hub.lock"), "hub")
    for options in (GPU, {}):
        with pytest.raises(SpawnException) as refused:
            await hub.start(options)
        assert "Another hub already works on this ledger" in refused.value.jupyterhub_message
    lock.release()
    assert docker.running == ["jupyter-ada"]
    assert hub.leases() == [("ada", "active", ("GPU-0",))]


async def test_limits_are_those_of_the_person(make: Make) -> None:
    """Limits may come from ``group_overrides``; those of whoever comes first must not be everybody's."""
    hub = make()
    for name, limit in (("teacher", 2), ("ada", 1)):
        spawner = hub.spawner(name)
        spawner.gpus_per_server = spawner.gpus_per_person = limit
    assert hub.spawner("teacher").run is hub.spawner("ada").run
    await hub.start({"gpus": 2}, name="teacher")
    await hub.stop("teacher")
    spawner = hub.spawner("ada")
    spawner.gpus_per_server = 2
    with pytest.raises(SpawnException) as refused:
        await hub.start({"gpus": 2})
    assert refused.value.reason == "not_allowed"


async def test_thirty_at_once(make: Make, docker: FakeDocker) -> None:
    hub = make()
    tasks = [hub.begin(GPU, name=f"user{n}") for n in range(30)]
    await asyncio.wait(tasks)
    errors = [error for task in tasks if (error := task.exception())]
    assert len(errors) == 28
    assert {type(error) for error in errors} == {SpawnException}
    assert len(docker.running) == 2
    assert sorted(devices for _, _, devices in hub.leases()) == [("GPU-0",), ("GPU-1",)]


# -- seeing through -----------------------------------------------------------------------------------------


async def test_see_through() -> None:
    done = []

    async def work() -> int:
        await asyncio.sleep(0.01)
        done.append(1)
        return 7

    assert await see_through(work()) == 7
    task = asyncio.ensure_future(see_through(work()))
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1, 1]


async def test_see_through_raises_the_cancellation_and_nothing_else() -> None:
    """The error of the work might be caught by somebody who then goes on as if nobody had cancelled."""

    async def work() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("oops")

    task = asyncio.ensure_future(see_through(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    with pytest.raises(ValueError, match="oops"):
        await see_through(work())
