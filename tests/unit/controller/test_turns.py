"""Carrying out turns through the Hub: start, see whether the person comes, switch, or give it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards
from gpuspawner.controller.hubcalls import AGAIN_SECONDS, HubCalls
from gpuspawner.controller.turns import NOT_CLAIMED, TOO_SLOW, KeepTurns
from gpuspawner.core.claims import Ticket, TicketState
from gpuspawner.core.errors import HubError
from gpuspawner.core.model import Health, Lease, LeaseState, Party
from support.build import NOW, record
from support.fake_hub import FakeHub
from support.office import MINUTE, Office

S, T = LeaseState, TicketState


class Keeping:
    """An office, a Hub, and a controller that may be killed after any step."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.hub = FakeHub(people={"ada": frozenset(), "bob": frozenset()})
        self.seconds = 0.0
        self.opened = False
        self.silent = False
        self.restart()

    def restart(self) -> None:
        """Another controller, which knows nothing but the ledger."""
        self.calls, self.looks = HubCalls(lambda: self.seconds), HubCalls(lambda: self.seconds)
        self.turns = KeepTurns(
            self.office.line,
            self.hub,
            was_opened=self.was_opened,
            clock=self.office.clock,
            calls=self.calls,
            looks=self.looks,
        )

    def was_opened(self, lease: Lease) -> bool:
        if self.silent:
            raise HubError("The server gives no answer.")
        return self.opened

    def tick(self, minutes: float = 0) -> list[str]:
        """Time passes, one tick, and what it began comes to its end."""
        self.office.wait(minutes)
        self.seconds += max(minutes * 60, AGAIN_SECONDS)
        problems = list(self.turns())
        self.calls.finish(5)
        self.looks.finish(5)
        return problems

    def asked(self) -> list[tuple[str, ...]]:
        """What changes something, that the Hub was asked."""
        return [call for call in self.hub.calls if call[0] != "server"]


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield Keeping(Office(ledger))
    ledger.close()


def begin(keeping: Keeping, **wanted: object) -> Ticket:
    """Ada's turn has come, and the Hub was asked to start her server."""
    ticket = keeping.office.ask(1, **wanted)
    keeping.tick()
    return ticket


def come_up(keeping: Keeping) -> Lease:
    """The hub does it, and the server runs."""
    lease = keeping.office.activate(keeping.office.start())
    keeping.hub.become_ready("ada")
    return lease


START, STOP = ("start_server", "ada", ""), ("stop_server", "ada", "")


# -- start --------------------------------------------------------------------------------------------------


def test_a_turn_starts_the_server_with_what_was_asked_for(keeping: Keeping) -> None:
    ticket = begin(keeping, model="A100", session=90 * MINUTE)
    assert keeping.asked() == [START]
    options = keeping.hub.servers["ada", ""].user_options
    assert options == {"gpus": 1, "model": "A100", "session": "5400.000 s", "course": "", "turn": ticket.id}
    assert keeping.office.ticket(ticket).state is T.OFFERED


def test_the_turn_of_who_has_left_the_course_starts_a_server_for_none(keeping: Keeping) -> None:
    """The Hub would refuse the course and its notebooks, over and over."""
    ticket = keeping.office.ask(1, course="vision", notebooks="vision")
    keeping.office.line.refresh(lambda one: (Party(), one.terms, None))
    keeping.tick()
    options = keeping.hub.servers["ada", ""].user_options
    assert options == {"gpus": 1, "course": "", "turn": ticket.id}


def test_a_start_under_way_is_not_asked_for_again_at_once(keeping: Keeping) -> None:
    begin(keeping)
    keeping.seconds -= AGAIN_SECONDS
    keeping.tick()
    assert keeping.asked() == [START]


def fail(keeping: Keeping, how: str) -> None:
    """Something happens to the card that is offered."""
    sick, drain = record(health=Health.FAULTY, health_reason="XID 79"), how.startswith("drained")
    with keeping.office.ledger.write() as unit:
        if how == "sick":
            unit.put_device(sick)
        elif how == "used":
            unit.put_device(record(occupied_by="process 7"))
        elif how == "gone":
            unit.drop_devices("gpu1", ["GPU-1"])
    if drain:
        cards = Cards(keeping.office.ledger, "gpu1", keeping.office.clock)
        cards.drain("GPU-0", reason="fan", actor="root", now=how == "drained now")


@pytest.mark.parametrize("how", ["sick", "used", "gone", "drained", "drained now"])
def test_an_offer_on_a_card_that_goes_out_of_service_keeps_its_place_and_gets_another(
    keeping: Keeping, how: str
) -> None:
    ticket = keeping.office.ask(1)
    keeping.office.line.grant_turns()
    assert keeping.office.lease_of(keeping.office.ticket(ticket)).devices == ("GPU-0",)
    fail(keeping, how)
    keeping.seconds += AGAIN_SECONDS
    list(keeping.turns())
    assert keeping.asked() == []
    back = keeping.office.ticket(ticket)
    assert (back.state, back.queued_at, back.returns) == (T.WAITING, ticket.queued_at, 0)
    assert back.reason.startswith("the GPU GPU-0 that was reserved for it")


