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
