"""Names, subjects and groups, from whatever a login service says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, NotFound, Refused
from gpuspawner.core.identity import LONGEST_NAME, Subject, choose_name, read_groups, read_subject
from gpuspawner.core.model import Home, HomeKind
from hypothesis import given
from hypothesis import strategies as st

ROOT = Actor("root", ActorKind.SHELL)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
ADA, EVE = Subject("https://login", "s-1"), Subject("https://login", "s-2")


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("ada", "ada"),
        ("Ada.Lovelace@Uni.edu", "ada.lovelace@uni.edu"),
        ("Zoë Müller", "zoe-muller"),
        ("../../etc/passwd", "etc-passwd"),
        ("\u0430da", "da"),  # the first letter is Cyrillic
        ("李", "user"),
        ("", "user"),
        ("a" * 300, "a" * LONGEST_NAME),
        ("-rf /", "rf"),
        ("x\x00y\n", "x-y"),
    ],
)
def test_names_are_fit_for_paths(wanted: str, name: str) -> None:
    assert choose_name(wanted, ()) == name


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=5))
def test_a_name_is_never_given_twice(wanted: str, others: list[str]) -> None:
    taken: set[str] = set()
    for one in [*others, wanted, wanted, wanted.upper()]:
        name = choose_name(one, taken)
        assert name not in taken
        assert name == name.lower()
        assert name.isascii()
        assert not set(name) & set("/\\ \x00:")
        taken.add(name)


@pytest.mark.parametrize("value", [None, "", True, 1.5, [], {}, "x" * 256, "a\nb"])
def test_without_a_subject_nobody_is_anybody(value: object) -> None:
    with pytest.raises(Refused, match="who you are"):
        read_subject("https://login", value)


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        (["b", "a", "a"], ("a", "b")),
        ("ml", ("ml",)),
        ("", ()),
        ([], ()),
        (["/ml/gpu", "ML", "m l"], ("/ml/gpu", "ML", "m l")),
        (["ml ", " ml", "ml\n", "\uff4d\uff4c", "", "x" * 256, 7, None, ["ml"], {"ml": 1}], ()),
    ],
)
def test_groups_are_taken_letter_by_letter(claim: object, groups: tuple[str, ...]) -> None:
    found = read_groups(claim)
    assert found is not None
    assert found[0] == groups


@pytest.mark.parametrize("claim", [None, 7, True, {"ml": True}])
def test_no_claim_is_not_no_groups(claim: object) -> None:
    assert read_groups(claim) is None


def test_two_hundred_groups() -> None:
    found = read_groups([f"g{n}" for n in range(200)])
    assert found is not None
    assert (len(found[0]), found[1]) == (200, 0)


# -- with the ledger ----------------------------------------------------------------------------------------


def said(name: str, *groups: str, named: bool = True) -> Said:
    return Said(name, groups, named_groups=named)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
def people(ledger: Ledger) -> Identities:
    return Identities(ledger, clock=lambda: NOW)


def test_a_renamed_person_keeps_the_name(people: Identities, ledger: Ledger) -> None:
    people.admit(ADA, said("ada"))
    assert people.recognise(ADA, said("countess"))[0].name == "ada"
    assert people.list()[0].shown == "countess"
    with ledger.read() as unit:
        (event,) = unit.find_events(EventSearch(kind="login.renamed"), 9)
    assert "'countess'" in event.reason


def test_a_recycled_name_gets_another_name_here(people: Identities) -> None:
    people.admit(ADA, said("ada"))
    assert people.admit(EVE, said("ada")).name == "ada-2"
    assert people.recognise(EVE, said("ada"))[0].name == "ada-2"
    assert people.recognise(ADA, said("somebody"))[0].name == "ada"


def test_the_same_subject_of_another_service_is_somebody_else(people: Identities) -> None:
    people.admit(ADA, said("ada"))
    assert people.admit(Subject("https://other", ADA.id), said("ada")).name == "ada-2"


def test_a_home_from_before_is_nobodys_until_it_is_linked(people: Identities, ledger: Ledger) -> None:
    with ledger.write() as unit:
        unit.put_home(Home("ada", HomeKind.VOLUME, "home-ada"), NOW)
    assert people.recognise(ADA, said("ada"))[0].name == "ada-2"
    people.link("ada", ADA, actor=ROOT)
    assert people.recognise(ADA, said("ada"))[0].name == "ada"
    with pytest.raises(Conflict, match="stays theirs"):
        people.link("ada", EVE, actor=ROOT)
    with pytest.raises(NotFound, match="home"):
        people.link("nobody", EVE, actor=ROOT)


def test_who_was_not_let_in_has_no_name(people: Identities) -> None:
    people.recognise(EVE, said("ada", "ml"))[0]
    assert people.list() == []
    assert people.admit(ADA, said("ada")).name == "ada"


def test_without_a_claim_the_administrator_sees_it_once(people: Identities, ledger: Ledger) -> None:
    people.admit(ADA, said("ada", "ml"))
    for _ in range(3):
        assert people.recognise(ADA, said("ada", "ml", named=False))[0].groups == ("ml",)
    with ledger.read() as unit:
        assert len(unit.find_events(EventSearch(kind="login.no-groups"), 9)) == 1


@pytest.mark.parametrize("called", ["_ada", "ada.", "\u00e4d\u00e4", "\uff41da", "A da"])
def test_a_name_of_a_rule_is_for_nobody_who_only_looks_like_it(ledger: Ledger, called: str) -> None:
    people = Identities(ledger, frozenset({"ada", "a-da"}), clock=lambda: NOW)
    squatter = people.admit(EVE, said(called))
    assert squatter.name not in {"ada", "a-da"}
    assert not squatter.called_so
    owner = people.admit(ADA, said("Ada"))
    assert (owner.name, owner.called_so) == ("ada", True)


def test_a_quiet_return_writes_nothing(ledger: Ledger) -> None:
    present = NOW
    people = Identities(ledger, clock=lambda: present)
    people.admit(ADA, said("ada", "ml"))
    present = NOW + timedelta(minutes=5)
    people.recognise(ADA, said("ada", "ml"))[0]
    assert people.list()[0].last_seen == NOW
    present = NOW + timedelta(hours=2)
    people.recognise(ADA, said("ada", "ml"))[0]
    assert people.list()[0].last_seen == present
