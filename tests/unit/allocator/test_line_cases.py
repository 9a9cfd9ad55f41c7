"""The use cases of the line, over the real ledger: ask, change, claim, leave, and what becomes of offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.line import MOST_TICKETS_PER_PERSON
from gpuspawner.core.claims import Terms, TicketState
from gpuspawner.core.errors import InLine, InvalidRequest, NotFound, RefusalKind, Refused
from gpuspawner.core.model import ImageNeeds, LeaseState, Party, SpawnRequest
from support.build import NOW
from support.office import MINUTE, Office

S, T = LeaseState, TicketState


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield Office(ledger)
    ledger.close()


# -- ask ----------------------------------------------------------------------------------------------------


def test_asking_takes_a_place_and_starts_nothing(office: Office) -> None:
    ticket = office.ask()
    assert (ticket.state, ticket.asked_at, ticket.queued_at) == (T.WAITING, NOW, NOW)
    assert office.allocator.status().leases == ()
    (place,) = office.line.view().places
    assert (place.ticket.id, place.position) == (ticket.id, 1)


def test_asking_again_for_the_same_server_changes_its_request(office: Office) -> None:
    office.start(2, "bob")
    first = office.ask(1)
    office.wait(1)
    second = office.ask(2)
    assert (second.id, second.request.gpus) == (first.id, 2)
    assert (second.asked_at, second.queued_at) == (NOW, office.now)


def test_asking_for_no_gpu_is_refused(office: Office) -> None:
    with pytest.raises(InvalidRequest, match="waits for nothing"):
        office.ask(0)


def test_asking_for_what_is_never_possible(office: Office) -> None:
    with pytest.raises(Refused) as caught:
        office.ask(3)
    assert caught.value.kind is RefusalKind.NEVER


def test_asking_when_the_turn_has_come_already(office: Office) -> None:
    ticket = office.offer()
    with pytest.raises(InvalidRequest, match="your turn already"):
        office.ask(2)
    assert office.ticket(ticket) == ticket


def test_a_person_has_so_many_places_and_no_more(office: Office) -> None:
    for n in range(MOST_TICKETS_PER_PERSON):
        office.ask(server=f"s{n}")
    with pytest.raises(InvalidRequest, match="Leave one of them first"):
        office.ask(server="one too many")
    office.ask(2, server="s0")
    office.ask(owner="bob")


# -- change -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "keeps"),
    [
        (SpawnRequest(2), SpawnRequest(1), True),
        (SpawnRequest(1), SpawnRequest(2), False),
        (SpawnRequest(1, "A100"), SpawnRequest(1), True),
        (SpawnRequest(1), SpawnRequest(1, "A100"), False),
        (SpawnRequest(1), SpawnRequest(1, session=MINUTE * 60), True),
        (SpawnRequest(1, session=MINUTE * 60), SpawnRequest(1), False),
    ],
    ids=["fewer", "more", "any model", "one model", "shorter", "longer"],
)
def test_a_change_keeps_the_place_if_it_asks_for_less(
    office: Office, before: SpawnRequest, after: SpawnRequest, keeps: bool
) -> None:
    office.start(2, "bob")
    ticket = office.line.ask(before, owner="ada", server="", party=Party(), terms=Terms(), image="base")
    office.wait(1)
    changed = office.change(ticket, after)
    assert (changed.request, changed.asked_at) == (after, NOW)
    assert changed.queued_at == (NOW if keeps else office.now)
    assert office.ticket(ticket) == changed


def test_an_offer_is_not_changed(office: Office) -> None:
    ticket = office.offer()
    with pytest.raises(InvalidRequest):
        office.change(ticket, SpawnRequest(2))


def test_a_change_to_no_gpu(office: Office) -> None:
    with pytest.raises(InvalidRequest, match="Leave the line"):
        office.change(office.ask(), SpawnRequest(0))


# -- an offer -----------------------------------------------------------------------------------------------


def test_an_offer_reserves_the_devices_and_has_its_time(office: Office) -> None:
    ticket = office.offer(2)
    lease = office.lease_of(ticket)
    assert (ticket.state, ticket.claim_by) == (T.OFFERED, NOW + 5 * MINUTE)
    assert (lease.state, lease.devices, lease.claim_by) == (S.RESERVED, ("GPU-0", "GPU-1"), ticket.claim_by)
    assert (lease.ticket_id, lease.claimant) == (ticket.id, "line")
    with pytest.raises(InLine):
        office.start(1, "bob")


def test_nobody_is_offered_anything_twice(office: Office) -> None:
    office.offer()
    assert office.line.grant_turns() == ()


def test_a_hub_takes_an_offer_up(office: Office) -> None:
    ticket = office.offer()
    lease = office.start()
    assert (lease.id, lease.claimant, lease.claim_by) == (ticket.lease_id, "run1", None)
    (turn,) = office.line.turns()
    assert (turn.started, turn.over, turn.other) == (True, False, None)


def test_a_start_with_another_request_gives_the_offer_back(office: Office) -> None:
    ticket = office.offer(1)
    office.wait(1)
    with pytest.raises(InLine):
        office.start(2)
    now = office.ticket(ticket)
    assert (now.state, now.lease_id, now.request.gpus) == (T.WAITING, None, 2)
    assert (now.asked_at, now.queued_at) == (NOW, office.now)
    assert office.lease_of(ticket).state is S.RELEASING


def test_a_start_without_a_gpu_leaves_the_offer_alone(office: Office) -> None:
    ticket = office.offer()
    small = office.start(0)
    assert office.ticket(ticket) == ticket
    (turn,) = office.line.turns()
    assert (turn.started, turn.over, turn.other) == (False, False, small)


def test_a_start_without_a_gpu_leaves_the_place_alone(office: Office) -> None:
    office.start(2, "bob")
    ticket = office.ask()
    assert office.start(0).devices == ()
    assert office.ticket(ticket) == ticket


def test_a_start_that_finds_free_devices_claims_the_ticket(office: Office) -> None:
    running = office.start(2, "bob")
    with pytest.raises(InLine) as caught:
        office.start(1)
    office.free(running)
    lease = office.start(1)
    with office.ledger.read() as unit:
        ticket = unit.ticket(caught.value.ticket_id)
    assert ticket
    assert (ticket.state, ticket.lease_id, lease.ticket_id) == (T.CLAIMED, lease.id, ticket.id)


def test_a_start_behind_others_does_not_pass_them(office: Office) -> None:
    running = office.start(1, "bob")
    office.ask(2, "eve")
    office.wait(1)
    with pytest.raises(InLine) as caught:
        office.start(1)
    assert caught.value.ahead == 1
    office.free(running)
    assert [ticket.owner for ticket in office.line.grant_turns()] == ["eve"]


# -- claim --------------------------------------------------------------------------------------------------


def test_claiming_before_the_turn_has_come(office: Office) -> None:
    office.start(2, "bob")
    with pytest.raises(InvalidRequest, match="has not come yet"):
        office.line.claim(office.ask().id, actor="ada")


def test_claiming_a_server_that_was_started(office: Office) -> None:
    ticket = office.offer()
    lease = office.start()
    claimed = office.line.claim(ticket.id, actor="ada")
    assert (claimed.state, claimed.lease_id) == (T.CLAIMED, lease.id)
    assert office.lease_of(ticket).state is S.RESERVED
    with pytest.raises(NotFound):
        office.line.claim(ticket.id, actor="ada")


@pytest.mark.parametrize("cpu_server", [False, True], ids=["nothing runs", "a server without a GPU runs"])
def test_claiming_before_the_server_is_started_keeps_the_turn(office: Office, cpu_server: bool) -> None:
    """What is reserved must not be left to nobody: the controller still has to start it."""
    ticket = office.offer()
    if cpu_server:
        office.start(0)
    office.wait(4)
    claimed = office.line.claim(ticket.id, actor="ada")
    assert (claimed.state, claimed.switch_at) == (T.OFFERED, office.now)
    assert claimed.claim_by == office.lease_of(ticket).claim_by == office.now + 5 * MINUTE
    again = office.line.claim(ticket.id, actor="ada")
    assert again == claimed
    assert office.events("ticket.switch") == ["ticket.switch"]


# -- leave --------------------------------------------------------------------------------------------------


def test_leaving_the_line(office: Office) -> None:
    office.start(2, "bob")
    ended = office.line.leave(office.ask().id, actor="ada")
    assert (ended.state, ended.reason) == (T.ENDED, "its person left the line")
    with pytest.raises(NotFound):
        office.line.leave(ended.id, actor="ada")


def test_leaving_an_offer_lets_its_devices_go(office: Office) -> None:
    ticket = office.offer()
    office.line.leave(ticket.id, actor="ada")
    lease = office.lease_of(ticket)
    assert (lease.state, lease.reason) == (S.RELEASING, "its person left the line")
    assert office.line.turns() == ()
    assert office.allocator.last_end("ada", "") is None, "that was her wish"


# -- an offer that comes to nothing -------------------------------------------------------------------------


def test_an_unclaimed_offer_goes_to_the_end_of_the_line_once(office: Office) -> None:
    ticket = office.offer()
    office.wait(6)
    back = office.line.lapse(ticket.id, reason="nobody came", at_the_end=True)
    assert back
    assert (back.state, back.queued_at, back.asked_at) == (T.WAITING, office.now, NOW)
    assert (back.lease_id, back.claim_by, back.returns) == (None, None, 1)
    assert office.lease_of(ticket).state is S.RELEASING
    office.free(office.lease_of(ticket))
    (again,) = office.line.grant_turns()
    ended = office.line.lapse(again.id, reason="nobody came", at_the_end=True)
    assert ended
    assert (ended.state, ended.reason) == (
        T.ENDED,
        "nobody came, for the second time; ask again when you need it",
    )
    assert office.lease_of(again).state is S.RELEASING
    text = "You have lost your place in line: nobody came, for the second time; ask again when you need it."
    told = office.allocator.last_end("ada", "")
    assert told is not None
    assert (told.text, office.allocator.choices("ada", told.again or "")) == (text, ticket.request)
    with office.ledger.read() as unit:
        assert [one.text for one in unit.messages_for("ada")] == [text]
    office.wait(25 * 60)
    assert office.allocator.last_end("ada", "") is None, "that is no news any more"


def test_a_failure_keeps_the_place(office: Office) -> None:
    ticket = office.offer()
    office.wait(1)
    back = office.line.lapse(ticket.id, reason="the Hub refused", at_the_end=False)
    assert back
    assert (back.state, back.queued_at) == (T.WAITING, NOW)


def test_what_was_claimed_or_left_does_not_lapse(office: Office) -> None:
    ticket = office.offer()
    office.start()
    office.line.opened(ticket.id)
    assert office.line.lapse(ticket.id, reason="late", at_the_end=True) is None
    assert office.ticket(ticket).state is T.CLAIMED
    assert office.line.opened(ticket.id) is None


def test_what_the_hub_has_taken_up_meanwhile_does_not_lapse(office: Office) -> None:
    ticket = office.offer()
    office.start()
    assert office.line.lapse(ticket.id, reason="the card went out of service", at_the_end=False) is None
    assert office.ticket(ticket).state is T.OFFERED


@pytest.mark.parametrize("other", [None, "somebody's"])
def test_a_start_for_a_turn_that_is_over_is_refused_and_takes_no_place(
    office: Office, other: str | None
) -> None:
    ticket = office.offer()
    if other is None:
        office.line.leave(ticket.id, actor="ada")
    with pytest.raises(Refused, match="is over"):
        office.start(turn=other or ticket.id)
    assert office.line.is_empty() is (other is None)
    assert office.start(turn=None if other is None else ticket.id).devices == ("GPU-0",) or other is None


def test_holding_gives_the_whole_window_anew(office: Office) -> None:
    ticket = office.offer()
    office.wait(4)
    office.line.hold(ticket.id)
    assert office.ticket(ticket).claim_by == office.lease_of(ticket).claim_by == office.now + 5 * MINUTE


def test_holding_leaves_a_server_alone_that_is_started(office: Office) -> None:
    ticket = office.offer()
    office.start()
    office.line.hold(ticket.id)
    assert office.lease_of(ticket).claim_by is None


# -- policy -------------------------------------------------------------------------------------------------


NEEDS = ImageNeeds("torch", "525", ("8.0",))
VISION = Party((), ("vision",))


def test_a_changed_policy_reaches_the_line(office: Office) -> None:
    ticket, other = office.ask(owner="ada"), office.ask(owner="bob")
    fresh = Terms(longest=MINUTE * 60)
    changed = office.line.refresh(
        lambda t: (Party(("lab",)), fresh, NEEDS) if t.owner == "ada" else "group `x` has no GPU any more"
    )
    assert {one.id for one in changed} == {ticket.id, other.id}
    assert (office.ticket(ticket).terms, office.ticket(ticket).party) == (fresh, Party(("lab",)))
    assert office.ticket(ticket).request == replace(ticket.request, needs=NEEDS)
    ended = office.ticket(other)
    assert (ended.state, ended.reason) == (T.ENDED, "group `x` has no GPU any more")
    assert office.line.refresh(lambda t: (t.party, t.terms, t.request.needs)) == ()


def test_a_changed_policy_reaches_an_offer(office: Office) -> None:
    """It may come back into the line, and is then judged by what holds now."""
    ticket = office.offer()
    fresh = Terms(gpus_per_person=1)
    office.line.refresh(lambda t: (Party(), fresh, None))
    assert office.ticket(ticket) == replace(ticket, terms=fresh)


@pytest.mark.parametrize(("course", "same"), [("vision", True), ("sound", False), ("", False)])
def test_an_offer_is_for_the_course_that_it_was_waited_for(office: Office, course: str, same: bool) -> None:
    """Whoever chooses another one now, or none, does not get a session that the first one's teachers see."""
    offered = office.lease_of(office.offer(course="vision"))
    assert (office.start(course=course).id == offered.id) is same


