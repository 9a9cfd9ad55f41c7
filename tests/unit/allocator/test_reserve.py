"""The use cases of a lease, over the real ledger."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator, Cards, Line
from gpuspawner.core.claims import Terms, TicketState, Usage
from gpuspawner.core.drains import WITHOUT_CARD
from gpuspawner.core.errors import IllegalTransition, LedgerError, RefusalKind, Refused
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Event, Home, HomeKind, Lease, Party, SpawnRequest
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.policy import allow
from support.build import HOST, NOW, record

STALE = timedelta(seconds=30)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture
def allocator(ledger: Ledger) -> Allocator:
    with ledger.write() as unit:
        for n in range(2):
            unit.put_device(record(f"GPU-{n}", index=n))
    return Allocator(ledger, HOST, allow(2, 2), STALE, lambda: NOW)


def reserve(allocator: Allocator, gpus: int = 1, owner: str = "ada", server: str = "") -> Lease:
    return allocator.reserve(SpawnRequest(gpus), owner=owner, server=server, claimant="run1", image="base")


def events(ledger: Ledger) -> list[Event]:
    with ledger.read() as unit:
        return list(reversed(unit.recent_events(100)))


def states(allocator: Allocator) -> list[tuple[str, S]]:
    return sorted((lease.owner, lease.state) for lease in allocator.status().leases)


def test_while_they_are_drained_no_server_without_a_card_begins(allocator: Allocator, ledger: Ledger) -> None:
    Cards(ledger, HOST, lambda: NOW).drain(WITHOUT_CARD, reason="new disks", actor="root")
    with pytest.raises(Refused, match="drained by root: new disks") as refused:
        reserve(allocator, 0)
    assert refused.value.kind is RefusalKind.NOT_NOW
    assert allocator.stock("ada").stopped == "drained by root: new disks"
    assert reserve(allocator, 1).devices
    Cards(ledger, HOST, lambda: NOW).undrain(WITHOUT_CARD, reason="done", actor="root")
    assert reserve(allocator, 0, "bob").devices == ()
    assert allocator.stock("ada").stopped is None


def test_a_grant(allocator: Allocator, ledger: Ledger) -> None:
    lease = reserve(allocator)
    assert lease == Lease(
        id=lease.id,
        host=HOST,
        owner="ada",
        server="",
        devices=("GPU-0",),
        state=S.RESERVED,
        reason="1 GPU was free",
        claimant="run1",
        created_at=NOW,
        state_since=NOW,
        image="base",
    )
    assert allocator.status().leases == (lease,)
    assert [(o.total, o.free) for o in allocator.stock().offers] == [(2, 1)]
    assert events(ledger) == [
        Event(NOW, "lease.granted", lease.reason, "ada", lease.id, data={"devices": ["GPU-0"]})
    ]


@pytest.mark.parametrize(("gpus", "kind"), [(1, RefusalKind.NOT_NOW), (3, RefusalKind.NOT_ALLOWED)], ids=str)
def test_a_refusal_is_stored(allocator: Allocator, ledger: Ledger, gpus: int, kind: RefusalKind) -> None:
    reserve(allocator, 2, owner="bob")
    with pytest.raises(Refused) as caught:
        reserve(allocator, gpus)
    assert caught.value.kind is kind
    assert states(allocator) == [("bob", S.RESERVED)]
    stored = {"gpus": gpus, "model": None, "kind": kind.value}
    assert events(ledger)[-1] == Event(NOW, "lease.refused", str(caught.value), "ada", data=stored)


def test_without_an_inventory_no_gpu_and_yet_a_server(ledger: Ledger) -> None:
    allocator = Allocator(ledger, HOST, allow(2, 2), STALE, lambda: NOW)
    with pytest.raises(Refused) as caught:
        reserve(allocator)
    assert caught.value.kind is RefusalKind.NO_INVENTORY
    assert reserve(allocator, 0).devices == ()


def test_activate_and_let_go(allocator: Allocator, ledger: Ledger) -> None:
    lease = reserve(allocator)
    active = allocator.activate(lease.id, container_id="c1", claimant="run2")
    assert (active.state, active.container_id, active.claimant) == (S.ACTIVE, "c1", "run2")
    again = allocator.activate(lease.id, container_id="c1", claimant="run3")
    assert (again.state_since, again.claimant) == (active.state_since, "run3")
    for _ in range(2):
        allocator.request_release(lease.id, reason="stopped", actor="ada")
    with ledger.read() as unit:
        last = unit.last_lease("ada", "")
    assert last
    assert (last.state, last.reason) == (S.RELEASING, "stopped")
    assert [e.kind for e in events(ledger)] == ["lease.granted", "lease.active", "lease.releasing"]
    with pytest.raises(IllegalTransition):
        allocator.activate(lease.id, container_id="c1", claimant="run2")


def test_a_lease_is_confirmed_until_it_is_let_go_of(allocator: Allocator) -> None:
    lease = reserve(allocator)
    assert allocator.confirm(lease.id) == lease
    allocator.request_release(lease.id, reason="the start took too long", actor="agent")
    with pytest.raises(IllegalTransition, match="given back before your server was ready: the start took"):
        allocator.confirm(lease.id)


def test_an_unknown_lease(allocator: Allocator) -> None:
    allocator.request_release("none", reason="stopped", actor="ada")
    with pytest.raises(LedgerError, match="Lease none is not in the ledger"):
        allocator.activate("none", container_id="c1", claimant="run1")


def test_a_new_start_replaces_the_lease_of_the_same_server_and_gets_another_card(
    allocator: Allocator, ledger: Ledger
) -> None:
    first = reserve(allocator)
    second = reserve(allocator)
    assert second.devices == ("GPU-1",)
    assert states(allocator) == [("ada", S.RELEASING), ("ada", S.RESERVED)]
    replaced = next(e for e in events(ledger) if e.kind == "lease.releasing")
    assert (replaced.lease_id, replaced.actor) == (first.id, "ada")
    assert replaced.reason == "a new start of the same server replaced it"
    with pytest.raises(Refused):
        reserve(allocator)
    assert states(allocator) == [("ada", S.RELEASING)] * 2


def test_another_server_of_the_same_person_is_not_replaced(allocator: Allocator) -> None:
    reserve(allocator)
    reserve(allocator, server="second")
    assert states(allocator) == [("ada", S.RESERVED)] * 2


@pytest.mark.parametrize("state", [S.RELEASING, S.QUARANTINED])
def test_a_card_is_held_until_it_is_proved_free(allocator: Allocator, ledger: Ledger, state: S) -> None:
    lease = reserve(allocator, 2)
    allocator.request_release(lease.id, reason="stopped", actor="ada")
    with ledger.write() as unit:
        released = unit.lease(lease.id)
        assert released
        if state is S.QUARANTINED:
            unit.update_lease(step(released, state, now=NOW, reason="stopped"))
    with pytest.raises(Refused):
        reserve(allocator, owner="bob")
    with ledger.write() as unit:
        released = unit.lease(lease.id)
        assert released
        unit.update_lease(step(released, S.RELEASED, now=NOW, reason="stopped"))
    assert reserve(allocator, owner="bob").devices == ("GPU-0",)


RACER = """
import sys, time
from datetime import timedelta, datetime, UTC
from pathlib import Path
from typing import Any
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator, Line
from gpuspawner.core.errors import Refused
from gpuspawner.core.model import SpawnRequest, Home, HomeKind
from gpuspawner.core.policy import allow
me = sys.argv[2]
ledger = Ledger(Path(sys.argv[1]))
allocator = Allocator(ledger, "gpu1", allow(9, 9), timedelta(days=9999))
allocator.status()
print("ready", flush=True)
sys.stdin.readline()
try:
    got = allocator.reserve(SpawnRequest(1), owner=me, server="", claimant="r", image="i").devices[0]
