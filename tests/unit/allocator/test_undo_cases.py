"""Taking back what was decided on cards and sessions: over the real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Cards, Line, Reservations, Sessions, Undo
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.errors import Conflict, InvalidRequest, NotFound
from gpuspawner.core.model import Event, Lease, LeaseState
from gpuspawner.core.undo import Undoing
from support.build import HOST, NOW, lease, record
from support.reservations import reservation

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WHY = {"reason": "fan", "actor": "root"}


class Site:
    """Two cards, of which ada has one for two hours; and a clock."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.ledger = Ledger(folder / "ledger.db")
        clock = lambda: self.now  # noqa: E731
        line = Line(self.ledger, HOST, timedelta(days=9), clock)
        self.cards, self.sessions = Cards(self.ledger, HOST, clock), Sessions(self.ledger, HOST, clock)
        self.taking_back = Undo(self.ledger, HOST, line, clock)
        self.reservations = Reservations(self.ledger, HOST, clock)
        with self.ledger.write() as unit:
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n))
            unit.add_lease(lease(ends_at=NOW + 2 * HOUR, end_reason="2 h at most", warned=None))

    def newest(self, kind: str = "") -> Event:
        with self.ledger.read() as unit:
            return unit.recent_events(1, prefix=kind)[0]

    def undo(self, event: Event) -> Undoing:
        assert event.id
        return self.taking_back.undo(event.id, reason="a slip", actor="eve")

    def why_not(self, event: Event) -> str:
        """Why it cannot be undone; planning and doing say the same."""
        assert event.id
        why_not = self.taking_back.plan(event.id).why_not
        if why_not:
            with pytest.raises(Conflict) as caught:
                self.undo(event)
            assert str(caught.value) == why_not
        return why_not

    @property
    def lease(self) -> Lease:
        return self.sessions.find("lease1")

    def change(self, **changes: Any) -> None:
        with self.ledger.write() as unit:
            unit.update_lease(replace(self.lease, **changes))

    @property
    def drains(self) -> tuple[Drain, ...]:
        with self.ledger.read() as unit:
            return unit.drains(HOST)

    @property
    def pins(self) -> tuple[Pin, ...]:
        with self.ledger.read() as unit:
            return unit.pins(HOST)

    def told(self) -> str:
        with self.ledger.read() as unit:
            return unit.messages_for("ada")[0].text


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()


# -- cards --------------------------------------------------------------------------------------------------


def test_a_drain_and_the_undoing_of_its_undoing(site: Site) -> None:
    made = site.cards.drain("GPU-0", until=NOW + HOUR, **WHY).record
    drained = site.newest()
    site.undo(drained)
    undrained = site.newest()
    assert site.drains == ()
    assert (undrained.kind, undrained.actor, undrained.reason, undrained.device) == (
        *("device.undrained", "eve"),
        *("a slip", "GPU-0"),
    )
    assert undrained.data["undoes"] == drained.id
    assert site.why_not(drained) == "Something else was decided on this GPU since."
    site.undo(undrained)
    assert site.drains == (made,), "as it was: by whom, since when, until when, and why"
    assert site.newest().data["undoes"] == undrained.id


def test_a_drain_in_place_of_another(site: Site) -> None:
    before = site.cards.drain("GPU-0", until=NOW + 9 * HOUR, **WHY).record
    site.cards.drain("GPU-0", reason="new fan", actor="eve", now=True)
    site.undo(site.newest("device."))
    assert site.drains == (before,)
    assert site.lease.ends_at == NOW + 2 * HOUR


def test_an_undrain_by_hand_but_none_whose_time_is_over(site: Site) -> None:
    made = site.cards.drain("GPU-0", until=NOW + HOUR, **WHY).record
    site.cards.undrain("GPU-0", reason="mended", actor="eve")
    undrained = site.newest()
    site.undo(undrained)
    assert site.drains == (made,)
    site.cards.undrain("GPU-0", reason="mended", actor="eve")
    undrained = site.newest()
    site.now += HOUR
    assert site.why_not(undrained) == "The time for which it was drained is over."


