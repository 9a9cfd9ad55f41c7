"""The Engine fails, hangs, or does what it was asked and does not say so; people cancel meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.docker_faults import CREATE, INSPECT, LIST, REMOVE, START, STOP, DockerFaults
from support.installation import CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.GPUSpawner.settle_seconds = 10
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 1, "slow_stop_timeout": 1}}
"""


@pytest.fixture(scope="module")
def hub_side() -> Iterator[DockerFaults]:
    """Between the hub and the Engine."""
    with DockerFaults() as faults:
        yield faults


@pytest.fixture(scope="module")
def agent_side() -> Iterator[DockerFaults]:
    """Between the agent and the Engine."""
    with DockerFaults() as faults:
        yield faults


@pytest.fixture(scope="module")
def site(hub_side: DockerFaults, agent_side: DockerFaults) -> Iterator[Installation]:
    hosts = {"hub": hub_side.url, "agent": agent_side.url}
    settings = {"start_timeout": 30}
    with Installation(config=CONFIG, settings=settings, docker_hosts=hosts) as installation:
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation, hub_side: DockerFaults, agent_side: DockerFaults) -> Iterator[None]:
    yield
    hub_side.clear()
    agent_side.clear()
    site.stop_all()


def require_nothing_left(site: Installation, user: str = "ada", seconds: float = 60) -> None:
    """No container, every card free, no server in the Hub's eyes, and the next start works."""
    wait_for(lambda: not site.containers(user), f"the end of {user}'s container", seconds)
    wait_for(lambda: not site.leases(user=user), f"the release of {user}'s card", seconds)
    person = site.client(user)
    wait_for(lambda: person.model() is None, f"the Hub's forgetting {user}'s server", seconds)
    assert person.spawn({"gpus": 1}).ready
    assert site.cards_seen(user) == list(site.lease_of(user).devices)


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True], ids=["refused", "done and not told"])
@pytest.mark.parametrize("call", [CREATE, START])
def test_a_start_that_the_engine_fails_leaves_nothing_and_says_so(
    site: Installation, hub_side: DockerFaults, call: str, done: bool
) -> None:
    with hub_side.failing(call, done=done) as fault:
        started = site.client("ada").spawn({"gpus": 1})

    assert fault.hit
    assert not started.ready
    assert "Docker could not start your server. Try again" in started.message
    assert "a failure made by the test" not in started.message, "Docker's own words are not for people"
    assert site.containers("ada") == [], "the hub cleared away itself, before it said so"
    require_nothing_left(site)


def test_a_start_needs_no_answer_to_the_first_inspection(site: Installation, hub_side: DockerFaults) -> None:
    hub_side.fail(INSPECT, times=2)
    assert site.client("ada").spawn({"gpus": 1}).ready


def test_a_server_counts_as_running_while_the_engine_cannot_tell(
    site: Installation, hub_side: DockerFaults, agent_side: DockerFaults
) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    before = site.started("ada")
    mine, theirs = hub_side.fail(INSPECT), agent_side.fail(LIST)
    asked = site.admin.api("GET", "/users/ada")  # a look that polls nothing
    assert asked.status_code == 200
    # The Hub polls a server before it stops it, and when somebody starts one that runs.
    assert ada.ask({"gpus": 1}).status_code in (201, 202, 400)
    wait_for(lambda: mine.hit > 2 and theirs.hit > 2, "looks that fail")

    hub_side.clear()
    agent_side.clear()
    model = ada.model()
    assert model is not None
    assert model["ready"]
    assert site.started("ada") == before
    assert site.lease_of("ada").state.value == "active"
    assert ada.page("/user/ada/api").status_code == 200


def test_stops_that_the_engine_fails_are_finished_by_the_agent(
    site: Installation, hub_side: DockerFaults
) -> None:
    """Refused, done and not told, and a removal that fails: three people at once."""
    people = {
        "ada": hub_side.fail(STOP, times=0),
        "grace": hub_side.fail(STOP, times=0, done=True),
        "edsger": hub_side.fail(REMOVE, times=0),
    }
    for name, fault in people.items():
        assert site.client(name).spawn({"gpus": 1}).ready
        site.exec(name, "echo kept > ~/file")
        fault.times = fault.hit + 1
        site.client(name).stop()
        assert fault.hit == fault.times
    for name in people:
        wait_for(lambda name=name: not site.leases(user=name), f"the release of {name}'s card", 60)
        assert site.containers(name) == []
        assert site.client(name).spawn({"gpus": 1}).ready
        assert site.exec(name, "cat ~/file").strip() == "kept"


