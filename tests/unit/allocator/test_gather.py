"""How far ahead a decision looks for reservations, and what it may keep of a look before the lock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.gather import HORIZON, find_reach, gather, look_ahead
from gpuspawner.core.claims import Holder, Reservation, Terms
from support.build import HOST, NOW, ticket
from support.reservations import person

DAY = timedelta(days=1)
STALE = timedelta(seconds=30)


def daily(name: str = "r1") -> Reservation:
    return Reservation(
        id=name,
        host=HOST,
        title=name,
        holder=Holder("person", "ada"),
        devices=1,
        start=NOW + timedelta(hours=2),
        length=timedelta(hours=1),
        zone="UTC",
        actor=person("root"),
        made_at=NOW,
        rule="FREQ=DAILY;COUNT=60",
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        unit.put_reservation(daily())
    yield made
    made.close()


@pytest.mark.parametrize(
    ("longest", "reach"),
    [
        ([], HORIZON),
        ([None], HORIZON),
        ([DAY], DAY),
        ([DAY, 2 * DAY], 2 * DAY),
        ([DAY, None], HORIZON),
        ([100 * DAY], HORIZON),
    ],
)
def test_how_far_sessions_come(longest: list[timedelta | None], reach: timedelta) -> None:
    assert find_reach(longest) == reach


def test_a_look_before_the_lock_is_kept_while_it_reaches_and_nothing_changed(ledger: Ledger) -> None:
    with ledger.write() as unit:
        known = look_ahead(unit, HOST, NOW, reach=3 * DAY)
        assert len(known.occurrences) == 3
        assert look_ahead(unit, HOST, NOW, reach=3 * DAY, known=known) is known
        assert look_ahead(unit, HOST, NOW, reach=DAY, known=known) is known
        assert len(look_ahead(unit, HOST, NOW, reach=5 * DAY, known=known).occurrences) == 5
        unit.put_reservation(daily("r2"))
        assert len(look_ahead(unit, HOST, NOW, reach=3 * DAY, known=known).occurrences) == 6


@pytest.mark.parametrize(("other", "dates"), [(2 * DAY, 2), (None, 35)])
def test_those_who_wait_longer_and_may_work_longer_are_looked_ahead_for(
    ledger: Ledger, other: timedelta | None, dates: int
) -> None:
    """What they take now must not run into a reservation that the one who asks cannot come upon."""
    with ledger.write() as unit:
        unit.add_ticket(ticket(id="t-bob", owner="bob", terms=Terms(longest=other)))
        known = look_ahead(unit, HOST, NOW, reach=DAY)
        asking = [ticket(id="t-ada", owner="ada", terms=Terms(longest=DAY))]
        found = gather(unit, HOST, now=NOW, stale_after=STALE, asking=asking, ahead=known)
        assert len(found.occurrences) == dates
        assert len(gather(unit, HOST, now=NOW, stale_after=STALE).occurrences) == 35
