"""Reservations as people send them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.core.claims import Holder, Reservation
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.policy.reservations import (
    PolicyNames,
    ReservationBody,
    load_names,
    make_reservation,
    parse_body,
    to_body,
    to_json,
)
from support.build import HOST, NOW
from support.reservations import at, person, reservation

LAB: dict[str, Any] = {
    "title": "Tuesday lab",
    "course": "cs231",
    "devices": 2,
    "start": "2030-05-21T14:00",
    "length": "2 h",
    "zone": "Europe/Zurich",
}
NAMES = PolicyNames({"teaching": frozenset({"L40S", "GPU-1"}), "any": None}, {"vision-lab"}, {"cs231"})


def make(names: PolicyNames = NAMES, **changes: Any) -> Reservation:
    raw = {key: value for key, value in (LAB | changes).items() if value is not None}
    return make_reservation(
        parse_body(raw), reservation_id="r1", host=HOST, actor=person("grace"), now=NOW, names=names
    )


def test_everything() -> None:
    made = make(
        users=["ada", "bob", "ada"],
        models=["A100"],
        pool="teaching",
        cards=["GPU-7"],
        rule="FREQ=WEEKLY;COUNT=3",
        lead="10 min",
        **{"except": ["2030-05-28"]},
    )
    assert made == reservation(
        start=at("2030-05-21T12:00"),
        zone="Europe/Zurich",
        users=("ada", "bob"),
        cards=frozenset({"A100", "L40S", "GPU-1", "GPU-7"}),
        pool="teaching",
        rule="FREQ=WEEKLY;COUNT=3",
        left_out=(at("2030-05-28T12:00"),),
        lead=timedelta(minutes=10),
        made_at=NOW,
    )


@pytest.mark.parametrize(
    ("changes", "start", "hours"),
    [
        ({"start": "2030-05-21T14:00+02:00", "zone": None}, "2030-05-21T12:00", 2),
        ({"start": "2030-05-21T14:00Z"}, "2030-05-21T14:00", 2),
        ({"length": None, "end": "2030-05-21 17:30"}, "2030-05-21T12:00", 3.5),
        ({"start": "2030-10-26T22:00", "length": None, "end": "2030-10-27T06:00"}, "2030-10-26T20:00", 9),
        ({"zone": None}, "2030-05-21T14:00", 2),
    ],
    ids=["offset", "utc", "end", "a night on which the clocks go back", "no zone"],
)
def test_times(changes: dict[str, Any], start: str, hours: float) -> None:
    made = make(**changes)
    assert (made.start, made.length) == (at(start), timedelta(hours=hours))


def test_holders_and_pools() -> None:
    assert make(course=None, person="ada").holder == Holder("person", "ada")
    assert make(course=None, group="vision-lab").holder == Holder("group", "vision-lab")
    assert make(pool="any", models=["A100"]).cards == frozenset()
    assert make(PolicyNames(), course="unknown").holder == Holder("course", "unknown")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "title is missing; add it."),
        ({"title": ""}, "title: string should have at least 1 character; you sent ''."),
        ({"title": "x" * 101}, "title: string should have at most 100 characters"),
        ({"title": "a\nb"}, "title: write a text on one line"),
        ({"title": "\u202eevil"}, "title: write a text on one line"),
        (
            {"titel": "x", "title": None},
            "There is no field 'titel'. Did you mean title? The fields are: title,",
        ),
        ({"course": None}, "Give exactly one of person, group and course"),
        ({"person": "ada"}, "Give exactly one of person, group and course"),
        ({"course": "cs213"}, "course: the policy has no course 'cs213'; did you mean 'cs231'?"),
        ({"course": None, "group": "x"}, "group: the policy has no group 'x'; its groups are: vision-lab."),
        ({"pool": "teachin"}, "pool: the policy has no pool 'teachin'; did you mean 'teaching'?"),
        ({"devices": "2"}, "devices: input should be a valid integer; you sent '2'."),
        ({"devices": True}, "devices: input should be a valid integer"),
        ({"devices": 0}, "devices: input should be greater than or equal to 1"),
        ({"devices": 10**5000}, "you sent a very long number."),
        ({"start": "tomorrow"}, "start: write a time such as 2030-03-05T14:00"),
        ({"start": 5}, "start: write a time such as"),
        ({"start": "2030-02-30T14:00"}, "start: write a time such as"),
        ({"start": "0001-01-01T00:00+14:00"}, "start: it must be within two years of now."),
        ({"start": "9999-12-31T23:59-14:00"}, "start: it must be within two years of now."),
        ({"start": "2031-03-30T02:30"}, "start: 02:30 does not exist on 30 Mar 2031 in Europe/Zurich"),
        ({"length": None}, "length: give either the length or the end."),
        ({"end": "2030-05-21T17:00"}, "length: give either the length or the end."),
        ({"length": None, "end": "2030-05-21T13:00"}, "end: it must be after the start."),
        ({"length": "2"}, "length: write a time with its unit"),
        ({"length": "40 d"}, "length: it can be from 5 min to 31 d."),
        ({"zone": "Mars/Olympus"}, "zone: there is no time zone 'Mars/Olympus'"),
        ({"lead": "2 d"}, "lead: 24 h is the most."),
        ({"rule": "x" * 501}, "rule: string should have at most 500 characters"),
        ({"rule": "FREQ=MINUTELY"}, "rule: FREQ must be one of"),
        ({"except": ["soon"]}, "except: write a day such as 2030-03-12, or the time of a start"),
        ({"except": ["2030-05-22"]}, "except: nothing starts on Wed 22 May 2030, 14:00 CEST"),
        ({"users": "ada"}, "users: input should be a valid list"),
        ({"users": ["a"] * 1001}, "users: list should have at most 1000 items"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make(**changes)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("raw", [None, 5, "x", [], [[[[]]]]])
def test_no_object(raw: object) -> None:
    with pytest.raises(InvalidRequest, match="A reservation is a JSON object"):
        parse_body(raw)


def test_what_was_made_can_be_sent_again() -> None:
    made = make(
        users=["ada"],
        pool="teaching",
        rule="FREQ=WEEKLY;COUNT=3",
        lead="90 min",
        **{"except": ["2030-05-28"]},
    )
    sent = to_body(made)
    assert sent["start"] == "2030-05-21T14:00:00+02:00"
    assert sent["lead"] == "1 h 30 min"
    again = make_reservation(
        parse_body(sent), reservation_id="r1", host=HOST, actor=person("grace"), now=NOW, names=NAMES
    )
    assert again == made
    assert to_json(made)["id"] == "r1"


def test_every_field_is_described() -> None:
    assert all(field.description for field in ReservationBody.model_fields.values())


def test_names_of_a_policy(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text("pools: {teaching: [L40S], any: all}\ngroups: {default: {}, vision-lab: {}}\n")
    names = load_names(file)
    assert names.pools == {"teaching": frozenset({"L40S"}), "any": None}
    assert names.groups == {"default", "vision-lab"}
