"""Turns: offered, started through the Hub, claimed or given on, over the real line and ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Allocator, Line, Sessions
from gpuspawner.controller.hubcalls import AGAIN_SECONDS, HubCalls
from gpuspawner.controller.turns import NOT_CLAIMED, KeepTurns
from gpuspawner.core.claims import Terms, Ticket, TicketState
from gpuspawner.core.errors import Conflict, HubError
from gpuspawner.core.lifecycle import step
from gpuspawner.core.model import Lease, LeaseState, Party, SpawnRequest
from gpuspawner.core.policy import allow
from gpuspawner.core.sessions import Stop
from gpuspawner.ports import HubServer
from support.build import HOST, NOW, record
from support.fake_hub import FakeHub

STALE = timedelta(days=1)
WINDOW = timedelta(minutes=5)
ONE = SpawnRequest(1)


class Hall:
    """One card, a line, a Hub, and the step; `visited` says whose servers somebody works in."""

    def __init__(self, folder: Path) -> None:
        self.now, self.ticks = NOW, 0.0
        self.ledger = Ledger(folder / "ledger.db")
        self.hub = FakeHub(people={"ada": frozenset(), "grace": frozenset()})
        self.line = Line(self.ledger, HOST, STALE, lambda: self.now, WINDOW)
        self.visited: set[str] = set()
        with self.ledger.write() as unit:
            unit.put_device(record())
        self.new_controller()

    def new_controller(self) -> None:
        """As after ``kill -9``."""
        self.step = KeepTurns(
            self.line,
            self.hub,
            was_opened=lambda lease: lease.owner in self.visited,
            clock=lambda: self.now,
            calls=HubCalls(lambda: self.ticks),
            looks=HubCalls(lambda: self.ticks, 0),
        )

    def tick(self, **passed: float) -> list[str]:
        """Let time pass, take the step, wait for the calls, and take it again for what follows."""
        self.now += timedelta(**passed)
        self.ticks += timedelta(**passed).total_seconds()
        problems = list(self.step())
        for _ in range(2):
            self.step.finish(10)
            self.step._looks.finish(10)
            problems += self.step()
        return problems

    def ask(self, owner: str = "ada", server: str = "") -> Ticket:
        return self.line.ask(
            ONE, owner=owner, server=server, party=Party(), terms=Terms(), image="demo/base:1"
        )

    def ticket(self, ticket: Ticket) -> Ticket:
        with self.ledger.read() as unit:
            found = unit.ticket(ticket.id)
        assert found
        return found

    def lease(self, ticket: Ticket) -> Lease:
        with self.ledger.read() as unit:
            found = unit.lease(self.ticket(ticket).lease_id or "")
        assert found
        return found

    def hub_takes_up(self, ticket: Ticket, *, runs: bool = True) -> Lease:
        """What the Hub's spawner does at a start."""
        allocator = Allocator(self.ledger, HOST, allow(), STALE, lambda: self.now)
        taken = allocator.reserve(
            ticket.request, owner=ticket.owner, server=ticket.server, claimant="run1", image=ticket.image
        )
        return allocator.activate(taken.id, container_id="c1", claimant="run1") if runs else taken

    def end(self, lease: Lease, reason: str = "stopped", *, free: bool = True) -> None:
        """Its server is gone, and the card is proved free, or not yet."""
        with self.ledger.write() as unit:
            found = unit.lease(lease.id)
            assert found
            if not found.state.ending:
                found = step(found, LeaseState.RELEASING, now=self.now, reason=reason)
            if free:
                found = step(found, LeaseState.RELEASED, now=self.now, reason=reason)
            unit.update_lease(found)

    def free_all(self) -> None:
        """What was let go of is proved free."""
        with self.ledger.write() as unit:
            for found in unit.live_leases(HOST):
                if found.state is LeaseState.RELEASING:
                    unit.update_lease(step(found, LeaseState.RELEASED, now=self.now, reason=found.reason))

    def run_without_gpu(self, owner: str = "ada") -> Lease:
        allocator = Allocator(self.ledger, HOST, allow(), STALE, lambda: self.now)
        made = allocator.reserve(SpawnRequest(0), owner=owner, server="", claimant="run1", image="i")
        self.hub.servers[owner, ""] = HubServer(True, None, NOW, None, {})
        return allocator.activate(made.id, container_id="c0", claimant="run1")

    @property
    def starts(self) -> list[str]:
        return [call[1] for call in self.hub.calls if call[0] == "start_server"]

    @property
    def stops(self) -> list[str]:
        return [call[1] for call in self.hub.calls if call[0] == "stop_server"]


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    yield made
    made.ledger.close()


