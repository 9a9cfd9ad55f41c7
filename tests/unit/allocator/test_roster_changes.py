"""Changing a roster: exactly what was shown, taken back, ended; and what becomes of homes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Rosters
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, InvalidRequest, RosterRefused
from gpuspawner.core.identity import Subject
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.core.roster import Entry, Kind, Role, Who

GRACE, ALAN = (Actor(name, ActorKind.PERSON) for name in ("grace", "alan"))
BEGIN = datetime(2026, 10, 1, 12, tzinfo=UTC)


class Clock:
    """A present that a test moves."""

    now = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(tmp_path / "ledger.db")
    with found.write() as unit:
        for name in ("ada", "bob"):
            unit.put_home(Home(name, HomeKind.VOLUME, f"home-{name}"), BEGIN)
    return found


@pytest.fixture
def rosters(ledger: Ledger, clock: Clock) -> Rosters:
    return Rosters(ledger, clock)


def entries(*names: str) -> list[Entry]:
    return [Entry(Who(Kind.MAIL if "@" in name else Kind.PERSON, name), Role.STUDENT) for name in names]


def names(rosters: Rosters) -> list[str]:
    return [one.who.value for one in rosters.find("cs231").entries]


def told(ledger: Ledger, person: str) -> list[str]:
    with ledger.read() as unit:
        return [one.text for one in unit.messages_for(person)]


def test_the_second_of_two_teachers_is_told_and_nothing_of_theirs_is_done(rosters: Rosters) -> None:
    rosters.apply("cs231", entries("ada", "bob"), seen=0, actor=GRACE)
    shown = rosters.preview("cs231", entries("ada"))
    assert [one.entry.who.value for one in shown.difference.removed] == ["bob"]
    rosters.apply("cs231", entries("ada", "bob", "zoe"), seen=1, actor=ALAN)
    with pytest.raises(Conflict, match=r"^alan has changed the roster since you were shown it\."):
        rosters.apply("cs231", entries("ada"), seen=shown.roster.version, actor=GRACE)
    assert names(rosters) == ["ada", "bob", "zoe"]
    again = rosters.preview("cs231", entries("ada"))
    assert [one.entry.who.value for one in again.difference.removed] == ["bob", "zoe"]
    rosters.apply("cs231", entries("ada"), seen=again.roster.version, actor=GRACE)
    assert names(rosters) == ["ada"]


def test_what_changes_nothing_is_no_change(rosters: Rosters) -> None:
    rosters.apply("cs231", entries("ada"), seen=0, actor=GRACE)
    rosters.apply("cs231", entries("ada"), seen=1, actor=GRACE)
    assert rosters.find("cs231").version == 1


def test_the_last_change_is_taken_back_and_had_again(rosters: Rosters) -> None:
    with pytest.raises(Conflict, match="nothing to take back"):
        rosters.undo("cs231", seen=0, actor=GRACE)
    rosters.apply("cs231", entries("ada", "bob"), seen=0, actor=GRACE)
    rosters.apply("cs231", entries("ada"), seen=1, actor=GRACE)
    shown = rosters.preview_undo("cs231")
    assert [one.entry.who.value for one in shown.difference.added] == ["bob"]
    with pytest.raises(Conflict, match="since you were shown it"):
        rosters.undo("cs231", seen=1, actor=GRACE)
    rosters.undo("cs231", seen=2, actor=GRACE)
    assert names(rosters) == ["ada", "bob"]
    rosters.undo("cs231", seen=3, actor=GRACE)
    assert names(rosters) == ["ada"]
    change = rosters.last_change("cs231")
    assert change is not None
    assert change.what.startswith("the last change was taken back: 0 added, 1 removed")


def test_what_is_taken_back_means_whom_it_meant_and_not_who_has_the_address_now(
    rosters: Rosters, ledger: Ledger
) -> None:
    rosters.apply("cs231", entries("ada@example.org", "bob"), seen=0, actor=GRACE)
    people = Identities(ledger, clock=lambda: BEGIN)
    people.admit(Subject("https://login", "s-1"), Said("ada-1", (), email="ada@example.org"))
    rosters.apply("cs231", entries("bob"), seen=1, actor=GRACE)
    people.recognise(Subject("https://login", "s-1"), Said("ada-1", (), email="ada@new.example"))
    people.admit(Subject("https://login", "s-2"), Said("eve-1", (), email="ada@example.org"))
    rosters.undo("cs231", seen=2, actor=GRACE)
    assert [one.person for one in rosters.find("cs231").entries] == ["ada-1", "bob"]


def test_the_first_roster_is_taken_back_to_nobody(rosters: Rosters) -> None:
    rosters.apply("cs231", entries("ada"), seen=0, actor=GRACE)
    rosters.undo("cs231", seen=1, actor=GRACE)
    assert names(rosters) == []


def test_two_entries_of_one_person_are_told_by_line(rosters: Rosters, ledger: Ledger) -> None:
    who = Subject("https://login", "s-1")
    Identities(ledger, clock=lambda: BEGIN).admit(who, Said("ada-2", (), email="ada@example.org"))
    both = entries("ada-2", "ada@example.org")
    with pytest.raises(RosterRefused) as caught:
        rosters.apply("cs231", both, seen=0, actor=GRACE, lines={both[0].who: 4, both[1].who: 9})
    assert [(one.line, one.why) for one in caught.value.problems] == [
        (9, "ada@example.org is the same person as in line 4.")
    ]
    assert rosters.find("cs231").version == 0


def test_who_leaves_is_told_after_an_hour_and_again_a_week_before_and_keeps_the_home(
    rosters: Rosters, ledger: Ledger, clock: Clock
) -> None:
    rosters.apply("cs231", entries("ada", "bob", "zoe"), seen=0, actor=GRACE)
    rosters.apply("cs231", entries("ada"), seen=1, actor=GRACE)
    assert [(one.owner, one.until) for one in rosters.homes()] == [("bob", date(2026, 12, 30))]
    rosters.tell_of_homes()
    assert told(ledger, "bob") == []
    clock.now += timedelta(hours=1)
    rosters.tell_of_homes()
    rosters.tell_of_homes()
    assert told(ledger, "bob") == [
        "You are not in the course 'cs231' any more. Your files here are kept until 2026-12-30 at least; "
        "copy what you want to have after that."
    ]
    clock.now = datetime(2026, 12, 23, 12, tzinfo=UTC)
    rosters.tell_of_homes()
    rosters.tell_of_homes()
    assert len(told(ledger, "bob")) == 2
    clock.now = datetime(2027, 6, 1, tzinfo=UTC)
    rosters.tell_of_homes()
    rosters.end_due()
    assert len(told(ledger, "bob")) == 2
    with ledger.read() as unit:
        assert unit.home_of("bob") is not None


def test_a_slip_that_is_undone_is_told_to_nobody(rosters: Rosters, ledger: Ledger, clock: Clock) -> None:
    rosters.apply("cs231", entries("ada", "bob"), seen=0, actor=GRACE)
    rosters.apply("cs231", (), seen=1, actor=GRACE)
    rosters.undo("cs231", seen=2, actor=GRACE)
    clock.now += timedelta(hours=2)
    rosters.tell_of_homes()
    assert rosters.homes() == ()
    assert told(ledger, "bob") == []


def test_at_the_end_everybody_leaves_and_it_can_be_taken_back(rosters: Rosters, clock: Clock) -> None:
    rosters.apply("cs231", entries("ada", "zoe"), seen=0, actor=GRACE)
    with pytest.raises(InvalidRequest, match="2026-09-30 is over"):
        rosters.end("cs231", date(2026, 9, 30), keep_days=30, seen=1, actor=GRACE)
    rosters.end("cs231", date(2026, 10, 2), keep_days=30, seen=1, actor=GRACE)
    clock.now += timedelta(days=1)
    assert rosters.end_due() == ()
    clock.now += timedelta(days=1)
    assert rosters.end_due() == ("cs231",)
    assert rosters.end_due() == ()
    assert names(rosters) == []
    assert rosters.enrolment().of("ada") == {}
    assert [(one.owner, one.until) for one in rosters.homes()] == [("ada", date(2026, 11, 2))]
    rosters.undo("cs231", seen=rosters.find("cs231").version, actor=GRACE)
    assert names(rosters) == ["ada", "zoe"]
    assert rosters.end_due() == ()


def test_twenty_changes_can_be_gone_back_to_and_five_thousand_people_are_taken(
    rosters: Rosters, ledger: Ledger
) -> None:
    many = entries(*(f"s{n}" for n in range(5000)))
    rosters.apply("cs231", many, seen=0, actor=GRACE)
    for version in range(1, 25):
        rosters.apply("cs231", many[version:], seen=version, actor=GRACE)
    with ledger.read() as unit:
        assert unit.roster_version("cs231", 5) is None
        assert unit.roster_version("cs231", 6) is not None
    assert len(rosters.enrolment().roles) == 4976