@pytest.mark.parametrize("how", ["sick", "used", "gone", "drained"])
def test_a_hub_does_not_start_on_a_card_that_went_out_of_service_since(keeping: Keeping, how: str) -> None:
    ticket = keeping.office.ask(1)
    keeping.office.line.grant_turns()
    fail(keeping, how)
    assert keeping.office.start().devices == ("GPU-1",)
    assert keeping.office.ticket(ticket).state is T.CLAIMED


def test_a_refused_start_gives_the_devices_back_and_keeps_the_place(keeping: Keeping) -> None:
    keeping.hub.refusals["ada"] = "no such image"
    ticket = begin(keeping)
    reserved = keeping.office.lease_of(keeping.office.ticket(ticket))
    problems = keeping.tick()
    assert "no such image" in problems[0]
    back = keeping.office.ticket(ticket)
    assert (back.state, back.queued_at, back.returns, back.failures) == (T.WAITING, NOW, 0, 1)
    with keeping.office.ledger.read() as unit:
        first = unit.lease(reserved.id)
    assert first
    assert (first.state, "no such image" in first.reason) == (S.RELEASING, True)


@pytest.mark.parametrize("point", ["start_server", "after start_server", "server"])
def test_a_hub_that_is_away_costs_nobody_their_turn(keeping: Keeping, point: str) -> None:
    keeping.hub.fail(point)
    ticket = begin(keeping)
    for _ in range(10):
        keeping.tick(1)
    held = keeping.office.ticket(ticket)
    assert (held.state, held.returns) == (T.OFFERED, 0)
    assert held.claim_by
    assert held.claim_by > keeping.office.now
    keeping.hub.failures.clear()
    keeping.tick()
    come_up(keeping)
    keeping.opened = True
    keeping.tick()
    assert keeping.office.ticket(ticket).state is T.CLAIMED


def test_a_server_that_did_not_come_up(keeping: Keeping) -> None:
    ticket = begin(keeping)
    lease = keeping.office.start()
    keeping.office.allocator.request_release(lease.id, reason="Docker did not start it", actor="hub")
    keeping.office.ask(2, "bob")
    keeping.tick()
    back = keeping.office.ticket(ticket)
    assert (back.state, back.queued_at) == (T.WAITING, NOW)
    assert back.reason == "its server did not come up: Docker did not start it"


def test_a_server_of_this_name_that_is_still_being_stopped_is_waited_for(keeping: Keeping) -> None:
    keeping.office.ask()
    keeping.hub.start_server("ada", "", {})
    keeping.hub.begin_stop("ada")
    keeping.hub.calls.clear()
    keeping.tick()
    assert keeping.asked() == []
    keeping.tick()
    (turn,) = keeping.office.line.turns()
    assert (turn.ticket.state, turn.ticket.returns) == (T.OFFERED, 0)
    keeping.hub.servers.clear()
    keeping.tick()
    assert keeping.asked() == [START]


# -- the person ---------------------------------------------------------------------------------------------


def test_opening_the_server_claims_it(keeping: Keeping) -> None:
    ticket = begin(keeping)
    come_up(keeping)
    keeping.tick()
    assert keeping.office.ticket(ticket).state is T.OFFERED
    keeping.opened = True
    keeping.tick()
    claimed = keeping.office.ticket(ticket)
    assert (claimed.state, claimed.reason) == (T.CLAIMED, "its person opened the server")
    keeping.tick(10)
    assert keeping.asked() == [START]


def test_a_server_that_does_not_answer_yet_is_no_problem(keeping: Keeping) -> None:
    begin(keeping)
    come_up(keeping)
    keeping.silent = True
    keeping.tick()
    assert keeping.tick() == []


def test_nobody_comes_and_the_server_is_stopped(keeping: Keeping) -> None:
    ticket = begin(keeping)
    lease = come_up(keeping)
    keeping.tick(6)
    assert keeping.asked() == [START, STOP]
    keeping.tick()
    # The turn is over when the hub has let go of the lease, not when it said that it would.
    assert keeping.office.ticket(ticket).state is T.OFFERED
    assert keeping.asked() == [START, STOP, STOP]
    keeping.office.free(lease)
    keeping.office.ask(2, "bob")
    keeping.tick()
    back = keeping.office.ticket(ticket)
    assert (back.state, back.reason, back.returns) == (T.WAITING, NOT_CLAIMED, 1)
    assert back.queued_at == keeping.office.now


def test_who_comes_at_the_last_moment_keeps_the_server(keeping: Keeping) -> None:
    ticket = begin(keeping)
    come_up(keeping)
    keeping.opened = True
    keeping.tick(6)
    assert keeping.office.ticket(ticket).state is T.CLAIMED
    assert keeping.asked() == [START]


