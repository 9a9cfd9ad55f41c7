"""One's places in line, as the page shows them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from gpuspawner.allocator.places import LineView, Place
from gpuspawner.controller.links import Links
from gpuspawner.controller.views.queue import view_queue
from gpuspawner.core.estimate import Estimate
from gpuspawner.core.model import LeaseState, SpawnRequest
from gpuspawner.core.situation import Situation
from support.build import NOW, lease, record, ticket

LINKS = Links("/hub/", "/services/gpu/")
MINUTE = timedelta(minutes=1)


def line(*places: Place, leases: tuple = ()) -> LineView:
    return LineView(NOW, places, Situation(NOW, [record()], leases))


def place(owner: str = "ada", ahead: int | None = 0, **changes: object) -> Place:
    fields = {"reason": "waits", "estimate": None, **changes}
    return Place(ticket(SpawnRequest(2, "A100"), id=f"t-{owner}", owner=owner), ahead, **fields)


def test_others_are_counted_and_not_shown() -> None:
    page = view_queue(line(place("bob"), place("ada", 1)), "ada", LINKS)
    (mine,) = page.places
    assert (mine.id, mine.ahead, mine.gpus, mine.model, page.length) == ("t-ada", 1, 2, "A100", 2)
    assert (mine.claim, mine.leave) == ("/services/gpu/queue/t-ada/claim", "/services/gpu/queue/t-ada/leave")


@pytest.mark.parametrize("person", [None, "eve"])
def test_who_has_nothing_sees_nothing(person: str | None) -> None:
    held = lease(LeaseState.ACTIVE, "GPU-0", owner="ada")
    page = view_queue(line(place("ada"), leases=(held,)), person, LINKS)
    assert (page.places, page.sessions, page.length, page.start) == ((), (), 1, "/hub/spawn")


def test_an_estimate_stands_still_for_five_minutes() -> None:
    """Or an open page would change at every look."""
    pages = set()
    for seconds in range(0, 300, 2):
        moment = NOW + timedelta(seconds=seconds)
        estimate = Estimate(moment, moment + 60 * MINUTE, "what is known")
        pages.add(view_queue(line(place(estimate=estimate)), "ada", LINKS))
    assert len(pages) == 1
    ((card,),) = [page.places for page in pages]
    assert (card.earliest, card.latest) == (NOW, NOW + 60 * MINUTE)


def test_no_estimate_is_none() -> None:
    (card,) = view_queue(line(place()), "ada", LINKS).places
    assert (card.earliest, card.latest, card.basis) == (None, None, "")
    open_end = view_queue(line(place(estimate=Estimate(NOW, None, "x"))), "ada", LINKS).places[0]
    assert (open_end.earliest, open_end.latest) == (NOW, None)


@pytest.mark.parametrize(
    ("state", "devices", "shown"),
    [
        (LeaseState.ACTIVE, ("GPU-0",), True),
        (LeaseState.ACTIVE, (), False),
        (LeaseState.RESERVED, ("GPU-0",), False),
        (LeaseState.RELEASING, ("GPU-0",), False),
    ],
)
def test_sessions_that_run_with_gpus(state: LeaseState, devices: tuple[str, ...], shown: bool) -> None:
    held = lease(state, owner="ada", server="a b", devices=devices, ends_at=NOW + MINUTE)
    found = view_queue(line(leases=(held,)), "ada", LINKS).sessions
    assert [(one.server, one.href) for one in found] == ([("a b", "/user/ada/a%20b")] if shown else [])