def test_a_drain_whose_time_is_over(site: Site) -> None:
    site.cards.drain("GPU-0", until=NOW + HOUR, **WHY)
    drained = site.newest()
    site.now += HOUR
    assert site.why_not(drained) == "It is not drained any more."
    site.cards.expire_drains()
    assert site.why_not(site.newest()) == "This cannot be undone.", "nobody has decided that"
    assert site.why_not(drained) == "Something else was decided on this GPU since."


def test_what_is_kept_for_somebody(site: Site) -> None:
    site.cards.pin("GPU-1", Holder("person", "ada"), **WHY)
    first = site.pins
    site.cards.pin("GPU-1", Holder("group", "vision"), **WHY)
    pinned = site.newest()
    site.undo(pinned)
    assert site.pins == first
    assert site.why_not(pinned) == "Something else was decided on this GPU since."
    site.cards.unpin("GPU-1", reason="over", actor="root")
    unpinned = site.newest()
    site.cards.drain("GPU-1", **WHY)
    site.undo(unpinned)
    assert site.pins == first, "a drain is another matter"
    site.cards.drain("GPU-0", **WHY)
    assert site.why_not(site.newest()) == "", "and another card is too"


# -- ends of sessions ---------------------------------------------------------------------------------------


def drain_now(site: Site) -> None:
    site.cards.drain("GPU-0", now=True, **WHY)


def stop_after(site: Site) -> None:
    site.sessions.stop_after("lease1", MINUTE, reason="exam", actor="root")


def extend(site: Site) -> None:
    site.sessions.extend("lease1", NOW + 4 * HOUR, limit=None, limit_reason="", reason="exam", actor="root")


@pytest.mark.parametrize(("decide", "kind"), [(drain_now, "device."), (stop_after, "session.")])
def test_a_session_goes_on_as_before(site: Site, decide: Callable[[Site], None], kind: str) -> None:
    decide(site)
    assert site.lease.ends_at == NOW + MINUTE
    event = site.newest(kind)
    site.change(warned=1)
    site.now += MINUTE / 2
    site.undo(event)
    assert (site.lease.ends_at, site.lease.end_reason, site.lease.warned) == (
        NOW + 2 * HOUR, "2 h at most", None,
    )  # fmt: skip
    told = site.newest("session.")
    assert (told.kind, told.lease_id, told.actor, told.data["undoes"]) == (
        *("session.extended", "lease1"),
        *("eve", event.id),
    )
    assert site.told() == (
        "eve took back the end that was set for your session: it ends at 2030-05-17 14:00 UTC as before: "
        "a slip"
    )
    assert site.drains == ()


def test_the_end_of_one_session_alone(site: Site) -> None:
    drain_now(site)
    site.undo(site.newest("lease.end_set"))
    assert site.lease.ends_at == NOW + 2 * HOUR
    assert site.drains, "the card stays drained"


def test_an_extension(site: Site) -> None:
    extend(site)
    event = site.newest("session.extended")
    site.undo(event)
    assert (site.lease.ends_at, site.lease.end_reason) == (NOW + 2 * HOUR, "2 h at most")
    shortened = site.newest("session.")
    assert (shortened.kind, shortened.data["undoes"]) == ("session.shortened", event.id)
    site.undo(shortened)
    assert site.lease.ends_at == NOW + 4 * HOUR


@pytest.mark.parametrize(
    ("passed", "why_not"),
    [
        (105 * MINUTE, ""),
        (106 * MINUTE, "Its person would not have the 15 min of the first warning any more."),
        (2 * HOUR, "The end that the session had before has passed too."),
    ],
)
def test_an_extension_leaves_the_first_warning(site: Site, passed: timedelta, why_not: str) -> None:
    extend(site)
    site.now += passed
    assert site.why_not(site.newest("session.extended")) == why_not


