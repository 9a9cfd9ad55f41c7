"""Rows of events that chance rarely brings about, and that went wrong once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpuspawner.allocator import Allocator
from gpuspawner.core.errors import HubError
from gpuspawner.core.model import Lease
from support.machine.checks import check, settle
from support.machine.hub import STEPS
from support.machine.world import World, make_template

ADA = "ada", ""


class Unconfirmed(Allocator):
    """Believes that a lease is there still because it was there once."""

    def confirm(self, lease_id: str) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease(lease_id)
        assert found
        return found


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[object]:
    (tmp_path / "template").mkdir()
    (tmp_path / "world").mkdir()
    made: list[World] = []

    def make(allocator: type[Allocator] = Allocator) -> World:
        made.append(World(tmp_path / "world", make_template(tmp_path / "template"), allocator))
        return made[-1]

    yield make
    for world in made:
        world.close()


def start_slowly(world: World, wait_before: str) -> None:
    """Ada's start waits before one of its steps for so long that the agent gives it up; then it goes on."""
    world.hub.start_server(*ADA, {"gpus": 1})
    for _ in STEPS[: STEPS.index(wait_before)]:
        world.hub.advance(ADA)
    for seconds in (300, 10, 10):
        world.wait(seconds)
        world.tick_agent()
    while ADA in world.hub.servers and world.hub.servers[ADA].pending:
        world.hub.advance(ADA)
        check(world)


@pytest.mark.parametrize("wait_before", STEPS[1:-1])
def test_a_start_that_was_given_up_ends_before_its_container_runs(make_world, wait_before: str) -> None:
    world = make_world()
    with pytest.raises(HubError):
        start_slowly(world, wait_before)
    check(world)
    settle(world)


def test_one_that_does_not_look_again_before_it_starts_a_container(make_world) -> None:
    with pytest.raises(AssertionError, match="has a lease of nothing"):
        start_slowly(make_world(Unconfirmed), "create")
