"""The Engine itself is stopped and started again: one of the tests' own, beside the machine's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.images import TINY, TINY_SERVER
from support.installation import Installation, wait_for
from support.second_engine import SecondEngine

pytestmark = pytest.mark.docker

CONFIG = f"""
c.GPUSpawner.cmd = {TINY_SERVER!r}
c.GPUSpawner.poll_interval = 2
c.GPUSpawner.engine_patience = 60
"""


@pytest.fixture(params=[False, True], ids=["servers end with it", "servers live on"], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[SecondEngine]:
    with SecondEngine(live_restore=request.param) as second:
        second.live_restore = request.param  # type: ignore[attr-defined]
        yield second


@pytest.fixture(scope="module")
def site(engine: SecondEngine) -> Iterator[Installation]:
    with Installation(config=CONFIG, images={"Tiny": TINY}, layout="2xt4", engine=engine.url) as installation:
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def require_nothing_freed_while_it_is_away(site: Installation) -> None:
    """The agent looks and cannot tell; the hub says that the server runs; nobody else gets the card."""
    wait_for(lambda: "cannot be reached" in site.logs("agent"), "the agent's complaint")
    assert site.lease_of("ada").state.value == "active"
    model = site.client("ada").model()
    assert model is not None, "a silent Engine is no proof that a server ended"
    site.client("edsger").spawn({"gpus": 1})
    held = [uuid for lease in site.leases() for uuid in lease.devices]
    assert held.count(site.lease_of("ada").devices[0]) == 1


@pytest.mark.parametrize("hub_too", [False, True], ids=["hub stays", "hub is started again"])
def test_an_engine_that_is_stopped_and_started(
    site: Installation, engine: SecondEngine, hub_too: bool
) -> None:
    ada = site.client("ada")
    assert ada.spawn({"gpus": 1}).ready
    site.exec("ada", "echo kept > /home/jovyan/file")
    before = site.started("ada"), site.lease_of("ada")
    engine.stop()
    require_nothing_freed_while_it_is_away(site)
    if hub_too:
        # It begins before the Engine does, and waits for it rather than forget everybody's servers.
        site.stop("hub")
        site.start("hub")
        wait_for(lambda: "Initialized" not in site.logs("hub").rpartition("Running JupyterHub")[2], "a look")
    engine.start()
    site.wait_hub()

    if engine.live_restore:  # type: ignore[attr-defined]
        site.settle()
        assert (site.started("ada"), site.lease_of("ada").id) == (before[0], before[1].id)
        model = ada.model()
        assert model is not None
        assert model["ready"]
        ada.stop()
    wait_for(lambda: not site.leases(user="ada"), "the release", 60)
    wait_for(lambda: ada.model() is None, "the hub's finding")
    wait_for(lambda: not site.containers("ada"), "the removal")
    assert ada.spawn({"gpus": 1}).ready
    assert site.exec("ada", "cat /home/jovyan/file").strip() == "kept"