def test_a_card_stays_held_while_the_agent_cannot_see_its_container(
    site: Installation, agent_side: DockerFaults
) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    fault = agent_side.fail(LIST)
    fault.wait_reached()
    ada.stop()
    hits = fault.hit
    wait_for(lambda: fault.hit > hits + 3, "looks that fail")
    assert site.lease_of("ada").state.value == "releasing"
    assert site.containers() == []
    agent_side.clear()
    wait_for(lambda: site.lease_of("ada").state.value == "released", "the release")


# -- an Engine that hangs -----------------------------------------------------------------------------------


def test_calls_that_hang_hold_up_nobody_else_and_leak_nothing(
    site: Installation, hub_side: DockerFaults
) -> None:
    """Create, start and stop hang, of three people; a fourth works as if nothing were."""
    held = {}
    assert site.client("edsger").spawn({"gpus": 1}).ready
    held["edsger"] = hub_side.hold(STOP, times=1)
    site.client("edsger").api("DELETE", "/users/edsger/server")
    held["edsger"].wait_reached()
    for name, call in (("ada", CREATE), ("grace", START)):
        held[name] = hub_side.hold(call, times=1)
        assert site.client(name).ask({"gpus": 1}).status_code == 202
        held[name].wait_reached()

    fourth = site.client("donald")
    assert fourth.spawn({"gpus": 1}).ready
    assert site.cards_seen("donald") == list(site.lease_of("donald").devices)
    fourth.stop()

    for name in ("ada", "grace"):
        started = site.client(name).wait_ready(seconds=60)
        assert not started.ready
        assert "did not start within 20 s" in started.message
    # The Engine wakes up now, after the hub has given up: what it still does must not stay.
    for fault in held.values():
        fault.release()
    for name in ("ada", "grace"):
        require_nothing_left(site, name, 80)
        site.client(name).stop()
    require_nothing_left(site, "edsger")


def test_an_agent_whose_engine_hangs_frees_nothing_and_recovers(
    site: Installation, agent_side: DockerFaults
) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    held = agent_side.hold(LIST)
    held.wait_reached()
    ada.stop()
    wait_for(lambda: "did not list its containers within" in site.logs("agent"), "the agent's complaint")
    assert site.lease_of("ada").state.value == "releasing"
    agent_side.clear()
    wait_for(lambda: site.lease_of("ada").state.value == "released", "the release")


# -- cancelled starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [CREATE, START])
def test_a_start_cancelled_while_the_engine_works_leaves_nothing(
    site: Installation, hub_side: DockerFaults, call: str, done: bool
) -> None:
    ada = site.client("ada")
    held = hub_side.hold(call, done=done)
    assert ada.ask({"gpus": 1}).status_code == 202
    held.wait_reached()

    cancelled = ada.api("DELETE", "/users/ada/server")

    assert cancelled.status_code in (202, 204), cancelled.text
    model = ada.model()
    assert model is None or not model["ready"], "nobody is sent to a dead server"
    assert len(site.leases(user="ada")) == 1, "the card stays held until the Engine's call has ended"
    hub_side.clear()
    require_nothing_left(site)


def test_a_cancelled_start_can_be_asked_for_again_at_once(site: Installation, hub_side: DockerFaults) -> None:
    ada = site.client("ada")
    held = hub_side.hold(START, times=1)
    assert ada.ask({"gpus": 1}).status_code == 202
    held.wait_reached()
    assert ada.api("DELETE", "/users/ada/server").status_code in (202, 204)
    held.release()
    wait_for(lambda: ada.ask({"gpus": 1}).status_code in (201, 202), "the next start")
    assert ada.wait_ready().ready
    assert len(site.containers("ada")) == 1


# -- behind our back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "killed", "stopped"])
def test_a_container_ended_behind_our_back_gives_its_card_back(site: Installation, how: str) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    id_ = site.container("ada")["Id"]
    match how:
        case "removed":
            site.engine.remove_container(id_, force=True)
        case "killed":
            site.engine.kill(id_)
        case "stopped":
            site.engine.stop(id_, timeout=1)
    wait_for(lambda: not site.leases(user="ada"), "the release", 60)
    lease = site.lease_of("ada")
    assert ("removed by somebody else" if how == "removed" else "ended by itself") in lease.reason
    assert site.containers("ada") == []
    assert ada.ask({"gpus": 1}).status_code in (201, 202)
    assert ada.wait_ready().ready
