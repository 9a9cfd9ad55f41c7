"""``kill -9`` of the hub between any two steps of a start and of a stop, and what is left after a restart.

The agent runs all the while. Grace has a server that nothing of this may touch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.installation import CHEAP_SERVER, HOST, Installation, wait_for

pytestmark = pytest.mark.docker

KILLS = (Path(__file__).parents[1] / "support" / "kill_points.py").read_text()

NOTHING_YET = [
    "before reserve",
    "after reserve",
    "before home",
    "after home",
    "before create",
    "after create",
    "before docker start",
]
IT_RUNS = [
    "after docker start",
    "before activate",
    "after activate",
    "after start",
    "before wait for response",
    "after wait for response",
    "before route",
    "after route",
]
STOPPING = [
    "before unroute",
    "after unroute",
    "before let go",
    "after let go",
    "before docker stop",
    "after docker stop",
    "before remove",
    "after remove",
    "before hook",
    "after hook",
]


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    config = f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}\n{KILLS}"
    with Installation(layout="2xt4", config=config, tick=0.3) as installation:
        assert installation.client("grace").spawn({"gpus": 1}).ready
        yield installation


@pytest.fixture(autouse=True)
def grace_is_untouched(site: Installation) -> Iterator[None]:
    before = site.started("grace"), site.lease_of("grace").id
    yield
    assert (site.started("grace"), site.lease_of("grace").id) == before
    assert site.client("grace").page("/user/grace/api").status_code == 200
    model = site.client("grace").model()
    assert model is not None
    assert model["ready"]


def die(site: Installation, point: str, method: str) -> None:
    """Let ada start or stop her server, and the hub be killed on the way."""
    (site.state_dir / "kill-at").write_text(point)
    with contextlib.suppress(requests.RequestException):
        site.client("ada").api(method, "/users/ada/server", json={"gpus": 1} if method == "POST" else None)
    wait_for(lambda: not site.alive("hub"), f"the hub's death {point}")
    assert not (site.state_dir / "kill-at").exists()


def require_nothing_of_ada(site: Installation) -> None:
    wait_for(lambda: not site.containers("ada"), "the end of ada's container")
    wait_for(lambda: not site.leases(user="ada"), "the release of ada's card")
    wait_for(lambda: site.client("ada").model() is None, "the hub's forgetting the server")


def require_ada_works(site: Installation) -> None:
    model = wait_for(lambda: site.client("ada").model(), "ada's server in the hub's eyes")
    assert model["ready"]
    assert site.client("ada").page("/user/ada/api").status_code == 200
    assert site.cards_seen("ada") == list(site.lease_of("ada").devices)
    assert site.lease_of("ada").state.value == "active"


def end_of_ada(site: Installation) -> None:
    """Her server is stopped, and its card is free again: nothing of it was left over."""
    site.client("ada").stop()
    require_nothing_of_ada(site)


@pytest.mark.parametrize("point", NOTHING_YET)
def test_a_hub_killed_before_the_server_ran_leaves_nothing(site: Installation, point: str) -> None:
    die(site, point, "POST")
    site.start("hub")
    site.wait_hub()
    require_nothing_of_ada(site)
    assert site.client("ada").spawn({"gpus": 1}).ready
    require_ada_works(site)
    end_of_ada(site)


@pytest.mark.parametrize("point", IT_RUNS)
def test_a_hub_killed_after_the_server_ran_finds_it_again(site: Installation, point: str) -> None:
    die(site, point, "POST")
    before = site.started("ada")
    site.start("hub")
    site.wait_hub()
    require_ada_works(site)
    assert site.started("ada") == before, "it was not started anew"
    end_of_ada(site)


@pytest.mark.parametrize("point", STOPPING)
def test_a_hub_killed_while_stopping_gives_the_card_back_or_keeps_the_server(
    site: Installation, point: str
) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    site.exec("ada", "echo kept > ~/file")
    before = site.started("ada")
    die(site, point, "DELETE")
    site.start("hub")
    site.wait_hub()
    if point in ("before unroute", "after unroute", "before let go"):
        require_ada_works(site)
        assert site.started("ada") == before
        site.client("ada").stop()
    require_nothing_of_ada(site)
    assert site.client("ada").spawn({"gpus": 1}).ready
    assert site.exec("ada", "cat ~/file").strip() == "kept"
    end_of_ada(site)


@pytest.mark.parametrize("point", ["after reserve", "after create", "after docker start", "after let go"])
def test_hub_and_agent_killed_and_one_reconcile(site: Installation, point: str) -> None:
    """Nobody lives; one reconcile puts everything right, with no hub to help."""
    stopping = point == "after let go"
    if stopping:
        assert site.client("ada").spawn({"gpus": 1}).ready
    site.kill("agent")
    die(site, point, "DELETE" if stopping else "POST")
    assert len(site.leases(user="ada")) == 1
    site.run("gpuspawner", "agent", "--ledger", str(site.ledger_path), "--host", HOST, "--once")
    if point == "after docker start":
        assert site.lease_of("ada").state.value == "active"
        assert len(site.containers("ada", running=True)) == 1
    else:
        assert site.leases(user="ada") == []
        assert site.containers("ada") == []
    site.start("agent", "hub")
    site.wait_hub()
    if point == "after docker start":
        require_ada_works(site)
        end_of_ada(site)
    require_nothing_of_ada(site)


def test_an_orderly_restart_keeps_servers(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    before = site.started("ada")
    site.stop("hub")
    assert site.client("ada").page("/user/ada/api").status_code == 200, "it works on while the hub is away"
    site.start("hub")
    site.wait_hub()
    require_ada_works(site)
    assert site.started("ada") == before
    refused = site.client("edsger").spawn({"gpus": 1})
    assert (refused.ready, refused.status) == (False, 409)
    end_of_ada(site)


@pytest.mark.parametrize("name", ["agent", "proxy"])
def test_a_restart_of_another_process_keeps_servers(site: Installation, name: str) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    before = site.started("ada")
    site.kill(name)
    site.start(name)
    if name == "proxy":
        # A proxy that was killed knows no routes; the hub tells it all of them when it starts.
        site.restart("hub")
    require_ada_works(site)
    assert site.started("ada") == before
    end_of_ada(site)


def test_a_second_agent_does_not_work_on_the_same_ledger(site: Installation) -> None:
    with pytest.raises(AssertionError, match="Another agent already works on this ledger"):
        site.run("gpuspawner", "agent", "--ledger", str(site.ledger_path), "--host", HOST, "--once")
