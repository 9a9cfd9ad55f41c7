"""Extending, shortening, messages, stopping: each is told to the person and kept in the audit trail."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Sessions
from gpuspawner.core.errors import Conflict, GpuSpawnerError, InvalidRequest, NotFound
from gpuspawner.core.model import Lease, LeaseState
from gpuspawner.core.sessions import Stop, Warn
from support.build import HOST, NOW, lease

S = LeaseState
END = NOW + timedelta(minutes=30)


class House:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.now = ledger, NOW
        self.sessions = Sessions(ledger, HOST, lambda: self.now)

    def add(self, state: S = S.ACTIVE, **changes: object) -> Lease:
        made = lease(state, **{"ends_at": END, "warned": 15} | changes)
        with self.ledger.write() as unit:
            unit.add_lease(made)
        return made

    def told(self, owner: str = "ada") -> list[tuple[str, str]]:
        with self.ledger.read() as unit:
            return [(one.actor, one.text) for one in unit.messages_for(owner)]

    def trail(self) -> list[tuple[str, str, str]]:
        with self.ledger.read() as unit:
            return [(one.kind, one.actor, one.reason) for one in unit.recent_events(10)]

    def extend(self, until: datetime, limit: datetime | None = None, reason: str = "exam week") -> Lease:
        return self.sessions.extend(
            "lease1",
            until,
            limit=limit,
            limit_reason="A lecture begins then.",
            actor="grace",
            reason=reason,
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(Ledger(tmp_path / "ledger.db"))


def test_extend(house: House) -> None:
    house.add()
    until = NOW + timedelta(hours=2)
    extended = house.extend(until)
    assert (extended.ends_at, extended.warned) == (until, None), "warnings begin anew"
    assert extended.end_reason == "grace extended it until then: exam week"
    assert house.sessions.find("lease1") == extended
    assert house.told() == [("grace", "grace extended your session until 2030-05-17 14:00 UTC: exam week")]
    assert house.trail() == [("session.extended", "grace", "exam week")]


@pytest.mark.parametrize(
    ("changes", "until", "limit", "refusal"),
    [
        ({}, END, None, (InvalidRequest, "must be later than 2030-05-17 12:30 UTC")),
        ({"ends_at": None}, END, None, (Conflict, "has no end")),
        ({"warned": 0}, END + timedelta(1), None, (Conflict, "is being stopped")),
        ({"state": S.RELEASING}, END + timedelta(1), None, (Conflict, "is over already")),
        ({}, END + timedelta(1), END, (Conflict, "beyond 2030-05-17 12:30 UTC: A lecture begins then.")),
        ({"host": "other"}, END + timedelta(1), None, (NotFound, "no session lease1")),
    ],
)
def test_extensions_that_are_refused(
    house: House,
    changes: dict[str, object],
    until: datetime,
    limit: datetime | None,
    refusal: tuple[type[GpuSpawnerError], str],
) -> None:
    before = house.add(changes.pop("state", S.ACTIVE), **changes)  # type: ignore[arg-type]
    with pytest.raises(refusal[0], match=refusal[1]):
        house.extend(until, limit)
    with house.ledger.read() as unit:
        assert unit.lease("lease1") == before
    assert house.told() == house.trail() == []


def test_an_extension_up_to_the_limit(house: House) -> None:
    house.add()
    assert house.extend(END + timedelta(hours=1), END + timedelta(hours=1)).ends_at == END + timedelta(
        hours=1
    )


def test_shortening_leaves_the_first_warning_s_time(house: House) -> None:
    house.add(ends_at=None, warned=None)
    shortened = house.sessions.shorten("lease1", NOW, actor="policy", reason="the budget is used up")
    assert (shortened.ends_at, shortened.warned) == (NOW + timedelta(minutes=15), None)
    assert house.told() == [
        ("policy", "Your session will end at 2030-05-17 12:15 UTC: the budget is used up")
    ]


def test_shortening_never_makes_an_end_later(house: House) -> None:
    before = house.add(ends_at=NOW + timedelta(minutes=4))
    assert house.sessions.shorten("lease1", NOW, actor="policy", reason="budget") == before
    assert house.told() == []


def test_messages_are_plain_and_bounded(house: House) -> None:
    house.add()
    house.sessions.message("lease1", "  please\x1b[2J finish\nsoon ", actor="grace")
    assert house.told() == [("grace", "please [2J finish\nsoon")]
    assert house.trail()[0][0] == "session.message"
    for text in ("", " \n ", "x" * 1001):
        with pytest.raises(InvalidRequest, match="1 to 1000 characters"):
            house.sessions.message("lease1", text, actor="grace")
    assert len(house.told()) == 1


def test_an_announcement_goes_to_everybody_once(house: House) -> None:
    house.add(id="old", created_at=NOW - timedelta(hours=1))
    house.add(id="new", server="two", devices=())
    house.add(id="bobs", owner="bob", devices=("GPU-1",))
    house.add(S.RELEASING, id="over", owner="eve", devices=())
    house.add(id="elsewhere", host="gpu2", owner="zoe")
    assert house.sessions.announce(" We reboot\x1b at six. ", actor="root") == 2
    for owner in ("ada", "bob"):
        assert house.told(owner) == [("root", "We reboot  at six.")]
    assert house.told("eve") == house.told("zoe") == []
    assert house.trail() == [("session.announcement", "root", "We reboot  at six.")]
    with house.ledger.read() as unit:
        assert unit.messages_for("ada")[0].lease_id == "new"
    with pytest.raises(InvalidRequest):
        house.sessions.announce(" ", actor="root")


def test_a_stop_is_told_unless_it_is_one_s_own(house: House) -> None:
    house.add()
    house.sessions.request_stop("lease1", reason="the exam begins", actor="grace")
    assert house.told() == [("grace", "grace stopped your session: the exam begins")]
    house.sessions.request_stop("lease1", reason="done", actor="ada")
    assert len(house.told()) == 1
    assert house.trail()[0] == ("session.stopping", "ada", "done")
    assert house.sessions.find("lease1").state is S.ACTIVE, "the Hub lets go of it"


def test_a_session_that_is_over_cannot_be_stopped(house: House) -> None:
    house.add(S.QUARANTINED)
    with pytest.raises(Conflict, match="over already"):
        house.sessions.request_stop("lease1", reason="why", actor="grace")


def test_warnings_and_stops_are_told_once(house: House) -> None:
    house.add(warned=None)
    house.now = END - timedelta(minutes=15)
    (warning,) = house.sessions.plan_ends()
    assert isinstance(warning, Warn)
    assert house.sessions.carry_out(warning)
    assert not house.sessions.carry_out(warning), "another one has done it"
    assert house.sessions.plan_ends() == ()
    house.now = END
    for first in (True, False):
        (stop,) = house.sessions.plan_ends()
        assert isinstance(stop, Stop)
        assert stop.first is first
        assert house.sessions.carry_out(stop)
    assert [kind for kind, _, _ in house.trail()] == ["session.ended", "session.warned"]
    assert len(house.told()) == 2


def test_an_extension_between_plan_and_deed_wins(house: House) -> None:
    house.add(warned=1)
    house.now = END
    (stop,) = house.sessions.plan_ends()
    house.extend(END + timedelta(hours=1))
    assert not house.sessions.carry_out(stop)
    assert [actor for actor, _ in house.told()] == ["grace"]