@pytest.mark.parametrize("decide", [stop_after, extend])
@pytest.mark.parametrize(
    ("changes", "why_not"),
    [
        ({"ends_at": NOW + 3 * HOUR}, "Another end was set for the session since."),
        ({"ends_at": None}, "Another end was set for the session since."),
        ({"warned": 0}, "The session has ended, or its end has come."),
        ({"state": LeaseState.RELEASING}, "The session has ended, or its end has come."),
        ({"state": LeaseState.RELEASED}, "The session has ended, or its end has come."),
    ],
)
def test_what_has_changed_since(
    site: Site, decide: Callable[[Site], None], changes: dict[str, Any], why_not: str
) -> None:
    decide(site)
    event = site.newest("session.")
    site.change(**changes)
    before = site.lease
    assert site.why_not(event) == why_not
    assert site.lease == before


def test_a_card_is_given_back_although_its_session_has_ended(site: Site) -> None:
    drain_now(site)
    site.change(warned=0)
    drained = site.newest("device.")
    assert drained.id
    found = site.taking_back.plan(drained.id)
    assert (found.why_not, found.ends, found.lost) == (
        "", (), ("The session has ended, or its end has come.",),
    )  # fmt: skip
    site.undo(drained)
    assert (site.drains, site.lease.ends_at) == ((), NOW + MINUTE)


def test_a_reservation_that_came_between(site: Site) -> None:
    stop_after(site)
    event = site.newest("session.")
    with site.ledger.write() as unit:
        unit.put_reservation(reservation(devices=2, start=NOW + HOUR))
    assert site.why_not(event).startswith(
        "The session cannot go on beyond 2030-05-17 13:00 UTC now: reserved"
    )
    assert site.taking_back.plan_all([event])[event.id or 0].why_not == "", "a list does not look so far"


# -- what cannot be ----------------------------------------------------------------------------------------


def test_what_nobody_can_take_back(site: Site) -> None:
    site.sessions.message("lease1", "hello", actor="root")
    assert site.why_not(site.newest()) == "This cannot be undone."
    site.sessions.request_stop("lease1", reason="exam", actor="root")
    assert site.why_not(site.newest()) == "This cannot be undone.", "at once is at once"
    with pytest.raises(NotFound):
        site.taking_back.plan(10**15)


def test_there_must_be_a_reason(site: Site) -> None:
    site.cards.drain("GPU-0", **WHY)
    event = site.newest()
    assert event.id
    with pytest.raises(InvalidRequest):
        site.taking_back.undo(event.id, reason=" ", actor="eve")
    assert site.drains


def test_the_deed_that_is_offered_for_undoing(site: Site) -> None:
    before = site.taking_back.last_event_id()
    drain_now(site)
    deed = site.taking_back.find_deed("root", before)
    assert deed
    assert deed.kind == "device.drained", "and not the end of a session that came of it"
    assert site.taking_back.find_deed("eve", before) is None
    assert site.taking_back.find_deed("root", site.taking_back.last_event_id()) is None


# -- a stop that gives time ---------------------------------------------------------------------------------


def test_a_stop_that_gives_time_is_told(site: Site) -> None:
    site.sessions.stop_after("lease1", 5 * MINUTE, reason="exam", actor="root")
    assert (site.lease.ends_at, site.lease.end_reason) == (NOW + 5 * MINUTE, "root stops it: exam")
    assert site.told() == "root stops your session at 2030-05-17 12:05 UTC, so save your work: exam"
    assert [type(one).__name__ for one in site.sessions.plan_ends()] == ["Warn"]


@pytest.mark.parametrize(
    ("grace", "changes", "refusal"),
    [
        (MINUTE / 2, {}, InvalidRequest),
        (25 * HOUR, {}, InvalidRequest),
        (3 * HOUR, {}, Conflict),
        (MINUTE, {"warned": 0}, Conflict),
        (MINUTE, {"state": LeaseState.RELEASING}, Conflict),
    ],
)
def test_what_is_no_such_stop(
    site: Site, grace: timedelta, changes: dict[str, Any], refusal: type[Exception]
) -> None:
    site.change(**changes)
    before: datetime | None = site.lease.ends_at
    with pytest.raises(refusal):
        site.sessions.stop_after("lease1", grace, reason="exam", actor="root")
    assert site.lease.ends_at == before
