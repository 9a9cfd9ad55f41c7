"""A host with four cards, a ledger, an Engine and a hub that lives or not, and the agent that keeps it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.agent.tick import Keeper, TickReport
from gpuspawner.allocator import Allocator
from gpuspawner.core.container import build_labels
from gpuspawner.core.model import DeviceRecord, Event, Lease, LeaseState, SpawnRequest
from gpuspawner.core.policy import allow
from support.build import GIB, HOST, NOW
from support.fake_engine import FakeEngine
from support.fake_probe import FakeProbe

STALE = timedelta(seconds=30)


class House:
    """Everything that the agent works on, and short words for what others do to it."""

    def __init__(self, folder: Path) -> None:
        self.now: datetime = NOW
        self.ledger = Ledger(folder / "ledger.db")
        with self.ledger.read() as unit:
            self.engine = FakeEngine(unit.ledger_id())
        self.probe = FakeProbe(HOST, clock=self.clock)
        self.hub_lock = folder / "ledger.db.hub.lock"
        self.hub: RunLock | None = RunLock(self.hub_lock, "hub")
        self.allocator = Allocator(self.ledger, HOST, allow(4, 4), STALE, self.clock)
        self.keeper = self.new_agent()
        self.closing: list[Callable[[], None]] = []
        """Called at the end."""

    def clock(self) -> datetime:
        return self.now

    def new_agent(self) -> Keeper:
        self.keeper = Keeper(self.ledger, self.engine, self.probe, HOST, self.hub_lock, clock=self.clock)
        return self.keeper

    def tick(self, seconds: float = 2) -> TickReport:
        """Let time pass, then one tick, and wait for what it does to containers."""
        self.now += timedelta(seconds=seconds)
        return self.keeper.tick(settle_seconds=5)

    def kill_hub(self) -> None:
        assert self.hub
        self.hub.release()
        self.hub = None

    def restart_hub(self) -> None:
        if self.hub:
            self.kill_hub()
        self.hub = RunLock(self.hub_lock, "hub")

    # -- what the hub does ----------------------------------------------------------------------------------

    def reserve(self, gpus: int = 1, owner: str = "ada") -> Lease:
        assert self.hub
        return self.allocator.reserve(
            SpawnRequest(gpus), owner=owner, server="", claimant=self.hub.run_id, image="base"
        )

    def create(self, lease: Lease) -> str:
        labels = build_labels(str(self.engine.ledger_id), lease.owner, lease.server, lease)
        name = f"jupyter-{lease.owner}"
        return self.engine.create(name, labels, lease.devices, memory_limit_bytes=2 * GIB)

    def run(self, gpus: int = 1, owner: str = "ada") -> tuple[Lease, str]:
        """A server that runs."""
        assert self.hub
        lease = self.reserve(gpus, owner)
        container = self.create(lease)
        self.engine.start(container)
        lease = self.allocator.activate(lease.id, container_id=container, claimant=self.hub.run_id)
        return lease, container

    def let_go(self, lease: Lease) -> None:
        self.allocator.request_release(lease.id, reason="stopped by ada", actor="ada")

    # -- what is there --------------------------------------------------------------------------------------

    def lease(self, lease: Lease) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease(lease.id)
        assert found
        return found

    def state(self, lease: Lease) -> LeaseState:
        return self.lease(lease).state

    def record(self, card: int) -> DeviceRecord:
        return self.records[self.probe.uuids[card]]

    @property
    def records(self) -> dict[str, DeviceRecord]:
        with self.ledger.read() as unit:
            return {r.device.uuid: r for r in unit.inventory(HOST)}

    def events(self, prefix: str = "") -> list[Event]:
        with self.ledger.read() as unit:
            return [e for e in reversed(unit.recent_events(1000)) if e.kind.startswith(prefix)]

    def clear_fault(self, card: int) -> None:
        """What an administrator does."""
        with self.ledger.write() as unit:
            unit.put_device(replace(self.record(card), standing_fault=None))

    def require_consistent(self) -> None:
        """No card has two owners, and no card is held by nobody."""
        with self.ledger.read() as unit:
            held = [uuid for lease in unit.live_leases(HOST) for uuid in lease.devices]
        assert len(held) == len(set(held))
        running = [u for c in self.engine.containers.values() if c.state == "running" for u in c.devices]
        assert len(running) == len(set(running))


@pytest.fixture(scope="session")
def fresh_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger to copy: migrating one for every test takes longer than the tests do."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(path)
    with ledger.read():
        pass
    ledger.close()
    return path


@pytest.fixture
def house(tmp_path: Path, fresh_ledger: Path) -> Iterator[House]:
    shutil.copy(fresh_ledger, tmp_path)
    made = House(tmp_path)
    made.tick()
    yield made
    made.require_consistent()
    made.keeper.finish(1)
    for close in made.closing:
        close()
    made.ledger.close()