def test_who_leaves_the_course_gets_a_session_for_none(office: Office) -> None:
    office.ask(course="vision")
    (ticket,) = office.line.grant_turns()
    assert office.lease_of(ticket).party == VISION
    office.line.refresh(lambda t: (Party(), t.terms, None))
    taken = office.start(course="")
    assert (taken.id, taken.party) == (ticket.lease_id, Party())


def test_who_is_back_in_the_course_before_their_turn_gets_a_session_for_it(office: Office) -> None:
    """A teacher who imports the wrong roster, and takes it back, costs nobody the lesson."""
    ticket = office.ask(course="vision")
    office.line.refresh(lambda t: (Party(), t.terms, None))
    assert (office.ticket(ticket).party, office.ticket(ticket).request.course) == (Party(), "vision")
    office.line.refresh(lambda t: (VISION, t.terms, None))
    (ticket,) = office.line.grant_turns()
    taken = office.start(course="vision")
    assert (taken.id, taken.party) == (ticket.lease_id, VISION)


@pytest.mark.parametrize(
    ("before", "after", "keeps"),
    [
        ("", "vision", False),
        ("sound", "vision", False),
        ("vision", "vision", True),
        ("vision", "", True),
    ],
)
def test_a_place_in_line_is_not_moved_into_a_course(
    office: Office, before: str, after: str, keeps: bool
) -> None:
    """Those who wait for the seats of a course are not passed by whoever waited for something else."""
    ticket = office.ask(course=before)
    office.wait(1)
    changed = office.change(ticket, SpawnRequest(1, course=after))
    assert (changed.queued_at == ticket.queued_at) is keeps


@pytest.mark.parametrize(("started", "state"), [(False, T.ENDED), (True, T.OFFERED)])
def test_an_offer_that_is_not_allowed_any_more_ends_unless_it_was_taken_up(
    office: Office, started: bool, state: T
) -> None:
    ticket = office.offer()
    if started:
        office.start()
    office.line.refresh(lambda t: "no GPU any more")
    assert office.ticket(ticket).state is state
    assert office.lease_of(ticket).state is (S.RESERVED if started else S.RELEASING)