def test_the_window_is_over_before_the_server_was_started(keeping: Keeping) -> None:
    ticket = begin(keeping)
    keeping.office.ask(2, "bob")
    keeping.tick(6)
    back = keeping.office.ticket(ticket)
    assert (back.state, back.reason, back.queued_at) == (T.WAITING, TOO_SLOW, ticket.queued_at)


# -- switch now ---------------------------------------------------------------------------------------------


def test_nothing_that_runs_is_stopped_unasked(keeping: Keeping) -> None:
    keeping.office.activate(keeping.office.start(0))
    ticket = begin(keeping)
    keeping.tick(1)
    assert keeping.asked() == []
    keeping.tick(6)
    back = keeping.office.ticket(ticket)
    assert (back.reason, back.returns) == (NOT_CLAIMED, 1)
    assert keeping.asked() == []


def test_switch_now_stops_one_and_starts_the_other(keeping: Keeping) -> None:
    small = keeping.office.activate(keeping.office.start(0))
    ticket = begin(keeping)
    keeping.office.line.claim(ticket.id, actor="ada")
    keeping.tick()
    assert keeping.asked() == [STOP]
    keeping.office.free(small)
    keeping.tick()
    assert keeping.asked() == [STOP, START]
    keeping.tick()
    # The start may still fail: it is theirs when the hub has taken it up.
    assert keeping.office.ticket(ticket).state is T.OFFERED
    keeping.office.start()
    keeping.tick()
    assert keeping.office.ticket(ticket).state is T.CLAIMED


def test_a_press_before_the_server_is_started_is_a_claim_when_it_is(keeping: Keeping) -> None:
    ticket = begin(keeping)
    keeping.office.line.claim(ticket.id, actor="ada")
    keeping.office.start()
    keeping.tick()
    assert keeping.office.ticket(ticket).state is T.CLAIMED


def test_a_start_that_takes_too_long_is_not_the_delay_of_who_pressed(keeping: Keeping) -> None:
    ticket = begin(keeping)
    keeping.office.line.claim(ticket.id, actor="ada")
    keeping.office.ask(2, "bob")
    keeping.tick(6)
    back = keeping.office.ticket(ticket)
    assert (back.state, back.reason, back.queued_at) == (T.WAITING, TOO_SLOW, NOW)


def test_a_hub_that_does_not_stop_the_other_server_costs_nobody_their_turn(keeping: Keeping) -> None:
    keeping.office.activate(keeping.office.start(0))
    ticket = begin(keeping)
    keeping.office.line.claim(ticket.id, actor="ada")
    keeping.hub.fail("stop_server")
    for _ in range(8):
        keeping.tick(1)
    assert (keeping.office.ticket(ticket).state, keeping.office.ticket(ticket).returns) == (T.OFFERED, 0)


# -- killed -------------------------------------------------------------------------------------------------


def hub_takes_up(keeping: Keeping) -> None:
    if ("ada", "") in keeping.hub.servers and not any(
        lease.claim_by is None for lease in keeping.office.allocator.status().leases
    ):
        come_up(keeping)


def hub_stops(keeping: Keeping) -> None:
    if STOP in keeping.hub.calls:
        keeping.hub.calls.remove(STOP)
        for lease in keeping.office.allocator.status().leases:
            keeping.office.free(lease)


def person_comes(keeping: Keeping) -> None:
    keeping.opened = any(lease.state is S.ACTIVE for lease in keeping.office.allocator.status().leases)


@pytest.mark.parametrize("killed", range(6))
@pytest.mark.parametrize(
    ("world", "end"), [((hub_takes_up, person_comes), T.CLAIMED), ((hub_takes_up, hub_stops), T.ENDED)]
)
def test_another_controller_goes_on_where_one_was_killed(
    keeping: Keeping, killed: int, world: tuple[Callable[[Keeping], None], ...], end: T
) -> None:
    """After any tick the controller is another one; what it had begun has come to its end, or not."""
    ticket = keeping.office.ask()
    for n in range(20):
        keeping.tick(2)
        if n == killed:
            keeping.restart()
        for happens in world:
            happens(keeping)
        if not keeping.office.ticket(ticket).state.live:
            break
    assert keeping.office.ticket(ticket).state is end
    assert keeping.hub.calls.count(START) <= 4


def test_killed_between_start_and_answer(keeping: Keeping) -> None:
    ticket = keeping.office.ask()
    keeping.office.line.grant_turns()
    keeping.hub.start_server("ada", "", {"gpus": 1})
    keeping.restart()
    keeping.tick()
    assert keeping.asked() == [START, START]
    come_up(keeping)
    keeping.opened = True
    keeping.tick()
    assert keeping.office.ticket(ticket).state is T.CLAIMED
