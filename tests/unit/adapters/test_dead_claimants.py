"""Whether those that reserved cards still live: the hub, and checks of images, each by a lock of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuspawner.adapters.runlock import CHECK, RunLock, check_lock, find_dead_claimants


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def find(ledger: Path, *claimants: str) -> frozenset[str]:
    return find_dead_claimants(Path(f"{ledger}.hub.lock"), ledger, claimants)


def test_each_is_asked_at_its_own_lock(ledger: Path) -> None:
    hub, check = RunLock(Path(f"{ledger}.hub.lock"), "hub"), RunLock(check_lock(ledger), "check")
    mine = f"{CHECK}{check.run_id}"
    claimants = (hub.run_id, mine, "old-hub", f"{CHECK}old-check")
    assert find(ledger, *claimants) == {"old-hub", f"{CHECK}old-check"}
    check.release()
    assert find(ledger, *claimants) == {"old-hub", f"{CHECK}old-check", mine}
    hub.release()
    assert find(ledger, *claimants) == set(claimants)


def test_a_lock_that_is_not_there_tells_nothing(ledger: Path) -> None:
    RunLock(Path(f"{ledger}.hub.lock"), "hub").release()
    assert find(ledger, "old-hub", f"{CHECK}one") == {"old-hub"}
