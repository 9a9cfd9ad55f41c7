"""Who is given which devices, until when, and what everybody else waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from gpuspawner.core.claims import Drain, Holder, Pin, Reservation, Standing, Terms, Ticket
from gpuspawner.core.line import Grant, LinePlan, plan_line
from gpuspawner.core.model import Health, Lease, Party, SpawnRequest
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.occurrences import Occurrence
from gpuspawner.core.order import Claim
from gpuspawner.core.situation import Situation
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import GIB, NOW, ago, device, lease, record, ticket

HOUR = timedelta(hours=1)


def fleet(count: int = 4, model: str = "A100", first: int = 0) -> list:
    return [record(f"{model}-{n}", model=model, index=first + n) for n in range(count)]


def held(*uuids: str, until: datetime | None = None, owner: str = "ada", **changes: Any) -> Lease:
    return lease(S.ACTIVE, *uuids, id=f"lease-{uuids[0]}", owner=owner, ends_at=until, **changes)


def plan(
    tickets: list[Ticket], leases: list[Lease] = (), inventory: list | None = None, **more: Any
) -> LinePlan:
    return plan_line(Situation(NOW, fleet() if inventory is None else inventory, leases, tickets, **more))


def granted(found: LinePlan) -> dict[str, tuple[str, ...]]:
    return {grant.ticket.id: grant.devices for grant in found.grants}


def line(found: LinePlan) -> list[str]:
    return [wait.ticket.id for wait in found.waits]


# -- order --------------------------------------------------------------------------------------------------


def test_who_came_first_is_first() -> None:
    tickets = [ticket(4, id="late", queued_at=ago(10)), ticket(4, id="early", queued_at=ago(20))]
    found = plan(tickets)
    assert granted(found) == {"early": ("A100-0", "A100-1", "A100-2", "A100-3")}
    assert line(found) == ["late"]


def test_who_used_less_lately_is_first_whoever_came_first() -> None:
    used = {"early": Standing(7200, NOW), "late": Standing(3600, NOW)}
    tickets = [ticket(4, id="early", queued_at=ago(20)), ticket(4, id="late", queued_at=ago(10))]
    assert list(granted(plan(tickets, standings=used))) == ["late"]


def test_use_of_a_week_ago_counts_half() -> None:
    used = {"old": Standing(7200, NOW - timedelta(days=7)), "new": Standing(4000, NOW)}
    assert list(granted(plan([ticket(4, id="new"), ticket(4, id="old")], standings=used))) == ["old"]


def test_twice_the_weight_may_have_used_twice_as_much() -> None:
    used = {"heavy": Standing(7000, NOW), "light": Standing(4000, NOW)}
    tickets = [ticket(4, id="light"), ticket(4, id="heavy", terms=Terms(weight=2))]
    assert list(granted(plan(tickets, standings=used))) == ["heavy"]


LAB = Holder("group", "lab")
SHARE = {"party": Party(("lab",)), "terms": Terms(shares=((LAB, 0.5),))}


def test_a_guaranteed_share_comes_before_use() -> None:
    used = {"member": Standing(9e9, NOW)}
    tickets = [ticket(2, id="other"), ticket(2, id="member", **SHARE)]
    found = plan(tickets, [held("A100-0", "A100-1")], standings=used)
    assert granted(found) == {"member": ("A100-2", "A100-3")}
    assert found.grants[0].claim is Claim.SHARE


def test_a_share_that_is_used_up_is_no_claim() -> None:
    used = {"member": Standing(9e9, NOW)}
    mine = held("A100-0", "A100-1", owner="colleague", party=Party(("lab",)))
    tickets = [ticket(2, id="other"), ticket(2, id="member", **SHARE)]
    assert list(granted(plan(tickets, [mine], standings=used))) == ["other"]


def test_a_share_is_counted_down_along_the_line() -> None:
    tickets = [ticket(1, id=f"m{n}", queued_at=ago(9 - n), **SHARE) for n in range(4)]
    tickets.append(ticket(1, id="stranger", queued_at=ago(99)))
    found = plan(tickets, [held("A100-0")])
    assert [grant.ticket.id for grant in found.grants] == ["m0", "m1", "stranger"]


def test_everybody_may_have_a_share() -> None:
    everybody = Terms(shares=((Holder("group", "default"), 0.25),))
    found = plan([ticket(1, terms=everybody)], [held("A100-0")])
    assert found.grants[0].claim is Claim.USE, "the one who holds a card is one of everybody"


# -- backfill -----------------------------------------------------------------------------------------------


def test_a_small_request_does_not_starve_a_large_one() -> None:
    tickets = [ticket(4, id="large", queued_at=ago(20)), ticket(1, id="small", queued_at=ago(10))]
    found = plan(tickets, [held("A100-0")])
    assert granted(found) == {}
    assert line(found) == ["large", "small"]
    assert "waited longer" in found.waits[1].reason


@pytest.mark.parametrize(("longest", "passes"), [(HOUR, True), (HOUR * 1.01, False), (None, False)])
def test_it_passes_if_it_ends_before_the_large_one_can_start(longest: timedelta | None, passes: bool) -> None:
    small = ticket(SpawnRequest(1, session=longest), id="small", queued_at=ago(10))
    found = plan([ticket(4, id="large", queued_at=ago(20)), small], [held("A100-0", until=NOW + HOUR)])
    assert ("small" in granted(found)) == (passes or longest is None)
    if longest is None:
        (grant,) = found.grants
        assert (grant.ends_at, grant.shortened) == (NOW + HOUR, True)


def test_whoever_insists_on_a_length_is_not_shortened() -> None:
    small = ticket(SpawnRequest(1, session=2 * HOUR), id="small", queued_at=ago(10))
    found = plan([ticket(4, id="large", queued_at=ago(20)), small], [held("A100-0", until=NOW + HOUR)])
    assert "accept that it is shortened" in found.waits[1].reason
    small = ticket(SpawnRequest(1, session=2 * HOUR, shorten=True), id="small", queued_at=ago(10))
    found = plan([ticket(4, id="large", queued_at=ago(20)), small], [held("A100-0", until=NOW + HOUR)])
    assert found.grants[0].ends_at == NOW + HOUR


def test_nobody_is_given_a_few_minutes() -> None:
    tickets = [ticket(4, id="large", queued_at=ago(20)), ticket(1, id="small", queued_at=ago(10))]
    assert granted(plan(tickets, [held("A100-0", until=NOW + HOUR / 10)])) == {}
    short = ticket(SpawnRequest(1, session=HOUR / 12), id="small", queued_at=ago(10))
    assert list(granted(plan([tickets[0], short], [held("A100-0", until=NOW + HOUR / 10)]))) == ["small"]


def test_it_passes_on_cards_that_the_large_one_does_not_need() -> None:
    cards = [*fleet(2), *fleet(2, "T4", first=2)]
    tickets = [ticket(SpawnRequest(2, "A100"), id="large", queued_at=ago(99)), ticket(1, id="small")]
    assert granted(plan(tickets, [held("A100-0")], cards)) == {"small": ("T4-0",)}


def test_it_passes_where_enough_are_left_when_the_large_one_starts() -> None:
    tickets = [ticket(2, id="large", queued_at=ago(20)), ticket(1, id="small", queued_at=ago(10))]
    soon = [held("A100-0", "A100-1", until=NOW + HOUR), held("A100-2")]
    assert granted(plan(tickets, soon)) == {"small": ("A100-3",)}


def test_the_second_large_request_is_not_starved_behind_one_that_cannot_start() -> None:
    cards = [*fleet(2), *fleet(2, "T4", first=2)]
    tickets = [
        ticket(SpawnRequest(2, "A100"), id="first", queued_at=ago(30)),
        ticket(SpawnRequest(2, "T4"), id="second", queued_at=ago(20)),
        ticket(SpawnRequest(1, "T4"), id="small", queued_at=ago(10)),
    ]
    assert granted(plan(tickets, [held("A100-0"), held("T4-0")], cards)) == {}


def test_what_is_being_released_counts_as_free_at_any_moment() -> None:
    going = lease(S.RELEASING, "A100-0", ends_at=NOW + 9 * HOUR)
    tickets = [ticket(4, id="large", queued_at=ago(99)), ticket(SpawnRequest(1, session=HOUR), id="small")]
    assert granted(plan(tickets, [going])) == {}


# -- what one person waits for alone ------------------------------------------------------------------------


def test_a_person_at_their_limit_holds_up_nobody() -> None:
    terms = Terms(gpus_per_person=1)
    tickets = [ticket(1, id="ada", queued_at=ago(99), terms=terms), ticket(1, id="bob")]
    found = plan(tickets, [held("A100-0")])
    assert list(granted(found)) == ["bob"]
    assert "may hold at most 1" in found.waits[0].reason


def test_two_tickets_of_one_person_together_keep_the_limit() -> None:
    terms = Terms(gpus_per_person=1)
    tickets = [ticket(1, id=f"t{n}", owner="ada", server=str(n), terms=terms) for n in range(2)]
    assert len(plan(tickets).grants) == 1


def test_the_seats_of_a_course() -> None:
    terms, party = Terms(seats=(("cs231", 2),)), Party((), ("cs231",))
    tickets = [ticket(1, id=f"s{n}", terms=terms, party=party) for n in range(3)]
    found = plan(tickets, [held("A100-0", party=party)])
    assert list(granted(found)) == ["s0"]
    assert found.waits[0].reason == "All 2 seats of course `cs231` are taken."


# -- which devices ------------------------------------------------------------------------------------------


def test_the_longest_session_ends_it_with_the_reason() -> None:
    (grant,) = plan([ticket(1, terms=Terms(longest=8 * HOUR))]).grants
    assert (grant.ends_at, grant.end_reason, grant.shortened) == (
        NOW + 8 * HOUR,
        "a session may last 8 h at most",
        False,
    )


SLICES = [
    record(device=device("GPU-9", model="H100", index=0)),
    record(device=device("MIG-1", model="A100 MIG 1g.5gb", parent="GPU-0", index=1, memory_bytes=5 * GIB)),
    record(device=device("MIG-2", model="A100 MIG 3g.20gb", parent="GPU-0", index=1, memory_bytes=20 * GIB)),
]


@pytest.mark.parametrize(
    ("request_", "given_"),
    [
        (SpawnRequest(1), ("GPU-9",)),
        (SpawnRequest(1, slice_bytes=4 * GIB), ("MIG-1",)),
        (SpawnRequest(1, slice_bytes=6 * GIB), ("MIG-2",)),
        (SpawnRequest(1, slice_bytes=21 * GIB), None),
        (SpawnRequest(1, "A100 MIG 3g.20gb"), ("MIG-2",)),
        (SpawnRequest(2), None),
    ],
)
def test_a_slice_is_only_given_to_who_asks_for_one(
    request_: SpawnRequest, given_: tuple[str, ...] | None
) -> None:
    assert granted(plan([ticket(request_)], (), SLICES)) == ({"grace": given_} if given_ else {})


@pytest.mark.parametrize(("slices", "passes"), [(None, True), ({"1g.5gb"}, True), ({"2g.10gb"}, False)])
def test_slices_that_are_allowed(slices: set[str] | None, passes: bool) -> None:
    terms = Terms(slices=None if slices is None else frozenset(slices))
    found = plan([ticket(SpawnRequest(1, slice_bytes=4 * GIB), terms=terms)], (), SLICES[:2])
    assert bool(found.grants) == passes


@pytest.mark.parametrize(
    ("request_", "given_"),
    [
        (SpawnRequest(1, memory_bytes=41 * GIB), "B"),
        (SpawnRequest(1, compute_capability=(9, 0)), "B"),
        (SpawnRequest(1, compute_capability=(7, 5)), "A"),
        (SpawnRequest(1, compute_capability=(10, 0)), None),
    ],
)
def test_properties(request_: SpawnRequest, given_: str | None) -> None:
    cards = [
        record(device=device("A", model="A100", compute_capability=(8, 0))),
        record(device=device("B", model="H100", compute_capability=(9, 0), memory_bytes=80 * GIB, index=1)),
        record(device=device("C", model="H100", compute_capability=None, index=2)),
    ]
    assert granted(plan([ticket(request_)], [held("C")], cards)) == ({"grace": (given_,)} if given_ else {})


PIN = Pin("A100-2", Holder("person", "grace"), "thesis", "root", NOW)


def test_a_card_that_is_kept_for_somebody_is_theirs_first_and_nobody_elses() -> None:
    assert granted(plan([ticket(1)], pins=[PIN])) == {"grace": ("A100-2",)}
    assert granted(plan([ticket(4, id="bob")], pins=[PIN])) == {}
    assert granted(plan([ticket(4)], pins=[PIN])) == {"grace": ("A100-0", "A100-1", "A100-2", "A100-3")}


def test_a_card_that_is_kept_for_a_group() -> None:
    pin = Pin("A100-2", LAB, "bought it", "root", NOW)
    found = plan([ticket(1, party=Party(("lab",))), ticket(1, id="bob")], pins=[pin])
    assert granted(found) == {"grace": ("A100-2",), "bob": ("A100-0",)}


@pytest.mark.parametrize(("until", "given_"), [(None, False), (NOW + HOUR, False), (NOW, True)])
def test_a_drained_card(until: datetime | None, given_: bool) -> None:
    drain = Drain("A100-0", "fan", "root", ago(9), until)
    assert bool(plan([ticket(4)], drains=[drain]).grants) == given_
    assert granted(plan([ticket(1)], drains=[drain])) == {"grace": ("A100-0" if given_ else "A100-1",)}


def test_a_drained_card_takes_its_slices_along() -> None:
    drain = Drain("GPU-0", "fan", "root", ago(9))
    assert not plan([ticket(SpawnRequest(1, slice_bytes=GIB))], (), SLICES, drains=[drain]).grants


def test_nothing_is_known() -> None:
    found = plan([ticket(1)], (), [record("A", seen_at=ago(31))])
    assert "31 s ago" in found.waits[0].reason


# -- for any line -------------------------------------------------------------------------------------------

requests = st.builds(
    SpawnRequest,
    st.integers(1, 4),
    st.sampled_from([None, "A100", "T4"]),
    session=st.sampled_from([None, HOUR, 3 * HOUR]),
    shorten=st.booleans(),
)
lines = st.lists(
    st.builds(
        lambda request, owner, age, longest, most: ticket(
            request,
            owner=owner,
            id=f"{owner}{age}",
            queued_at=ago(age),
            terms=Terms(longest=longest, gpus_per_person=most),
        ),
        requests,
        st.sampled_from(["ada", "bob", "eve"]),
        st.integers(1, 50),
        st.sampled_from([None, 2 * HOUR]),
        st.sampled_from([None, 4]),
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)
CARDS = [*fleet(4), *fleet(2, "T4", first=4)]
ends = st.sampled_from([None, NOW + HOUR, NOW + 5 * HOUR])
holdings = st.dictionaries(st.sampled_from([r.device.uuid for r in CARDS]), ends, max_size=6)
sick = st.sets(st.sampled_from([r.device.uuid for r in CARDS]), max_size=2)


@settings(deadline=None)  # a machine may be busy with other things
@given(lines, holdings, sick)
def test_no_device_twice_no_limit_broken_and_nobody_lost(tickets, holdings, sick) -> None:
    leases = [held(uuid, until=end, owner="zoe") for uuid, end in holdings.items()]
    cards = [
        record(r.device.uuid, model=r.device.model, index=r.device.index, health=Health.FAULTY)
        if r.device.uuid in sick
        else r
        for r in CARDS
    ]
    found = plan(tickets, leases, cards)
    given_out = [uuid for grant in found.grants for uuid in grant.devices]
    assert len(given_out) == len(set(given_out))
    assert not set(given_out) & (set(holdings) | sick)
    assert sorted([*granted(found), *line(found)]) == sorted(one.id for one in tickets)
    for grant in found.grants:
        assert_fits(grant)
    assert all(wait.reason for wait in found.waits)


def assert_fits(grant: Grant) -> None:
    models = {uuid.partition("-")[0] for uuid in grant.devices}
    assert len(grant.devices) == grant.ticket.request.gpus
    assert len(models) == 1
    assert grant.ticket.request.model in (None, *models)
    longest = grant.ticket.terms.longest
    assert longest is None or (grant.ends_at is not None and grant.ends_at <= NOW + longest)
    assert (grant.ends_at is None) == (grant.end_reason == "")


@settings(deadline=None)
@given(lines, holdings)
def test_the_first_who_waits_is_not_delayed(tickets, holdings) -> None:
    """What the head can have at its earliest start it still can after everything that was granted."""
    leases = [held(uuid, until=end, owner="zoe") for uuid, end in holdings.items()]
    found = plan(tickets, leases, CARDS)
    head = next(
        (w.ticket for w in found.waits if "GPUs are free" not in w.reason and "hold" not in w.reason), None
    )
    if head is None or head.request.session is not None:
        return
    before = earliest(head, leases)
    passed = [held(*g.devices, until=g.ends_at) for g in found.grants if g.ticket.queued_at > head.queued_at]
    overtaken = [
        held(*g.devices, until=g.ends_at) for g in found.grants if g.ticket.queued_at <= head.queued_at
    ]
    if overtaken:
        before = earliest(head, [*leases, *overtaken])
    after = earliest(head, [*leases, *overtaken, *passed])
    assert after == before or not passed


def earliest(head: Ticket, leases: list[Lease]) -> datetime | None:
    starts = []
    until = {uuid: one.ends_at for one in leases for uuid in one.devices}
    for model in ("A100", "T4"):
        if head.request.model not in (None, model):
            continue
        times = sorted(
            until.get(r.device.uuid, NOW)
            for r in CARDS
            if r.device.model == model and until.get(r.device.uuid, NOW) is not None
        )
        if len(times) >= head.request.gpus:
            starts.append(times[head.request.gpus - 1])
    return min(starts, default=None)


# -- reservations -------------------------------------------------------------------------------------------

CLASS = Party((), ("cs231",))


def booked(
    start: datetime, end: datetime, seats: int = 2, cards: frozenset[str] = frozenset(), name: str = "lab"
) -> Occurrence:
    reservation = Reservation(
        id=name,
        host="gpu1",
        title="Tuesday lab",
        holder=Holder("course", "cs231"),
        devices=seats,
        start=start,
        length=end - start,
        zone="UTC",
        actor="grace",
        made_at=ago(999),
        cards=cards,
    )
    return Occurrence(reservation, start, end, seats)


SOON = booked(NOW + HOUR, NOW + 3 * HOUR)
ON = booked(NOW - HOUR / 6, NOW + HOUR)


def test_a_session_ends_before_a_reservation_that_needs_its_card() -> None:
    found = plan([ticket(3)], [held("A100-0")], occurrences=[SOON])
    assert [(g.ends_at, g.shortened) for g in found.grants] == [(NOW + HOUR, True)]
    assert "Tuesday lab" in found.grants[0].end_reason
    short = ticket(SpawnRequest(3, session=HOUR))
    assert plan([short], [held("A100-0")], occurrences=[SOON]).grants[0].shortened is False


def test_a_session_for_which_enough_is_left_is_not_shortened() -> None:
    found = plan([ticket(1)], [held("A100-0")], occurrences=[SOON])
    assert found.grants[0].ends_at is None


def test_cards_that_nobody_reserved_are_taken_first() -> None:
    named = booked(NOW + HOUR, NOW + 2 * HOUR, cards=frozenset({"A100-0", "A100-1"}))
    found = plan([ticket(2)], occurrences=[named])
    assert found.grants[0].devices == ("A100-2", "A100-3")
    assert found.grants[0].ends_at is None


def test_a_reserved_seat_goes_to_who_may_use_it_before_all_others() -> None:
    used = {"pupil": Standing(9e9, NOW)}
    tickets = [ticket(1, id="other", queued_at=ago(99)), ticket(1, id="pupil", party=CLASS)]
    found = plan(tickets, [held("A100-0", "A100-1")], occurrences=[ON], standings=used)
    assert list(granted(found)) == ["pupil"]
    (grant,) = found.grants
    assert grant.claim is Claim.RESERVATION
    assert grant.reservation == ("lab", ON.start)
    assert (grant.ends_at, grant.shortened) == (NOW + HOUR, False)
    assert grant.end_reason == "the reservation 'Tuesday lab' ends then"


def test_seats_are_counted_down_and_the_rest_is_everybodys() -> None:
    tickets = [ticket(1, id=f"p{n}", party=CLASS) for n in range(3)] + [
        ticket(1, id="other", queued_at=ago(99))
    ]
    found = plan(tickets, occurrences=[ON])
    assert [(g.ticket.id, g.claim, g.reservation is not None) for g in found.grants] == [
        ("p0", Claim.RESERVATION, True),
        ("p1", Claim.RESERVATION, True),
        ("other", Claim.USE, False),
        ("p2", Claim.USE, False),
    ]


def test_nobody_else_gets_what_is_reserved_now() -> None:
    found = plan([ticket(1)], [held("A100-0", "A100-1")], occurrences=[ON])
    assert found.grants == ()
    assert "Tuesday lab" in found.waits[0].reason


@pytest.mark.parametrize("why", ["sick", "drained"])
def test_a_reservation_cannot_count_on_a_card_that_is_out_of_service(why: str) -> None:
    inventory = fleet(3)
    drains = [Drain("A100-2", "fan", "root", NOW)] if why == "drained" else []
    if why == "sick":
        inventory[2] = record("A100-2", index=2, health=Health.FAULTY, health_reason="XID 79")
    found = plan([ticket(1)], inventory=inventory, drains=drains, occurrences=[SOON])
    assert [grant.ends_at for grant in found.grants] == [SOON.start]
    assert plan([ticket(1)], inventory=fleet(3), occurrences=[SOON]).grants[0].ends_at is None


INSISTS = ticket(SpawnRequest(4, session=8 * HOUR), id="insists", queued_at=ago(99))


def test_who_insists_on_what_a_reservation_forbids_does_not_make_all_others_wait() -> None:
    """Where it recurs, that would be for ever."""
    other = ticket(1, id="other", terms=Terms(longest=2 * HOUR))
    found = plan([INSISTS, other], occurrences=[SOON])
    assert [(g.ticket.id, g.ends_at) for g in found.grants] == [("other", NOW + 2 * HOUR)]
    assert "Tuesday lab" in found.waits[0].reason


def test_and_is_not_passed_for_longer_than_the_reservation_lasts() -> None:
    found = plan([INSISTS, ticket(1, id="other")], occurrences=[SOON])
    assert [(g.ends_at, g.end_reason) for g in found.grants] == [
        (SOON.end, "somebody who has waited longer is to have these GPUs then")
    ]


OUT = {
    "faulty": record("A100-3", index=3, health=Health.FAULTY, health_reason="XID 79"),
    "silent": record("A100-3", index=3, health=Health.UNKNOWN, seen_at=ago(3600)),
    "used": record("A100-3", index=3, occupied_by="process 7"),
}


@pytest.mark.parametrize("why", [*OUT, "drained", "pinned", "quarantined"])
def test_a_card_that_is_out_of_service_does_not_make_all_wait_behind_who_wants_it(why: str) -> None:
    inventory = [*fleet(3), OUT.get(why, record("A100-3", index=3))]
    more = {
        "drained": {"drains": [Drain("A100-3", "fan", "root", NOW)]},
        "pinned": {"pins": [Pin("A100-3", Holder("person", "zoe"), "hers", "root", NOW)]},
    }
    leases = [lease(S.QUARANTINED, "A100-3")] if why == "quarantined" else []
    found = plan(
        [ticket(4, id="large", queued_at=ago(99)), ticket(1)], leases, inventory, **more.get(why, {})
    )
    assert list(granted(found)) == ["grace"]
    assert line(found) == ["large"]


def test_one_that_is_silent_for_a_moment_does() -> None:
    inventory = [*fleet(3), record("A100-3", index=3, health=Health.UNKNOWN, seen_at=ago(1))]
    assert granted(plan([ticket(4, id="large", queued_at=ago(99)), ticket(1)], [], inventory)) == {}


def test_a_drained_card_is_waited_for_until_its_drain_is_over() -> None:
    drain = Drain("A100-3", "fan", "root", NOW, until=NOW + HOUR)
    found = plan([ticket(4, id="large", queued_at=ago(99)), ticket(1)], drains=[drain])
    assert [grant.ends_at for grant in found.grants] == [NOW + HOUR]
    held_too = held("A100-3", until=NOW + 2 * HOUR)
    found = plan([ticket(4, id="large", queued_at=ago(99)), ticket(1)], [held_too], drains=[drain])
    assert [grant.ends_at for grant in found.grants] == [NOW + 2 * HOUR]


def test_a_held_card_that_is_drained_does_not_count_as_free_after_its_session() -> None:
    """Or the others are given away to who comes later, and the large one waits on."""
    leases = [held("A100-2", until=NOW + HOUR), held("A100-3", until=NOW + HOUR)]
    drains = [Drain("A100-3", "fan", "root", NOW)]
    found = plan([ticket(3, id="large", queued_at=ago(99)), ticket(1)], leases, drains=drains)
    assert [grant.ends_at for grant in found.grants] == [NOW + HOUR]


def test_after_a_failed_start_there_is_a_pause_that_holds_up_nobody() -> None:
    paused = ticket(
        4, id="paused", queued_at=ago(99), not_before=NOW + HOUR / 60, reason="it did not come up."
    )
    found = plan([paused, ticket(4, id="next")])
    assert list(granted(found)) == ["next"]
    assert found.waits[0].reason == "It did not come up. It is tried again in 60 s."
    assert list(granted(plan([replace(paused, not_before=NOW)]))) == ["paused"]
    assert list(granted(plan([replace(paused, not_before=NOW + HOUR)]))) == ["paused"], "a clock was set back"


def test_everybody_reads_what_they_asked_for_themselves() -> None:
    cards = fleet(1)  # it has enough memory: all three can have the same
    tickets = [
        ticket(SpawnRequest(1, memory_bytes=GIB), id="large", queued_at=ago(30)),
        ticket(1, id="any", queued_at=ago(20)),
        ticket(SpawnRequest(1, model="A100"), id="named", queued_at=ago(10)),
    ]
    found = plan(tickets, [held("A100-0")], cards)
    assert {wait.ticket.id: wait.reason.partition(";")[0] for wait in found.waits} == {
        "large": "You asked for 1 GPU with at least 1 GiB of memory",
        "any": "You asked for 1 GPU",
        "named": "You asked for 1 GPU of model A100",
    }


@pytest.mark.parametrize(("minutes_to_midnight", "granted_to"), [(2, ["spent"]), (30, [])])
def test_hours_that_come_back_at_midnight_count(minutes_to_midnight: int, granted_to: list[str]) -> None:
    midnight = (NOW + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    now = midnight - timedelta(minutes=minutes_to_midnight)
    week = {(now - timedelta(days=n)).date(): 3600.0 for n in range(7)}
    spent = ticket(1, id="spent", terms=Terms(gpu_hours=7.05))  # 3 min are left
    cards = [replace(one, seen_at=now) for one in fleet(1)]
    found = plan_line(Situation(now, cards, [], [spent], held={"spent": week}))
    assert list(granted(found)) == granted_to
