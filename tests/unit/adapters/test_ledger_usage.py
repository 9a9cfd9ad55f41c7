"""Accounts and standings in the ledger: what goes in adds up and comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.claims import Standing, Usage
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.model import Party
from support.build import HOST, NOW, ago, lease

DAY = date(2030, 5, 17)
ONE = Usage("lease1", "GPU-0", DAY, "ada", "big", "base", "A100", Party(("lab",), ("cs1",)), 10, 8, 4, 5, 2.5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def test_what_goes_in_comes_out(ledger: Ledger) -> None:
    other = replace(ONE, device="GPU-1", peak_memory_bytes=None, energy_joules=None, party=Party())
    with ledger.write() as unit:
        unit.add_usage(HOST, [])
        unit.add_usage(HOST, [ONE, other])
        assert unit.usage(HOST, DAY) == (ONE, other)
        assert unit.usage("elsewhere", DAY) == ()


@pytest.mark.parametrize(
    ("peaks", "peak"), [((5, 9), 9), ((9, 5), 9), ((None, 5), 5), ((5, None), 5), ((None, None), None)]
)
def test_more_of_the_same_day_adds_up(
    ledger: Ledger, peaks: tuple[int | None, int | None], peak: int | None
) -> None:
    """Energy and peaks alike: of two unknowns unknown, of one the other."""
    with ledger.write() as unit:
        for value in peaks:
            joules = None if value is None else float(value)
            unit.add_usage(HOST, [replace(ONE, peak_memory_bytes=value, energy_joules=joules)])
        (found,) = unit.usage(HOST, DAY)
    known = [value for value in peaks if value is not None]
    assert found == replace(
        ONE,
        held_seconds=20,
        sampled_seconds=16,
        active_seconds=8,
        peak_memory_bytes=peak,
        energy_joules=sum(known) if known else None,
    )


def test_other_days_devices_leases_and_hosts_are_rows_of_their_own(ledger: Ledger) -> None:
    others = [replace(ONE, day=DAY + timedelta(1)), replace(ONE, device="b"), replace(ONE, lease_id="b")]
    with ledger.write() as unit:
        unit.add_usage(HOST, [ONE, *others])
        unit.add_usage("elsewhere", [ONE])
        assert len(unit.usage(HOST, DAY)) == 4
        assert len(unit.usage(HOST, DAY, DAY)) == 3


def test_held_by_day(ledger: Ledger) -> None:
    next_day = DAY + timedelta(1)
    with ledger.write() as unit:
        unit.add_usage(HOST, [ONE, replace(ONE, device="b"), replace(ONE, day=next_day, held_seconds=7)])
        unit.add_usage(HOST, [replace(ONE, owner="bob", lease_id="b", held_seconds=3)])
        assert unit.held_by_day(HOST, DAY) == {"ada": {DAY: 20, next_day: 7}, "bob": {DAY: 3}}
        assert unit.held_by_day(HOST, next_day, owner="ada") == {"ada": {next_day: 7}}
        assert unit.held_by_day(HOST, DAY, owner="a' OR 1=1 --") == {}


def test_standings(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.put_standings(HOST, {})
        unit.put_standings(HOST, {"ada": Standing(1.5, NOW), "bob": Standing(2, NOW)})
        unit.put_standings(HOST, {"ada": Standing(3, ago(-1))})
        assert unit.standings(HOST) == {"ada": Standing(3, ago(-1)), "bob": Standing(2, NOW)}
        assert unit.standings("elsewhere") == {}


def test_marking_touches_nothing_else(ledger: Ledger) -> None:
    first, second = lease(ends_at=ago(-60), warned=5), lease(S.RELEASING, "GPU-1", id="b")
    with ledger.write() as unit:
        unit.add_lease(first)
        unit.add_lease(second)
        unit.mark_accounted({})
        unit.mark_accounted({first.id: NOW})
        assert unit.lease(first.id) == replace(first, accounted_at=NOW)
        assert unit.lease(second.id) == second