except Refused as error:
    got = error.kind.value
home = allocator.ensure_home(Home("ada", HomeKind.VOLUME, f"home-{me}")).source
print(got, home, flush=True)
"""


def test_processes_that_race_for_the_last_card_and_for_a_home(
    allocator: Allocator, ledger: Ledger, tmp_path: Path
) -> None:
    reserve(allocator, owner="before")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path / "ledger.db"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=20)[0].split() for racer in racers]
    assert sorted(got for got, _ in told) == ["GPU-1", "not_free_now"]
    assert len({home for _, home in told}) == 1
    assert [e.kind for e in events(ledger)].count("home.created") == 1


def test_thirty_threads_for_two_cards(allocator: Allocator, ledger: Ledger) -> None:
    got: list[str] = []

    def start(n: int) -> None:
        try:
            got.append(reserve(allocator, owner=f"user{n}").devices[0])
        except Refused as error:
            got.append(error.kind.value)

    in_threads(30, start)
    assert sorted(got) == ["GPU-0", "GPU-1", *["not_free_now"] * 28]
    assert sorted(e.kind for e in events(ledger)) == ["lease.granted"] * 2 + ["lease.refused"] * 28


def in_threads(how_many: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(how_many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_home_is_bound_once(allocator: Allocator, ledger: Ledger) -> None:
    first = Home("ada", HomeKind.VOLUME, "home-1")
    assert allocator.ensure_home(first) == first
    assert allocator.ensure_home(Home("ada", HomeKind.VOLUME, "home-2")) == first
    with pytest.raises(LedgerError):
        allocator.ensure_home(Home("bob", HomeKind.VOLUME, "home-1"))
    assert [e.reason for e in events(ledger)] == ["first server"]


def test_the_ledger_has_a_name(allocator: Allocator) -> None:
    assert allocator.ledger_id() == allocator.ledger_id() != ""


def test_a_silent_agent_leaves_the_cards_on_show_and_says_why_none_can_be_had(ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.put_device(record("GPU-0", seen_at=NOW - timedelta(minutes=5)))
    stock = Allocator(ledger, HOST, allow(2, 2), STALE, lambda: NOW).stock()
    assert [(o.total, o.free) for o in stock.offers] == [(1, 0)]
    assert stock.problem
    assert "last reported 5 min ago" in stock.problem


def test_the_same_refusal_is_told_once_a_minute(allocator: Allocator, ledger: Ledger) -> None:
    for _ in range(5):
        with pytest.raises(Refused):
            reserve(allocator, gpus=9)
    assert [event.kind for event in events(ledger)].count("lease.refused") == 1


def used(ledger: Ledger, hours: float) -> None:
    """What ada has held today, in an earlier session."""
    account = Usage("old", "GPU-9", NOW.date(), "ada", "", "base", "A100", Party(), held_seconds=hours * 3600)
    with ledger.write() as unit:
        unit.add_usage(HOST, [account])


def budgeted(ledger: Ledger, hours: float, **limits: Any) -> Allocator:
    return Allocator(ledger, HOST, allow(2, 2, gpu_hours_per_week=hours, **limits), STALE, lambda: NOW)


def test_a_budget_that_is_used_up_is_a_limit(allocator: Allocator, ledger: Ledger) -> None:
    used(ledger, 10)
    with pytest.raises(Refused) as caught:
        reserve(budgeted(ledger, 10))
    assert caught.value.kind is RefusalKind.NOT_ALLOWED
    assert "10 h of 10 GPU-hours in the last seven days" in str(caught.value)
    assert reserve(budgeted(ledger, 10), 0).devices == ()


def test_what_is_left_of_a_budget_is_the_session_s_end(allocator: Allocator, ledger: Ledger) -> None:
    used(ledger, 4)
    lease = reserve(budgeted(ledger, 10), 2)
    assert lease.ends_at == NOW + timedelta(hours=3)
    assert lease.end_reason.startswith("your 10 GPU-hours in seven days are used up then")


def test_an_offer_is_not_taken_up_while_the_state_of_the_cards_is_unknown(
    allocator: Allocator, ledger: Ledger
) -> None:
    now = [NOW]
    line = Line(ledger, HOST, STALE, lambda: now[0])
    asked = line.ask(SpawnRequest(1), owner="ada", server="", party=Party(), terms=Terms(), image="base")
    line.grant_turns()
    now[0] += timedelta(seconds=31)
    later = Allocator(ledger, HOST, allow(2, 2), STALE, lambda: now[0])
    with pytest.raises(Refused) as caught:
        reserve(later)
    assert caught.value.kind is RefusalKind.NO_INVENTORY
    with ledger.read() as unit:
        found = unit.ticket(asked.id)
    assert found is not None
    assert found.state is TicketState.OFFERED, "the controller tries again"
    assert reserve(later, 0).devices == ()
