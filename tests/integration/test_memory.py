"""A server that the kernel ends because its memory ran out, and other ends that nobody wished."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.client import text_of
from support.installation import CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

GIB = 1024**3


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    config = f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}\nc.GPUSpawner.poll_interval = 2\n"
    with Installation(limits={"memory": "256M"}, config=config, layout="2xt4") as installation:
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def test_out_of_memory(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    site.exec("ada", "echo kept > ~/file")
    ada.page(f"/user/ada/eat?bytes={GIB}")

    wait_for(lambda: not site.leases(user="ada"), "the card's return to the pool", 60)
    lease = site.lease_of("ada")
    assert lease.reason == "memory ran out"
    assert lease.outcome is not None
    assert lease.outcome.oom_killed
    assert lease.outcome.memory_limit_bytes == GIB // 4
    assert site.containers("ada") == []

    sentence = "Your last server was ended because its memory ran out. It may use 256 MiB."
    wait_for(lambda: ada.model() is None, "the hub's finding")
    assert sentence in text_of(ada.page("/hub/spawn").text)
    assert sentence in text_of(ada.page("/user/ada/lab").text), "on the page in place of the server"
    assert ada.spawn({"gpus": 1}).ready
    assert site.exec("ada", "cat ~/file").strip() == "kept"
    ada.stop()
    assert "memory ran out" not in text_of(ada.page("/hub/spawn").text), "it is told of the last server only"


def test_a_child_that_ran_out_of_memory_leaves_the_server(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    before = site.started("ada")
    said = site.exec("ada", "python3 -c 'x = b\"1\" * 1024**3'; echo code $?")
    assert "code 137" in said
    assert site.started("ada") == before
    assert ada.page("/user/ada/api").status_code == 200
    ada.stop()
    page = text_of(ada.page("/hub/spawn").text)
    assert "memory ran out" not in page, "the server ended because its person stopped it"


def test_a_server_that_ended_by_itself(site: Installation) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    ada.page("/user/ada/exit?code=3")
    wait_for(lambda: not site.leases(user="ada"), "the card's return to the pool", 60)
    lease = site.lease_of("ada")
    assert lease.outcome is not None
    assert (lease.outcome.exit_code, lease.outcome.oom_killed) == (3, False)
    wait_for(lambda: ada.model() is None, "the hub's finding")
    assert "exit code 3" in text_of(ada.page("/hub/spawn").text)


def test_a_card_that_is_still_busy_is_not_given_to_the_next(site: Installation) -> None:
    """The container is gone; something is left on its card."""
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    (uuid,) = site.lease_of("ada").devices
    site.simulation.set_load(uuid, utilization=90, memory_mib=5000)
    ada.stop()
    assert site.containers("ada") == []
    assert site.lease_of("ada").state.value == "releasing"
    assert site.client("grace").spawn({"gpus": 1}).ready
    assert site.cards_seen("grace") != [uuid]
    refused = site.client("edsger").spawn({"gpus": 1})
    assert (refused.ready, refused.status) == (False, 409)
    site.simulation.idle(uuid)
    wait_for(lambda: site.lease_of("ada").state.value == "released", "the release")
    assert site.client("edsger").spawn({"gpus": 1}).ready
