"""Rosters in the ledger, and whom they mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Rosters
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import RosterRefused
from gpuspawner.core.identity import Subject
from gpuspawner.core.policy import Course, Rule
from gpuspawner.core.roster import Entry, Kind, Member, Role, Roster, Who

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
COURSE = Course("cs231", "students", frozenset({"grace"}), "torch", Rule("course `cs231`"))
ADA, BOB, EVE = (Subject("https://login", text) for text in ("s-1", "s-2", "s-3"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
def people(ledger: Ledger) -> Identities:
    return Identities(ledger, clock=lambda: NOW)


def put(ledger: Ledger, *entries: Entry, version: int = 1) -> None:
    with ledger.write() as unit:
        bound = unit.bound(entries, "cs231")
        unit.put_roster(Roster("cs231", version, bound, NOW, "grace"), "a test")


def entry(kind: Kind, value: str, role: Role = Role.STUDENT, team: str = "") -> Entry:
    return Entry(Who(kind, value), role, team)


def said(name: str, email: str = "") -> Said:
    return Said(name, (), email=email)


def roles(ledger: Ledger) -> dict[str, Role]:
    return {one.person: one.role for one in Rosters(ledger).members(COURSE) if one.person != "grace"}


def test_everybody_of_a_course_is_found_with_the_highest_of_their_roles(ledger: Ledger) -> None:
    put(
        ledger,
        entry(Kind.PERSON, "ada", team="red"),
        entry(Kind.PERSON, "grace"),
        entry(Kind.PERSON, "bob", Role.ASSISTANT),
        entry(Kind.MAIL, "new@example.org"),
    )
    everybody = {"ada": ["students"], "zoe": ["students"], "root": ["admins"]}
    assert Rosters(ledger).members(COURSE, everybody) == (
        Member("ada", Role.STUDENT, "red"),
        Member("bob", Role.ASSISTANT),
        Member("grace", Role.TEACHER),
        Member("zoe", Role.STUDENT),
    )


def test_an_address_or_a_subject_becomes_a_person_at_their_first_login(
    ledger: Ledger, people: Identities
) -> None:
    put(ledger, entry(Kind.MAIL, "ada@example.org"), entry(Kind.SUBJECT, "s-2", Role.TEACHER))
    rosters = Rosters(ledger)
    assert rosters.enrolment().of("ada") == {}
    people.admit(ADA, said("ada", "Ada@Example.org"))
    people.admit(BOB, said("bob"))
    people.admit(EVE, said("eve"))
    assert rosters.enrolment().of("ada") == {"cs231": Role.STUDENT}
    assert roles(ledger) == {"ada": Role.STUDENT, "bob": Role.TEACHER}


def test_who_is_known_already_is_bound_at_their_next_login_or_at_once(
    ledger: Ledger, people: Identities
) -> None:
    people.admit(ADA, said("ada"))
    put(ledger, entry(Kind.MAIL, "ada@example.org"))
    assert roles(ledger) == {}
    people.recognise(ADA, said("ada", "ada@example.org"))
    assert roles(ledger) == {"ada": Role.STUDENT}
    put(ledger, entry(Kind.SUBJECT, "s-1", Role.ASSISTANT), version=2)
    assert roles(ledger) == {"ada": Role.ASSISTANT}


def test_a_recycled_address_gives_nobody_the_place_of_the_one_before(
    ledger: Ledger, people: Identities
) -> None:
    put(ledger, entry(Kind.MAIL, "ada@example.org", Role.TEACHER))
    people.admit(ADA, said("ada", "ada@example.org"))
    people.admit(EVE, said("ada", "ada@example.org"))
    assert roles(ledger) == {"ada": Role.TEACHER}
    put(ledger, entry(Kind.MAIL, "ada@example.org", Role.TEACHER), entry(Kind.PERSON, "x"), version=2)
    assert roles(ledger) == {"ada": Role.TEACHER, "x": Role.STUDENT}


def test_a_subject_that_two_services_know_is_nobodys(ledger: Ledger, people: Identities) -> None:
    people.admit(ADA, said("ada"))
    people.admit(replace(ADA, provider="https://other"), said("mallory"))
    put(ledger, entry(Kind.SUBJECT, "s-1"))
    assert roles(ledger) == {}
    people.recognise(replace(ADA, provider="https://other"), said("mallory"))
    assert roles(ledger) == {}


MOODLE, CANVAS = "https://moodle.example.org", "https://canvas.example.org"
ONE, BOTH = frozenset({MOODLE}), frozenset({MOODLE, CANVAS})


def apply(ledger: Ledger, services: frozenset[str], *entries: Entry) -> None:
    rosters, actor = Rosters(ledger, lambda: NOW, services), Actor("grace", ActorKind.PERSON)
    rosters.apply("cs231", entries, seen=rosters.find("cs231").version, actor=actor)


@pytest.mark.parametrize("first", ["roster", "login"])
def test_of_several_services_a_subject_says_which(ledger: Ledger, first: str) -> None:
    """Whom another service calls the same does not come into the place."""
    people = Identities(ledger, clock=lambda: NOW, services=BOTH)
    if first == "roster":
        apply(ledger, BOTH, entry(Kind.SUBJECT, f"{MOODLE}|s-1", Role.TEACHER))
    people.admit(Subject(CANVAS, "s-1"), said("mallory"))
    people.admit(Subject(MOODLE, "s-1"), said("ada"))
    if first == "login":
        apply(ledger, BOTH, entry(Kind.SUBJECT, f"{MOODLE}|s-1", Role.TEACHER))
    assert roles(ledger) == {"ada": Role.TEACHER}


def test_where_there_are_several_a_bare_subject_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RosterRefused, match=r"several login services have subjects.*canvas.example.org\|s-1"):
        apply(ledger, BOTH, entry(Kind.SUBJECT, "s-1"))
    with pytest.raises(
        RosterRefused, match=r"there is no login service https://other; there are: https://can"
    ):
        apply(ledger, BOTH, entry(Kind.SUBJECT, "https://other|s-1"))


def test_one_that_was_stored_before_there_were_several_is_nobodys(ledger: Ledger) -> None:
    apply(ledger, ONE, entry(Kind.SUBJECT, "s-1"), entry(Kind.SUBJECT, "s-2"))
    Identities(ledger, clock=lambda: NOW, services=ONE).admit(Subject(MOODLE, "s-2"), said("bob"))
    several = Identities(ledger, clock=lambda: NOW, services=BOTH)
    several.admit(Subject(CANVAS, "s-1"), said("mallory"))
    several.recognise(Subject(CANVAS, "s-1"), said("mallory"))
    assert roles(ledger) == {"bob": Role.STUDENT}
    apply(ledger, BOTH, entry(Kind.SUBJECT, "s-2", Role.ASSISTANT))
    assert roles(ledger) == {"bob": Role.ASSISTANT}, "whoever is known in the course stays so"


def test_a_bare_subject_is_of_the_one_service_that_there_is(ledger: Ledger) -> None:
    people = Identities(ledger, clock=lambda: NOW, services=ONE)
    people.admit(Subject("https://former.example.org", "s-1"), said("mallory"))
    apply(ledger, ONE, entry(Kind.SUBJECT, "s-1"), entry(Kind.SUBJECT, "auth0|7", Role.ASSISTANT))
    assert roles(ledger) == {}
    people.admit(Subject(MOODLE, "s-1"), said("ada"))
    people.admit(Subject(MOODLE, "auth0|7"), said("bob"))
    assert roles(ledger) == {"ada": Role.STUDENT, "bob": Role.ASSISTANT}


def test_a_preview_is_no_look_up(ledger: Ledger) -> None:
    """Whom guessed addresses and subjects mean is told of those alone who are in the course already."""
    people = Identities(ledger, clock=lambda: NOW, services=ONE)
    people.admit(Subject(MOODLE, "s-1"), said("ada", "ada@example.org"))
    people.admit(Subject(MOODLE, "s-2"), said("bob", "bob@example.org"))
    known = entry(Kind.MAIL, "ada@example.org")
    guesses = [entry(Kind.SUBJECT, "s-2"), entry(Kind.MAIL, "eve@example.org"), entry(Kind.PERSON, "zoe")]
    apply(ledger, ONE, known)
    rosters = Rosters(ledger, lambda: NOW, ONE)
    found = rosters.preview("cs231", [known, *guesses])
    assert [one.person for one in found.entries] == ["ada", None, None, "zoe"]
    assert [one.entry.person for one in found.difference.added] == [None, None, "zoe"]
    apply(ledger, ONE)
    assert [one.person for one in rosters.preview_undo("cs231").entries] == ["ada"]
    apply(ledger, ONE, known, *guesses)
    assert sorted(roles(ledger)) == ["ada", "bob", "zoe"]


def test_a_name_in_a_roster_is_given_to_nobody_whom_the_service_calls_otherwise(
    ledger: Ledger, people: Identities
) -> None:
    put(ledger, entry(Kind.PERSON, "ada.lovelace"))
    assert people.admit(EVE, said("Ada Lovelace")).name == "ada-lovelace"
    assert people.admit(BOB, said("ada.lovelacé")).name == "ada.lovelace-2"
    assert people.admit(ADA, said("Ada.Lovelace")).name == "ada.lovelace"


def test_roles_are_read_again_only_where_a_roster_has_changed(ledger: Ledger) -> None:
    put(ledger, entry(Kind.PERSON, "ada"))
    rosters = Rosters(ledger, lambda: NOW + timedelta(days=1))
    first = rosters.enrolment()
    assert rosters.enrolment() is first
    put(ledger, entry(Kind.PERSON, "bob"), version=2)
    assert rosters.enrolment().of("ada") == {}
    assert rosters.enrolment().of("bob") == {"cs231": Role.STUDENT}


def test_the_groups_of_a_course_platform_make_somebody_one_of_the_course(
    ledger: Ledger, people: Identities
) -> None:
    rosters = Rosters(ledger)
    for subject, name, *groups in (
        (ADA, "ada", "course:cs231:teachers", "course:cs231"),
        (BOB, "bob", "course:cs231:students", "course:ml:assistants"),
        (
            EVE,
            "eve",
            "course:cs231",
            "xcourse:cs231:teachers",
            "course:cs231:Teachers",
            "course:cs231:teachers ",
        ),
    ):
        people.admit(subject, Said(name, tuple(groups)))
    assert roles(ledger) == {"ada": Role.TEACHER, "bob": Role.STUDENT}
    assert rosters.enrolment().of("bob") == {"cs231": Role.STUDENT, "ml": Role.ASSISTANT}
    assert rosters.enrolment().of("eve") == {}
    people.recognise(ADA, Said("ada", ("course:cs231:students",)))
    assert rosters.enrolment().of("ada") == {"cs231": Role.STUDENT}, "seen without a change of any roster"
    put(ledger, entry(Kind.PERSON, "ada", Role.ASSISTANT))
    assert roles(ledger)["ada"] is Role.ASSISTANT
    people.remove("bob", actor=Actor("root", ActorKind.SHELL))
    assert rosters.enrolment().of("bob") == {}
