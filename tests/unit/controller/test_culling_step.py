"""The step that looks into sessions: in a thread of its own, with fakes for Engine and servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.idle import IdleWatch
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.controller.culling import CullIdle
from gpuspawner.controller.ends import SteadyClock
from gpuspawner.core.activity import Kernels, SshUse
from gpuspawner.core.idleness import IdleLimits, Limits, Step
from gpuspawner.core.model import LeaseState
from gpuspawner.core.policy import IdleSessions
from gpuspawner.ports import Address
from support.build import HOST, NOW, lease, record
from support.fake_engine import FakeEngine

LIMITS = Limits(IdleLimits(timedelta(hours=1), timedelta(minutes=30)))
EVERY = timedelta(seconds=30)
CALM = Kernels(busy=0, idle=1, terminals=0, ran_at=None)


class FakeServers:
    """Answers for everybody, or as long as ``gate`` is shut for nobody."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Address]] = []
        self.silent: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, servers: Mapping[str, Address]) -> Mapping[str, Kernels]:
        self.asked.append(dict(servers))
        assert self.gate.wait(20)
        return {name: CALM for name in servers if name not in self.silent}


class Site:
    def __init__(self, folder: Path) -> None:
        self.ledger, self.now, self.ticks = Ledger(folder / "ledger.db"), NOW, 1000.0
        self.engine, self.servers = FakeEngine(), FakeServers()
        self.mode = IdleSessions.STOP
        self.sweeper = Sweeper(self.engine, self.servers, lambda: self.now)
        watch = IdleWatch(self.ledger, HOST, lambda _: LIMITS, timedelta(days=9), lambda: self.now)
        clock = SteadyClock(lambda: self.now, lambda: self.ticks)
        self.step = CullIdle(
            self.sweeper, watch, lambda: self.mode, clock, every=EVERY, monotonic=lambda: self.ticks
        )
        self.containers = [self.engine.create(f"c{n}") for n in range(2)]
        with self.ledger.write() as unit:
            for n, container in enumerate(self.containers):
                self.engine.start(container)
                unit.put_device(record(f"GPU-{n}", index=n))
                unit.add_lease(
                    lease(
                        LeaseState.ACTIVE, f"GPU-{n}", id=f"lease{n}", container_id=container, server=f"s{n}"
                    )
                )

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds

    def sweep(self) -> list[str]:
        """Begin a sweep, and take the step after it has come back."""
        problems = list(self.step())
        self.wait_for(lambda: self.step._sweep is None or not self.step._sweep.hangs)
        return problems + list(self.step())

    @staticmethod
    def wait_for(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def verdicts(self) -> dict[str, tuple[Step, str]]:
        with self.ledger.read() as unit:
            found = {name: watch.verdict for name, watch in unit.watches().items()}
        return {name: (one.step, one.reason) for name, one in found.items() if one is not None}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.servers.gate.set()
    made.ledger.close()


def test_every_session_is_looked_into_every_half_minute(site: Site) -> None:
    assert site.sweep() == []
    assert set(site.verdicts()) == {"lease0", "lease1"}
    site.sweep()
    assert len(site.servers.asked) == 1, "not again so soon"
    site.pass_time(EVERY.total_seconds())
    site.sweep()
    assert len(site.servers.asked) == 2
    assert [call for call in site.engine.calls if call[0] == "locate"] == [
        ("locate", container) for container in site.containers
    ], "where a server listens is asked once"


def test_a_sweep_that_takes_long_holds_up_no_tick(site: Site) -> None:
    site.servers.gate.clear()
    site.step()
    for _ in range(3):
        site.pass_time(EVERY.total_seconds())
        assert list(site.step()) == []
    assert len(site.servers.asked) <= 1, "one at a time"
    site.servers.gate.set()
    site.sweep()
    assert set(site.verdicts()) == {"lease0", "lease1"}


def test_a_server_that_does_not_answer_is_not_known_and_is_looked_for_anew(site: Site) -> None:
    site.servers.silent = {"lease0"}
    site.sweep()
    site.pass_time(EVERY.total_seconds())
    site.sweep()
    found = site.verdicts()
    assert found["lease0"][0] is Step.KEEP
    assert "what its notebooks do" in found["lease0"][1]
    assert site.engine.calls.count(("locate", site.containers[0])) == 2
    assert site.engine.calls.count(("locate", site.containers[1])) == 1


def test_an_engine_that_does_not_answer_leaves_everybody_alone(site: Site) -> None:
    site.engine.fail("locate")
    assert site.sweep() == []
    assert {step for step, _ in site.verdicts().values()} == {Step.KEEP}


def test_nobody_looks_if_the_policy_says_so(site: Site) -> None:
    site.mode = IdleSessions.IGNORE
    site.step()
    assert (site.servers.asked, site.verdicts()) == ([], {})


def test_a_session_without_a_container_is_not_looked_into(site: Site) -> None:
    with site.ledger.write() as unit:
        unit.add_lease(lease(LeaseState.RESERVED, id="young", server="new", devices=()))
    site.sweep()
    assert set(site.verdicts()) == {"lease0", "lease1"}


def test_who_is_there_by_ssh_is_asked_for_what_was_typed_and_nobody_else(site: Site) -> None:
    typed = site.now - timedelta(seconds=40)
    site.engine.containers[site.containers[0]].typed_at = typed
    sweeper = Sweeper(site.engine, site.servers, lambda: site.now, lambda: {"lease0": 2, "gone": 1})
    leases = site.step._watch.running()
    found = sweeper.look(leases)
    assert found["lease0"].ssh == SshUse(2, typed)
    assert found["lease1"].ssh is None
    asked = [call for call in site.engine.calls if call[0] == "typed_at"]
    assert asked == [("typed_at", site.containers[0])]
    site.engine.fail("typed_at")
    assert sweeper.look(leases)["lease0"].ssh == SshUse(2, site.now), (
        "what cannot be seen may have been typed"
    )
