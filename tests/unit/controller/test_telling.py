"""The step that brings messages to people: each once, also when it fails, hangs, or is killed on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.allocator.outbox import Outbox
from gpuspawner.controller.hubcalls import HubCalls
from gpuspawner.controller.telling import Deliver, TellPeople, in_terminals
from gpuspawner.core.errors import DeliveryError, LedgerError
from gpuspawner.core.model import LeaseState, Message
from gpuspawner.core.notices import Channel, Notice
from support.build import HOST, NOW, lease, record
from support.fake_engine import FakeEngine


class Post:
    """Takes messages, fails, or hangs."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, notice: Notice) -> Deliver | None:
        return None if notice.message.owner == "nobody" else lambda: self._take(notice.id)

    def _take(self, id_: int) -> None:
        assert self.gate.wait(20)
        if self.fails:
            raise DeliveryError("The post is shut.")
        self.taken.append(id_)


class Site:
    def __init__(self, folder: Path) -> None:
        self.ledger, self.now, self.ticks = Ledger(folder / "ledger.db"), NOW, 1000.0
        self.engine, self.post = FakeEngine(), Post()
        self.said: list[str] = []
        self.container = self.engine.create("c1")
        self.engine.start(self.container)
        with self.ledger.write() as unit:
            unit.put_device(record("GPU-0"))
            unit.add_lease(lease(container_id=self.container))
        self.begin()

    def begin(self) -> None:
        """A controller starts."""
        outbox = Outbox(self.ledger, HOST, lambda: self.now)
        channels = {
            Channel.MAIL: self.post.prepare,
            Channel.TERMINALS: in_terminals(self.engine, "/servers"),
        }
        self.step = TellPeople(outbox, channels, lambda: HubCalls(lambda: self.ticks))

    def leave(self, text: str = "Soon.", owner: str = "ada", lease_id: str | None = "lease1") -> None:
        with self.ledger.write() as unit:
            unit.add_message(Message(self.now, owner, text, "culler", lease_id))

    def tick(self, seconds: float = 2) -> list[str]:
        """A step, and time for what it began."""
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds
        problems = list(self.step())
        self.said += problems
        time.sleep(0.05)
        return problems

    def wait(self, holds: Callable[[], object], seconds: float = 2) -> None:
        for _ in range(200):
            if holds():
                return
            self.tick(seconds)
        raise AssertionError("it never held")

    def open(self) -> int:
        with self.ledger.read() as unit:
            return unit.deliveries_open()["mail"]

    @property
    def lines(self) -> list[str]:
        return self.engine.containers[self.container].written


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_message_once_on_each_channel(site: Site) -> None:
    site.leave("One.")
    site.leave("Two.", lease_id=None)
    site.leave("Three.", owner="nobody")
    for _ in range(6):
        assert site.tick() == []
    assert sorted(site.post.taken) == [1, 2]
    assert sorted(site.lines) == ["*** One. (See /servers) ***", "*** Three. (See /servers) ***"]
    site.begin()
    for _ in range(3):
        site.tick()
    assert len(site.post.taken) == 2, "a restart tells nobody anew"
    assert len(site.lines) == 2


def test_what_was_not_written_down_is_delivered_once_more(site: Site) -> None:
    site.leave()
    site.tick()
    assert site.post.taken == [1]
    site.begin()  # kill -9 between the delivery and its record
    site.wait(lambda: len(site.post.taken) == 2)
    for _ in range(5):
        site.tick()
    assert site.post.taken == [1, 1]


@pytest.mark.parametrize("broken", [("mail",), ("mail", "terminals")])
def test_a_ledger_that_cannot_be_written_repeats_nothing_and_stops_no_other_channel(
    site: Site, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    written = LedgerUnit.put_delivery

    def refuse(unit: LedgerUnit, id_: int, channel: Channel, **values: object) -> None:
        if channel.value in broken:
            raise LedgerError("The disk is full.")
        written(unit, id_, channel, **values)  # type: ignore[arg-type]

    site.leave()
    site.leave("Two.", owner="nobody")
    with monkeypatch.context() as patch:
        patch.setattr(LedgerUnit, "put_delivery", refuse)
        for n in range(8):
            if n == 4:
                site.leave("Three.")
            try:
                site.tick(5)
            except LedgerError:
                time.sleep(0.05)
        with pytest.raises(LedgerError, match="full"):
            site.tick(5)
        assert (site.post.taken, len(site.lines)) == ([1, 3], 3)
    for _ in range(3):
        site.tick(15)
    site.begin()  # it is written down by now
    for _ in range(3):
        site.tick(15)
    assert (site.post.taken, len(site.lines)) == ([1, 3], 3)


def test_what_fails_is_tried_again_later_and_given_up_when_it_is_stale(site: Site) -> None:
    site.post.fails = True
    site.leave()
    site.tick()
    assert site.tick() == ["The post is shut."]
    assert (site.tick(5), site.open()) == ([], 1), "not before a pause"
    site.wait(lambda: len(site.said) == 2)
    site.post.fails = False
    site.wait(lambda: site.post.taken == [1], 60)
    site.wait(lambda: site.open() == 0)

    site.post.fails = True
    site.leave()
    site.wait(lambda: site.open() == 1)
    site.tick(31 * 60)
    site.tick()
    assert site.open() == 0
    site.post.fails = False
    for _ in range(5):
        site.tick(60)
    assert site.post.taken == [1]
    with site.ledger.read() as unit:
        (failed,) = [one for one in unit.recent_events(10) if one.kind == "notice.failed"]
    assert failed.reason == "A message could not be delivered (mail): The post is shut."


def test_a_message_of_long_ago_is_not_delivered(site: Site) -> None:
    site.leave()
    site.now += timedelta(hours=1)
    site.tick()
    site.tick()
    assert (site.post.taken, site.lines) == ([], [])


def test_a_channel_that_hangs_delays_no_other_and_no_tick(site: Site) -> None:
    site.post.gate.clear()
    for _ in range(40):
        site.leave()
    began = time.monotonic()
    site.wait(lambda: len(site.lines) == 40)
    assert threading.active_count() < 40, "calls under way at once are bounded"
    assert time.monotonic() - began < 15
    site.post.gate.set()
    site.wait(lambda: len(site.post.taken) == 40)


def test_terminals_of_a_session_that_is_over_or_of_a_silent_engine(site: Site) -> None:
    site.engine.fail("write_to_terminals")
    site.leave("One.")
    site.tick()
    assert "did not write_to_terminals" in site.tick()[0]
    site.engine.failures.clear()
    site.wait(lambda: site.lines == ["*** One. (See /servers) ***"])
    with site.ledger.write() as unit:
        unit.update_lease(lease(LeaseState.RELEASING, container_id=site.container))
    site.leave("Two.")
    for _ in range(4):
        site.tick()
    assert len(site.lines) == 1
