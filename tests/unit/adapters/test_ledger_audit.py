"""Looking for lines of the audit trail in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.model import Event
from support.build import NOW, lease

HOUR = timedelta(hours=1)
EVENTS = (
    Event(NOW, "device.drained", "fan_50%", "root", device="GPU-0a"),
    Event(NOW + HOUR, "lease.granted", "free", "bob", lease_id="l1"),
    Event(NOW + 2 * HOUR, "session.extended", "Exam Week", "grace", lease_id="l1"),
    Event(NOW + 3 * HOUR, "ticket.ended", "left", "system", data={"owner": "ada", "ticket": "t"}),
    Event(NOW + 4 * HOUR, "session.announcement", "we reboot", "root", data={"people": ["ada", "bob"]}),
    Event(NOW + 5 * HOUR, "access.denied", "fan x50_", "ada"),
    Event(NOW + 6 * HOUR, "device.pinned", "grant", "ada%", device="MIG-1"),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        unit.add_lease(lease(id="l1", owner="ada", devices=("GPU-0a", "GPU-0b")))
        unit.add_lease(lease(id="l2", owner="bob", devices=("GPU-1",)))
        for event in EVENTS:
            unit.add_event(event)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (EventSearch(), [7, 6, 5, 4, 3, 2, 1]),
        (EventSearch(kind="session."), [5, 3]),
        (EventSearch(kind="%"), []),
        (EventSearch(actor="ada"), [6]),
        (EventSearch(person="ada"), [6, 5, 4, 3, 2]),
        (EventSearch(person="bob"), [5, 2]),
        (EventSearch(person="ad"), []),
        (EventSearch(person="ada%"), [7]),
        (EventSearch(card="GPU-0"), [3, 2, 1]),
        (EventSearch(card="GPU-0b"), [3, 2]),
        (EventSearch(card="_"), []),
        (EventSearch(text="exam week"), [3]),
        (EventSearch(text="50%"), [1]),
        (EventSearch(text="n_5"), [1]),
        (EventSearch(text="' OR 1=1 --"), []),
        (EventSearch(since=NOW + 5 * HOUR), [7, 6]),
        (EventSearch(until=NOW + HOUR), [1]),
        (EventSearch(before=3), [2, 1]),
        (EventSearch(after=6), [7]),
        (EventSearch(person="ada", kind="session.", text="E"), [5, 3]),
        (EventSearch(person="ada", card="GPU-0a", until=NOW + 2 * HOUR), [2]),
    ],
)
def test_each_part_narrows_it(ledger: Ledger, search: EventSearch, found: list[int]) -> None:
    with ledger.read() as unit:
        assert [event.id for event in unit.find_events(search, 100)] == found
        assert [event.id for event in unit.find_events(search, 2)] == found[:2]


def test_one_event(ledger: Ledger) -> None:
    with ledger.read() as unit:
        assert unit.event(3) == EVENTS[2]
        assert unit.event(8) is None
        assert unit.last_event_id() == 7
        kinds = ("device.drained", "device.undrained")
        assert unit.newest_about(["GPU-0a", "MIG-1"], kinds, 0) == {"GPU-0a": 1}
        assert unit.newest_about(["GPU-0a"], kinds, 1) == {}


def test_an_empty_trail(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "empty.db")
    with ledger.read() as unit:
        assert (unit.last_event_id(), unit.find_events(EventSearch(person="ada", card="x"), 9)) == (0, [])
    ledger.close()