def test_who_comes_has_the_server(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    assert hall.starts == ["ada"]
    assert hall.hub.servers["ada", ""].user_options == {"gpus": 1, "course": "", "turn": asked.id}
    hall.hub_takes_up(asked)
    hall.tick(minutes=1)
    assert hall.ticket(asked).state is TicketState.OFFERED
    hall.visited.add("ada")
    hall.tick(minutes=1)
    assert hall.ticket(asked).state is TicketState.CLAIMED
    assert hall.stops == []


def test_who_does_not_come_goes_to_the_end_once_and_is_out_the_second_time(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    first = hall.hub_takes_up(asked)
    hall.tick(minutes=5, seconds=1)
    assert hall.stops == ["ada"]
    assert hall.ticket(asked).state is TicketState.OFFERED, "nothing was let go of yet"
    hall.end(first, free=False)
    hall.tick()
    back = hall.ticket(asked)
    assert (back.state, back.reason, back.returns) == (TicketState.WAITING, NOT_CLAIMED, 1)
    assert (back.asked_at, back.queued_at) == (NOW, hall.now)
    hall.end(first)
    hall.tick(seconds=AGAIN_SECONDS)
    second = hall.hub_takes_up(asked)
    hall.tick(minutes=6)
    hall.end(second, free=False)
    hall.tick()
    out = hall.ticket(asked)
    assert (out.state, out.reason.partition(",")[0]) == (TicketState.ENDED, "it was your turn")
    hall.end(second)
    hall.tick(minutes=1)
    assert hall.starts == ["ada", "ada"]


@pytest.mark.parametrize("killed", [False, True])
def test_who_does_not_come_goes_to_the_end_also_if_the_stop_is_seen_before_it_is_answered(
    hall: Hall, killed: bool
) -> None:
    asked = hall.ask()
    hall.tick()
    taken = hall.hub_takes_up(asked)

    def stop_slowly(user: str, server: str) -> None:
        hall.end(taken)
        raise HubError("no answer")

    hall.hub.stop_server = stop_slowly  # type: ignore[method-assign]
    hall.now += timedelta(minutes=6)
    hall.step()
    hall.step.finish(10)
    if killed:
        hall.new_controller()
    hall.tick()
    with hall.ledger.read() as unit:
        told = [event.reason for event in unit.recent_events(20, prefix="ticket.returned")]
    assert told == [NOT_CLAIMED]
    assert hall.ticket(asked).queued_at == hall.now


def test_who_comes_at_the_last_moment_keeps_it(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    hall.hub_takes_up(asked)
    hall.visited.add("ada")
    hall.tick(minutes=9)
    assert hall.stops == []
    assert hall.ticket(asked).state is TicketState.CLAIMED


def test_a_start_that_takes_long_is_not_its_person_s_delay(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    taken = hall.hub_takes_up(asked, runs=False)
    hall.tick(minutes=6)
    held = hall.ticket(asked)
    assert held.state is TicketState.OFFERED
    assert held.claim_by
    assert held.claim_by > hall.now
    assert hall.stops == []
    hall.end(taken, "the image is broken")
    hall.tick()
    assert (hall.ticket(asked).returns, hall.ticket(asked).failures) == (0, 1)


def test_claimed_before_its_server_runs_it_is_started_all_the_same(hall: Hall) -> None:
    asked = hall.ask()
    hall.line.grant_turns()
    claimed = hall.line.claim(asked.id, actor="ada")
    assert claimed.state is TicketState.OFFERED, "nothing runs yet"
    hall.tick()
    assert hall.starts == ["ada"]
    hall.new_controller()
    taken = hall.hub_takes_up(asked)
    assert taken.id == claimed.lease_id
    hall.tick()
    assert hall.ticket(asked).state is TicketState.CLAIMED
    assert hall.stops == []


def test_what_is_gone_cannot_be_claimed_and_costs_no_place(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    hall.end(hall.hub_takes_up(asked), "the image is broken")
    with pytest.raises(Conflict, match="You keep your place"):
        hall.line.claim(asked.id, actor="ada")
    hall.tick()
    with hall.ledger.read() as unit:
        told = [event.reason for event in unit.recent_events(9, prefix="ticket.returned")]
    assert told == ["its server did not come up: the image is broken"]
    assert hall.ticket(asked).queued_at == NOW


def test_a_server_that_runs_is_restarted_only_when_its_person_presses(hall: Hall) -> None:
    asked = hall.ask()
    other = hall.run_without_gpu()
    hall.tick(minutes=1)
    assert (hall.stops, hall.starts) == ([], [])
    hall.line.claim(asked.id, actor="ada")
    hall.tick()
    assert (hall.stops, hall.starts) == (["ada"], [])
    hall.end(other)
    hall.tick(seconds=1)
    assert hall.starts == ["ada"]
    hall.hub_takes_up(asked)
    hall.tick()
    assert hall.ticket(asked).state is TicketState.CLAIMED


def test_what_the_hub_still_stops_is_not_started_yet(hall: Hall) -> None:
    asked = hall.ask()
    hall.hub.servers["ada", ""] = HubServer(False, "stop", NOW, None, {})
    hall.tick()
    assert hall.starts == []
    assert hall.ticket(asked).returns == 0
    del hall.hub.servers["ada", ""]
    hall.tick(seconds=AGAIN_SECONDS)
    assert hall.starts == ["ada"]


def test_a_press_that_nobody_makes_gives_the_turn_on(hall: Hall) -> None:
    asked = hall.ask()
    hall.run_without_gpu()
    hall.ask("grace")
    hall.tick()
    hall.tick(minutes=6)
    assert hall.ticket(asked).state is TicketState.WAITING
    assert hall.stops == [], "what runs is left alone"


@pytest.mark.parametrize("beside", [True, False])
def test_a_controller_that_was_away_over_the_window_costs_no_turn(hall: Hall, beside: bool) -> None:
    asked = hall.ask()
    if beside:
        hall.run_without_gpu()
    hall.line.grant_turns()
    hall.now += timedelta(hours=1)
    hall.new_controller()
    hall.tick()
    offered = hall.ticket(asked)
    assert (offered.state, offered.returns) == (TicketState.OFFERED, 0)
    assert offered.claim_by == hall.now + WINDOW
    assert hall.starts == ([] if beside else ["ada"])


def test_what_the_hub_never_takes_up_goes_back_to_its_place(hall: Hall) -> None:
    asked = hall.ask()
    hall.tick()
    hall.tick(minutes=6)
    assert hall.ticket(asked).queued_at == NOW
    with hall.ledger.read() as unit:
        (told,) = unit.recent_events(9, prefix="ticket.returned")
    assert told.reason == "its server could not be started in time"


def test_a_hub_that_is_away_costs_no_turn(hall: Hall) -> None:
    asked = hall.ask()
    hall.hub.fail("start_server")
    for _ in range(30):
        assert hall.ticket(asked).returns == 0
        hall.tick(seconds=AGAIN_SECONDS)
    hall.hub.failures.clear()
    hall.new_controller()
    hall.tick()
    hall.hub_takes_up(asked)
    assert hall.lease(asked).claim_by is None


def test_a_hub_that_is_away_costs_no_turn_with_a_short_window_either(hall: Hall) -> None:
    hall.line = Line(hall.ledger, HOST, STALE, lambda: hall.now, timedelta(seconds=5))
    hall.new_controller()
    asked = hall.ask()
    hall.hub.fail("server")
    for _ in range(30):
        hall.tick(seconds=2)
    assert hall.ticket(asked).returns == 0


def test_what_the_hub_refuses_goes_back_to_its_place(hall: Hall) -> None:
    asked = hall.ask()
    hall.hub.refusals["ada"] = "no such image"
    problems = hall.tick()
    assert any("no such image" in problem for problem in problems)
    back = hall.ticket(asked)
    assert (back.returns, back.failures, back.queued_at) == (0, 1, NOW)
    hall.tick(seconds=1)
    assert hall.ticket(asked).state is TicketState.WAITING, "it is not tried again at once"
    hall.hub.refusals.clear()
    hall.free_all()
    hall.tick(seconds=15)
    assert hall.ticket(asked).state is TicketState.OFFERED


def test_leaving_lets_go_of_what_was_reserved(hall: Hall) -> None:
    asked = hall.ask()
    hall.line.grant_turns()
    reserved = hall.lease(asked)
    hall.line.leave(asked.id, actor="ada")
    with hall.ledger.read() as unit:
        found = unit.lease(reserved.id)
    assert found
    assert found.state is LeaseState.RELEASING


@pytest.mark.parametrize("runs", [True, False])
def test_leaving_ends_a_server_that_was_started_for_the_turn(hall: Hall, runs: bool) -> None:
    asked = hall.ask()
    hall.tick()
    taken = hall.hub_takes_up(asked, runs=runs)
    hall.line.leave(asked.id, actor="ada")
    if not runs:
        allocator = Allocator(hall.ledger, HOST, allow(), STALE, lambda: hall.now)
        allocator.activate(taken.id, container_id="c1", claimant="run1")
    (end,) = Sessions(hall.ledger, HOST, lambda: hall.now).plan_ends()
    assert isinstance(end, Stop)
    assert (end.lease.id, end.first) == (taken.id, False)
