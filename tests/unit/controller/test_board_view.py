"""The administrators' board: what it says of cards, sessions and the line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.links import Links
from gpuspawner.controller.pages.rendering import render
from gpuspawner.controller.views.board import BoardPage, view_board
from gpuspawner.controller.views.boardcards import ActionLink, CardRow, Use
from gpuspawner.core.activity import GpuLook, Look, begin_activity
from gpuspawner.core.claims import TicketState
from gpuspawner.core.culling import Watch
from gpuspawner.core.estimate import Estimate
from gpuspawner.core.idleness import Limits
from gpuspawner.core.model import DeviceRecord, Event, Health, LeaseState, SpawnRequest
from gpuspawner.core.situation import Situation
from gpuspawner.core.undo import Undoing
from support.board import LATER, drain, many_cards, many_leases, pin, situation
from support.build import GIB, NOW, ago, busy, device, lease, record, ticket
from support.client import text_of

LINKS = Links("/hub/", "/gpu/")
RELEASING, QUARANTINED = LeaseState.RELEASING, LeaseState.QUARANTINED


def see(around: Situation, *places: Place, undo: Undoing | None = None) -> BoardPage:
    return view_board(LineView(NOW, places, around), "gpu1", LINKS, undo=undo)


def one_card(around: Situation) -> CardRow:
    (group,) = see(around).cards
    assert group.card
    return group.card


def labels(row: CardRow) -> list[str]:
    return [action.label for action in row.actions]


# -- cards --------------------------------------------------------------------------------------------------


def watched(idle_minutes: float, *unknown: str, looked_seconds_ago: float = 10) -> Watch:
    activity = begin_activity(ago(60 * idle_minutes))
    look = Look(ago(looked_seconds_ago), GpuLook(None, None), None, 0.0)
    return Watch("lease1", Limits(), replace(activity, unknown=unknown, look=look))


@pytest.mark.parametrize(
    ("watch", "expected", "says"),
    [
        (None, Use(known=False, deaf_since=None, idle_since=None), "use not known"),
        (watched(30), Use(known=True, deaf_since=None, idle_since=ago(1800)), "idle since"),
        (watched(4), Use(known=True, deaf_since=None, idle_since=None), "in use"),
        (
            watched(30, "what its GPUs do"),
            Use(known=False, deaf_since=None, idle_since=None),
            "use not known",
        ),
        (
            replace(watched(30, "what its notebooks do"), deaf_since=ago(2400)),
            Use(known=False, deaf_since=ago(2400), idle_since=None),
            "idle, and its server has hardly answered, if at all, since",
        ),
        (
            watched(30, looked_seconds_ago=150),
            Use(known=False, deaf_since=None, idle_since=None),
            "use not known",
        ),
    ],
)
def test_whether_a_held_card_is_used(watch: Watch | None, expected: Use, says: str) -> None:
    view = LineView(NOW, (), situation(leases=[lease()]))
    page = view_board(view, "gpu1", LINKS, watches={"lease1": watch} if watch else {})
    (group,) = page.cards
    assert group.card
    assert group.card.held_by
    assert group.card.held_by.use == expected
    text = text_of(render("parts/board.html", "en", {"page": page, "site": {"links": LINKS, "xsrf": ""}}))
    assert says in text


@pytest.mark.parametrize(
    ("around", "state", "trouble"),
    [
        (situation(), "free", ""),
        (situation(leases=[lease()]), "held", ""),
        (situation(leases=[lease(RELEASING)]), "releasing", ""),
        (situation(leases=[lease(QUARANTINED, reason="pid 7 is left")]), "quarantined", "pid 7 is left"),
        (situation([record(occupied_by="process 9 on the host")]), "occupied", "process 9 on the host"),
        (
            situation([record(occupied_by="process 9 on the host")], [lease()]),
            "held",
            "process 9 on the host",
        ),
        (situation([record(health=Health.FAULTY, health_reason="XID 79")]), "faulty", "XID 79"),
        (situation([record(health=Health.FAULTY, health_reason="XID 79")], [lease()]), "held", "XID 79"),
        (situation([record(health=Health.UNKNOWN, health_reason="late")]), "unknown", "late"),
        (situation(drains=[drain()]), "drained", ""),
        (situation(drains=[drain(until=ago(1))]), "free", ""),
    ],
)
def test_the_state_of_a_card_and_why_it_needs_somebody(around: Situation, state: str, trouble: str) -> None:
    row = one_card(around)
    assert (row.state, row.trouble, row.needs_you) == (state, trouble, bool(trouble))
    assert see(around).trouble == ((row,) if trouble else ())


def test_figures_of_a_card() -> None:
    look = busy(1, memory_used_bytes=int(31.26 * GIB), temperature_celsius=61, power_milliwatts=301_499)
    row = one_card(situation([record(sample=look)], [lease(ends_at=LATER, server="two")]))
    assert (row.utilization_percent, row.memory_used_gib, row.memory_gib) == (90, 31.3, 40.0)
    assert (row.temperature_celsius, row.power_watts) == (61, 301)
    assert row.held_by
    assert (row.held_by.owner, row.held_by.server, row.held_by.ends_at) == ("ada", "two", LATER)


@pytest.mark.parametrize(
    "known",
    [
        record(sample=None),
        record(sample=busy(1, at=ago(31))),
        record(sample=busy(utilization_percent=None, memory_used_bytes=None)),
    ],
)
def test_a_silent_sensor_is_never_a_zero(known: DeviceRecord) -> None:
    row = one_card(situation([known]))
    assert (row.utilization_percent, row.memory_used_gib, row.temperature_celsius, row.power_watts) == (
        *(None, None),
        *(None, None),
    )
    cells = text_of(show(see(situation([known]))))
    assert "not known not known of 40.0 GiB not known" in cells
    assert "0 %" not in cells


def test_a_card_that_is_silent() -> None:
    row = one_card(situation([record(seen_at=ago(31), health_reason="old")]))
    assert (row.state, row.health, row.silent_since, row.needs_you) == ("unknown", "unknown", ago(31), True)


@pytest.mark.parametrize(
    ("seen", "since"), [((0, 40), None), ((31, 40), ago(31)), ((), None)], ids=["one", "none", "no cards"]
)
def test_the_agent_is_silent_when_every_card_is(seen: tuple[int, ...], since: object) -> None:
    cards = [record(f"GPU-{n}", seen_at=ago(seconds)) for n, seconds in enumerate(seen)]
    assert see(situation(cards)).silent_since == since


@pytest.mark.parametrize(
    ("around", "offered"),
    [
        (situation(), ["Drain", "Assign"]),
        (situation(drains=[drain()]), ["Undrain", "Assign"]),
        (situation(drains=[drain(until=ago(1))]), ["Drain", "Assign"]),
        (situation(leases=[lease()], drains=[drain()]), ["Undrain", "End sessions", "Assign"]),
        (situation(leases=[lease(RELEASING)], drains=[drain()]), ["Undrain", "Assign"]),
        (situation(pins=[pin()]), ["Drain", "Assign", "Unassign"]),
        (situation([record(standing_fault="XID 79")]), ["Drain", "Assign", "Clear fault"]),
    ],
)
def test_what_can_be_done_to_a_card(around: Situation, offered: list[str]) -> None:
    assert labels(one_card(around)) == offered


def test_slices_stand_below_their_card_and_what_is_said_of_it_holds_for_them() -> None:
    cards = [
        record("MIG-a", device=device("MIG-a", parent="GPU-9")),
        record("GPU-1"),
        record("MIG-b", device=device("MIG-b", parent="GPU-9")),
    ]
    around = situation(
        cards, [lease(LeaseState.ACTIVE, "MIG-b")], drains=[drain("GPU-9")], pins=[pin("GPU-9"), pin("MIG-a")]
    )
    page = see(around)
    divided, whole = page.cards
    assert (divided.uuid, divided.card, [row.uuid for row in divided.slices]) == (
        "GPU-9",
        None,
        ["MIG-a", "MIG-b"],
    )
    assert [one.label for one in divided.actions] == ["Undrain", "End sessions", "Assign", "Unassign"]
    first, second = divided.slices
    assert (first.state, second.state) == ("drained", "held")
    assert first.drain
    assert first.drain.reason == "fan"
    assert labels(first) == ["Drain", "Assign", "Unassign"], "its card's drain is not its own"
    assert second.pin
    assert second.pin.name == "grace"
    assert whole.card
    assert (page.totals.free, page.totals.held, page.totals.out) == (1, 1, 1)


def test_a_divided_card_that_is_listed_too_is_not_counted_twice() -> None:
    page = see(situation([record("GPU-9"), record("MIG-a", device=device("MIG-a", parent="GPU-9"))]))
    assert page.totals.free == 1
    (group,) = page.cards
    assert group.card
    assert group.actions == ()


# -- totals, sessions, the line -----------------------------------------------------------------------------


def test_totals() -> None:
    cards = [record(f"GPU-{n}") for n in range(7)]
    cards[5] = replace(cards[5], health=Health.FAULTY)
    cards[6] = replace(cards[6], seen_at=ago(31))
    leases = [
        lease(LeaseState.ACTIVE, "GPU-0", id="a"),
        lease(LeaseState.RESERVED, "GPU-1", id="b"),
        lease(RELEASING, "GPU-2", id="c", owner="bob"),
        lease(QUARANTINED, "GPU-3", id="d", owner="eve"),
        lease(id="e", owner="grace", devices=()),
    ]
    places = [Place(ticket(id=i, owner=who), 0, "", None) for i, who in (("x", "z"), ("y", "z"), ("w", "v"))]
    totals = see(situation(cards, leases), *places).totals
    assert (totals.free, totals.held, totals.out, totals.unknown) == (1, 3, 2, 1)
    assert (totals.working, totals.waiting) == (2, 2), "people, and not sessions or places"


def test_sessions_the_oldest_first() -> None:
    young, old = lease(id="a", created_at=ago(1)), lease(RELEASING, id="b", created_at=ago(9), owner="bob")
    first, second = see(situation(leases=[young, old])).sessions
    assert (first.owner, first.actions) == ("bob", ())
    assert [(one.label, one.href) for one in second.actions] == [
        ("Message", "/gpu/board/do/message/a"),
        ("Extend", "/gpu/board/do/extend/a"),
        ("Stop", "/gpu/board/do/stop/a"),
    ]


def test_the_line() -> None:
    soon = Estimate(NOW + timedelta(minutes=7, seconds=3), None, "five sessions")
    request = SpawnRequest(1, slice_bytes=GIB, model="A100")
    places = (
        Place(ticket(id="t0", state=TicketState.OFFERED), None, "offered", None),
        Place(ticket(request, id="t1"), 0, "all are held", soon),
    )
    offered, waiting = see(situation(), *places).line
    assert (offered.position, offered.earliest) == (0, None)
    assert (waiting.position, waiting.reason, waiting.since) == (1, "all are held", ago(60))
    assert (waiting.slice_bytes, waiting.model) == (GIB, "A100")
    assert (waiting.earliest, waiting.latest) == (NOW + timedelta(minutes=5), None)
    assert waiting.remove == "/gpu/board/do/remove/t1"


def test_nothing_moves_while_nothing_changes() -> None:
    def look(seconds: float) -> BoardPage:
        at = NOW + timedelta(seconds=seconds)
        card = record(seen_at=at, sample=busy(1, at=at, memory_used_bytes=GIB + int(seconds)))
        around = replace(situation([card], [lease(ends_at=LATER)], drains=[drain(until=LATER)]), now=at)
        return see(around, Place(ticket(), 0, "waits", Estimate(LATER, LATER, "")))

    assert look(0) == look(2), "equal pages send no news"
    assert look(0) != see(situation())


def test_undo_is_offered_as_long_as_it_can_be_done() -> None:
    done = Event(NOW, "device.drained", "fan", "root", device="GPU-0", id=7)
    assert see(situation()).undo is None
    assert see(situation(), undo=Undoing(done, "GPU-0", why_not="too late")).undo is None
    page = see(situation(), undo=Undoing(done, "GPU-0"))
    assert page.undo == (ActionLink("Drain", "/gpu/board/do/undo/7"), "GPU-0")


# -- a large host -------------------------------------------------------------------------------------------


def show(page: BoardPage) -> str:
    return render("parts/board.html", "en", {"page": page, "site": {"links": LINKS, "xsrf": "x"}})


def count_steps(do: Callable[[], object]) -> int:
    """How many steps of the interpreter something takes."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return steps


def work(cards: int, leases: int) -> tuple[int, int]:
    """How many steps it takes to make a page, and to show it."""
    records = many_cards(cards)
    around = situation(
        records,
        many_leases(leases, records),
        drains=[drain(one.device.uuid) for one in records],
        pins=[pin(one.device.uuid) for one in records],
    )
    places = [Place(ticket(id=f"t{n}"), n, "waits", None) for n in range(leases)]
    page = see(around, *places)
    return count_steps(lambda: see(around, *places)), count_steps(lambda: show(page))


def test_twice_the_host_takes_twice_the_work() -> None:
    work(4, 4)  # compiles the template
    for half, whole in zip(work(32, 100), work(64, 200), strict=True):
        assert whole < 2.05 * half, "nothing is looked up by going through a list"


def test_ids_are_unique_and_stay() -> None:
    records = many_cards(64)
    around = situation(records, many_leases(200, records))
    found = re.findall(r' id="([^"]*)"', show(see(around)))
    assert len(found) == len(set(found))
    assert {"card-GPU-00000000-0000", "session-lease199"} <= set(found)
