"""What the pages of courses say."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.courses import (
    view_course,
    view_courses,
    view_extend,
    view_message,
    view_seat,
)
from gpuspawner.core.coursework import Coursework
from gpuspawner.core.model import Lease, LeaseState, Party
from gpuspawner.core.policy import Course, Rule
from gpuspawner.core.roster import Role
from gpuspawner.core.situation import Situation
from support.build import NOW, ago, lease, record, sample, ticket
from support.reservations import COURSE, first, reservation

LINKS = Links("/hub/", "/services/gpu/")
CS231 = Course("cs231", "students", frozenset({"grace"}), "base", Rule("cs231"), seats=20)
END = NOW + timedelta(minutes=30)


def look(*leases: Lease, **more: Any) -> LineView:
    cards = [
        record("GPU-0", sample=sample(utilization_percent=7)),
        record("GPU-1", sample=sample(at=ago(31))),
    ]
    places = tuple(more.pop("places", ()))
    return LineView(NOW, places, Situation(NOW, cards, leases, **more))


def seat(state: LeaseState = LeaseState.ACTIVE, *devices: str, **changes: Any) -> Lease:
    return lease(state, *devices, **{"party": COURSE, "ends_at": END} | changes)


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (seat(), "running"),
        (seat(LeaseState.RESERVED), "starting"),
        (seat(LeaseState.RELEASING), "ending"),
        (seat(LeaseState.QUARANTINED), None),
        (seat(LeaseState.RESERVED, claim_by=NOW), None),
        (seat(party=Party(("students",), ("other",))), None),
        (seat(party=Party()), None),
    ],
)
def test_whose_sessions_are_there(one: Lease, state: str | None) -> None:
    page = view_course(look(one), CS231, LINKS)
    assert [found.state for found in page.sessions] == ([state] if state else [])


@pytest.mark.parametrize("role", [*Role, None])
@pytest.mark.parametrize("work", [Coursework(), Coursework(True), Coursework(True, assistants_grade=True)])
def test_who_is_shown_where_to_grade(role: Role | None, work: Coursework) -> None:
    page = view_course(look(), replace(CS231, work=work), LINKS, role=role)
    assert bool(page.grading) is (role in work.graders)
    assert page.grading in ("", "/hub/user-redirect/formgrader")


def test_what_a_session_is_doing() -> None:
    page = view_course(look(seat(LeaseState.ACTIVE, "GPU-0", "GPU-1", "GPU-9")), CS231, LINKS)
    (found,) = page.sessions
    assert [(one.model, one.percent) for one in found.cards] == [("A100", 7), ("A100", None), (None, None)]
    assert found.href == "/services/gpu/courses/cs231/seats/lease1"


def test_seats() -> None:
    view = look(
        seat(id="a"), seat(LeaseState.RESERVED, id="b", claim_by=NOW), seat(LeaseState.RELEASING, id="c")
    )
    page = view_course(view, CS231, LINKS)
    assert (page.line.taken, page.line.seats) == (2, 20)
    assert [one.id for one in page.sessions] == ["a", "c"]


def test_who_waits_for_this_course() -> None:
    mine = ticket(owner="ada", party=COURSE)
    places = [
        Place(ticket(owner="eve", party=COURSE), None, "", None),
        Place(ticket(owner="bob"), 0, "", None),
        Place(mine, 1, "", None),
    ]
    page = view_course(look(places=places), CS231, LINKS)
    assert [(one.person, one.position) for one in page.waiting] == [("eve", 0), ("ada", 2)]
    assert page.line.waiting == 2


def test_next_slots() -> None:
    own, other = (
        first(reservation()),
        first(reservation(id="r2", holder=reservation().holder.__class__("group", "cs231"))),
    )
    page = view_course(look(occurrences=[own, other] + [own] * 9), CS231, LINKS)
    assert len(page.slots) == 5
    assert (page.slots[0].title, page.slots[0].gpus, page.slots[0].on) == ("Tuesday lab", 2, False)


@pytest.mark.parametrize(
    ("one", "limit", "until", "why"),
    [
        (seat(), None, END + timedelta(minutes=30), ""),
        (seat(ends_at=ago(60)), None, NOW + timedelta(minutes=30), ""),
        (seat(), END + timedelta(minutes=30), END + timedelta(minutes=30), ""),
        (seat(), END + timedelta(minutes=29), None, "beyond 2030-05-17 12:59 UTC: reserved."),
        (seat(ends_at=None), None, None, "no end"),
        (seat(warned=0), None, None, "Its end has come"),
    ],
)
def test_what_extending_comes_to(
    one: Lease, limit: datetime | None, until: datetime | None, why: str
) -> None:
    (planned,) = view_extend(look(one), CS231, LINKS, 30, {one.id: (limit, "reserved.")}).planned
    assert planned.until == until
    assert why in planned.why_not
    assert bool(planned.why_not) == (until is None)
    single = view_seat(look(one), CS231, LINKS, one, {one.id: (limit, "reserved.")})
    assert (single.extensions[0].until, [e.minutes for e in single.extensions]) == (until, [30, 60, 120])


def test_who_is_told() -> None:
    view = look(
        seat(id="a", owner="bob"), seat(id="b", owner="bob", server="two"), seat(LeaseState.RELEASING, id="c")
    )
    assert view_message(view, CS231, LINKS).people == ("bob",)


def test_the_list() -> None:
    other = Course("Art", "artists", frozenset(), "base", Rule("Art"))
    page = view_courses(look(seat()), [CS231, other], LINKS)
    assert [(one.name, one.taken, one.seats) for one in page.courses] == [("Art", 0, None), ("cs231", 1, 20)]
