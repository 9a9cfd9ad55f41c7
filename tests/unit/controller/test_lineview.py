"""One look at the line for all who ask at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.controller.lineview import GOOD_FOR_SECONDS, SharedLine
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Party, SpawnRequest, Terms
from support.fake_cases import FakeLine, View


class CountingLine(FakeLine):
    looks = 0

    def view(self) -> View:
        self.looks += 1
        return super().view()


class House:
    def __init__(self, ledger: Ledger) -> None:
        self.line, self.ticks = CountingLine(ledger), 0.0
        self.shared = SharedLine(self.line, lambda: self.ticks)

    def ask(self, owner: str) -> str:
        return self.shared.ask(
            SpawnRequest(1), owner=owner, server="", party=Party(), terms=Terms(), image="i"
        ).id


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(Ledger(tmp_path / "ledger.db"))


def test_a_look_is_good_for_a_second(house: House) -> None:
    first = house.shared.view()
    house.ticks = GOOD_FOR_SECONDS - 0.1
    assert house.shared.view() is first
    house.ticks = GOOD_FOR_SECONDS
    house.shared.view()
    assert house.line.looks == 2


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
    assert house.line.looks == 1
