"""What the start page is told: it must agree with what a start is then given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator, OwnPlace, Stock
from gpuspawner.allocator.line import Line
from gpuspawner.core.claims import Usage
from gpuspawner.core.errors import InLine, Refused
from gpuspawner.core.model import Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.policy import allow
from support.build import HOST, NOW, device, lease, record, ticket
from support.reservations import reservation

STALE = timedelta(seconds=30)
HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        for n in range(2):
            unit.put_device(record(f"GPU-{n}", index=n))
    yield made
    made.close()


def allocator(ledger: Ledger, most: int = 2, **limits: Any) -> Allocator:
    return Allocator(ledger, HOST, allow(most, most, **limits), STALE, lambda: NOW)


def take(ledger: Ledger, owner: str, *devices: str, **changes: Any) -> Lease:
    made = lease(LeaseState.ACTIVE, *devices, id=f"of-{owner}-{'-'.join(devices)}", owner=owner, **changes)
    with ledger.write() as unit:
        unit.add_lease(made)
    return made


def wait(ledger: Ledger, name: str, **changes: Any) -> None:
    with ledger.write() as unit:
        unit.add_ticket(ticket(id=name, **changes))


def start(made: Allocator, owner: str = "ada", **options: Any) -> str:
    """What a start gets."""
    request = SpawnRequest(1, shorten=True, **options)
    try:
        made.reserve(request, owner=owner, server="", claimant="run1", image="base", queue=True)
    except InLine:
        return "in line"
    except Refused:
        return "refused"
    return "granted"


def only(stock: Stock) -> Any:
    (offer,) = stock.offers
    return offer


def test_free(ledger: Ledger) -> None:
    made = allocator(ledger, longest_session=8 * HOUR)
    stock = made.stock("ada")
    assert (only(stock).free, only(stock).waits, only(stock).until) == (2, None, None)
    assert (stock.refused, stock.holding, stock.waiting, stock.places, stock.balance) == (
        None,
        0,
        0,
        (),
        None,
    )
    assert start(made) == "granted"


def test_what_one_holds_elsewhere_is_told_before_the_start(ledger: Ledger) -> None:
    made = allocator(ledger, most=1)
    take(ledger, "ada", "GPU-0", server="second")
    stock = made.stock("ada")
    assert stock.holding == 1
    assert "You hold 1 GPU in other servers, and one person may hold at most 1. Stop" in str(stock.refused)
    assert start(made) == "refused"
    assert made.stock("eve").refused is None


def test_what_the_same_server_held_is_not_elsewhere(ledger: Ledger) -> None:
    made = allocator(ledger, most=1)
    take(ledger, "ada", "GPU-0")
    stock = made.stock("ada")
    assert (stock.holding, stock.refused, only(stock).waits) == (0, None, None)
    assert start(made) == "granted"


@pytest.mark.parametrize(("used", "outcome"), [(19.0, "granted"), (19.99, "refused"), (21.0, "refused")])
def test_a_budget(ledger: Ledger, used: float, outcome: str) -> None:
    """Also when nobody waits: what was used is looked up for whoever looks."""
    made = allocator(ledger, gpu_hours_per_week=20.0)
    with ledger.write() as unit:
        held = Usage("x", "GPU-9", NOW.date(), "ada", "", "base", "A100", Party(), held_seconds=used * 3600)
        unit.add_usage(HOST, [held])
    stock = made.stock("ada")
    assert stock.balance is not None
    assert stock.balance.used_hours == pytest.approx(used)
    assert (stock.refused is not None) == (outcome == "refused")
    if outcome == "granted":
        assert only(stock).until == NOW + HOUR
        assert "GPU-hours" in only(stock).because
    assert start(made) == outcome


def test_places_and_estimates(ledger: Ledger) -> None:
    made = allocator(ledger)
    take(ledger, "bob", "GPU-0", ends_at=NOW + HOUR)
    take(ledger, "eve", "GPU-1", ends_at=NOW + 3 * HOUR)
    wait(ledger, "grace")
    wait(ledger, "mine", owner="ada", server="second", queued_at=NOW - timedelta(seconds=30))
    stock = made.stock("ada")
    assert stock.waiting == 2
    assert stock.places == (OwnPlace("second", 1, None, 2),)
    found = only(stock)
    assert (found.free, found.ahead, found.latest) == (0, 2, None), "two are before, and two sessions end"
    stock = made.stock("ada", "second")
    assert stock.places == (OwnPlace("second", 1, None, 2),)
    assert (only(stock).ahead, only(stock).latest) == (1, NOW + 3 * HOUR), "one's own place does not count"
    assert [place.position for place in made.stock("grace").places] == [1]


def test_a_turn_that_has_come(ledger: Ledger) -> None:
    made = allocator(ledger, most=1)
    take(ledger, "bob", "GPU-0", "GPU-1")
    assert start(made) == "in line"
    with ledger.write() as unit:
        unit.update_lease(lease(LeaseState.RELEASED, "GPU-0", "GPU-1", id="of-bob-GPU-0-GPU-1", owner="bob"))
    Line(ledger, HOST, STALE, lambda: NOW).grant_turns()
    stock = made.stock("ada")
    (place,) = stock.places
    assert (place.position, place.claim_by) == (None, NOW + timedelta(minutes=5))
    assert (stock.refused, stock.holding) == (None, 0), "what is kept for this server is not held elsewhere"
    assert start(made) == "granted"


@pytest.mark.parametrize("begins", [-HOUR, timedelta(minutes=5)])
def test_what_is_reserved_for_others(ledger: Ledger, begins: timedelta) -> None:
    made = allocator(ledger)
    with ledger.write() as unit:
        unit.put_reservation(reservation(start=NOW + begins, length=4 * HOUR))
    found = only(made.stock("ada"))
    assert (found.free, found.reserved) == (2, "Tuesday lab")
    assert found.until == NOW + begins + 4 * HOUR
    assert only(made.stock("grace", party=Party((), ("cs231",)))).reserved is None
    assert start(made) == "in line"


def test_a_reservation_that_comes_later_ends_the_session(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.put_reservation(reservation(start=NOW + 2 * HOUR))
    made = allocator(ledger, longest_session=8 * HOUR)
    found = only(made.stock("ada"))
    assert (found.reserved, found.waits, found.until) == (None, None, NOW + 2 * HOUR)
    assert "Tuesday lab" in found.because
    assert only(allocator(ledger, longest_session=HOUR).stock("ada")).until is None


def test_what_is_kept_for_a_larger_request_is_not_called_reserved(ledger: Ledger) -> None:
    take(ledger, "bob", "GPU-0", ends_at=NOW + timedelta(minutes=5))
    wait(ledger, "grace", request=SpawnRequest(2))
    found = only(allocator(ledger).stock("ada"))
    assert (found.free, found.reserved, found.waits is not None, found.ahead) == (1, None, True, 1)


def test_slices_are_told_apart(ledger: Ledger) -> None:
    name = "A100 MIG 1g.5gb"
    with ledger.write() as unit:
        part = device("MIG-1", model=name, parent="GPU-9", index=2)
        unit.put_device(record("MIG-1", device=part))
    stock = allocator(ledger).stock("ada")
    assert [(offer.model, offer.sliced) for offer in stock.offers] == [("A100", False), (name, True)]
    assert stock.any_gpu is not None
    assert stock.any_gpu.total == 2
