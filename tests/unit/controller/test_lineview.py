"""One look at the line for all who ask at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Line
from gpuspawner.allocator.line import LineView
from gpuspawner.controller.lineview import GOOD_FOR_SECONDS, SharedLine
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import LeaseState, Party, SpawnRequest, Terms
from support.build import HOST, NOW, lease, record


class House:
    """Two cards that are taken."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks, self.looks = 0.0, 0
        ledger = Ledger(folder / "ledger.db")
        with ledger.write() as unit:
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n))
            unit.add_lease(lease(LeaseState.ACTIVE, "GPU-0", "GPU-1", owner="edsger"))
        look = Line.view

        def count(line: Line) -> LineView:
            self.looks += 1
            return look(line)

        monkeypatch.setattr(Line, "view", count)
        window, day = timedelta(minutes=5), timedelta(days=1)
        self.shared = SharedLine(ledger, HOST, day, lambda: NOW, window=window, monotonic=lambda: self.ticks)

    def ask(self, owner: str) -> str:
        return self.shared.ask(
            SpawnRequest(1), owner=owner, server="", party=Party(), terms=Terms(), image="i"
        ).id


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_a_look_is_good_for_a_second(house: House) -> None:
    first = house.shared.view()
    house.ticks = GOOD_FOR_SECONDS - 0.1
    assert house.shared.view() is first
    house.ticks = GOOD_FOR_SECONDS
    house.shared.view()
    assert house.looks == 2


def test_what_somebody_changes_is_seen_at_once(house: House) -> None:
    assert len(house.shared.view().places) == 0
    ticket = house.ask("ada")
    assert [place.ticket.id for place in house.shared.view().places] == [ticket]
    house.shared.change(ticket, SpawnRequest(2), actor="ada")
    assert house.shared.view().places[0].ticket.request.gpus == 2
    with pytest.raises(InvalidRequest):
        house.shared.claim(ticket, actor="ada")
    house.shared.leave(ticket, actor="ada", reason="r")
    assert len(house.shared.view().places) == 0


def test_a_crowd_looks_once(house: House) -> None:
    house.ask("ada")
    threads = [threading.Thread(target=house.shared.view) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.looks == 1
