"""Reservations over the API: who may make, see and change which, and calendars."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.controller.identity import READ
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.policy.reservations import parse_body
from support.build import NOW
from support.controller import POLICY, TOKENS, model

if TYPE_CHECKING:
    from support.controller import Office

RESERVATION = {
    "title": "Lecture",
    "course": "vision",
    "devices": 2,
    "start": "2030-06-03T14:00:00+02:00",
    "length": "1 h 30 min",
    "zone": "Europe/Berlin",
    "rule": "FREQ=WEEKLY;COUNT=10",
    "lead": "15 min",
}
ONCE = {"title": "Thesis", "devices": 1, "start": "2030-05-18T10:00", "length": "2 h"}


def own(name: str, **more: Any) -> dict[str, Any]:
    return {**ONCE, "person": name, **more}


def reserve(office: Office, who: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = office.ask("POST", "/reservations", who, body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def listed(office: Office, who: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = office.get("/reservations", who)["reservations"]
    return found


def test_reserving(office: Office) -> None:
    made = reserve(office, "admin", RESERVATION)
    assert (made["course"], made["person"], made["group"]) == ("vision", None, None)
    assert (made["start"], made["length"], made["lead"]) == (
        "2030-06-03T14:00:00+02:00", "1 h 30 min", "15 min",
    )  # fmt: skip
    assert (made["actor"], made["actor_kind"], made["mine"]) == ("admin", "person", True)
    assert made["warnings"] == []
    assert listed(office, "admin") == [made]


def test_what_takes_place(office: Office) -> None:
    made = reserve(office, "admin", {**RESERVATION, "except": ["2030-06-10"]})
    assert made["except"] == ["2030-06-10T14:00:00+02:00"]
    assert office.get("/reservations")["occurrences"] == []
    found = office.get("/reservations?since=2030-06-01&until=2030-06-17")["occurrences"]
    assert [(one["start"], one["end"], one["held_from"], one["seats"]) for one in found] == [
        ("2030-06-03T12:00:00Z", "2030-06-03T13:30:00Z", "2030-06-03T11:45:00Z", 2),
        ("2030-06-17T12:00:00Z", "2030-06-17T13:30:00Z", "2030-06-17T11:45:00Z", 2),
    ]
    assert {one["reservation"] for one in found} == {made["id"]}
    assert office.refusal("GET", "/reservations?since=2030-06-01&until=2032-06-01")[0] == 400


def test_a_conflict_says_with_what(office: Office) -> None:
    first = reserve(office, "admin", RESERVATION)
    answer = office.ask("POST", "/reservations", "admin", {**RESERVATION, "title": "Other"})
    error = answer.json()["error"]
    assert (answer.status_code, error["kind"]) == (409, "conflict")
    assert "'Other' cannot have 2 GPUs. Mon 3 Jun 2030, 14:00 to 15:30 CEST" in error["message"]
    assert len(error["conflicts"]) == 10
    assert error["conflicts"][0] == {
        "start": "2030-06-03T12:00:00Z", "at": "2030-06-03T11:45:00Z", "left": 0,
        "reservations": [first["id"]],
    }  # fmt: skip
    assert listed(office, "admin") == [first]


def test_warnings_name_people_to_administrators_only(office: Office) -> None:
    office.fill("edsger")
    assert "edsger" in reserve(office, "admin", own("planner"))["warnings"][0]
    (warning,) = reserve(office, "planner", own("planner", start="2030-05-19T10:00"))["warnings"]
    assert warning.startswith("1 of its 1 GPUs may still be in use Sun 19 May 2030")
    assert "edsger" not in warning
    refused = office.refusal("POST", "/reservations", "planner", own("planner", devices=2))
    assert refused[0] == 409
    reserve(office, "admin", own("bob", start="2030-05-20T10:00", devices=2))
    message = office.refusal(
        "POST", "/reservations", "grace", {**ONCE, "course": "vision", "start": "2030-05-20T11:00"}
    )[2]
    assert "for a person has 2" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"length": "1"}, "write a time with its unit"),
        ({"length": "-1 h"}, "write a time with its unit"),
        ({"devices": 0}, "devices: Input should be greater than or equal to 1"),
        ({"devices": True}, "devices: Input should be a valid integer"),
        ({"start": "soon"}, "start: write a time such as 2030-03-05T14:00"),
        ({"titel": "x"}, "Did you mean title?"),
        ({"left_out": []}, "There is no key 'left_out'"),
        ({"person": "ada"}, "Give exactly one of person, group and course"),
        ({"course": None}, "Give exactly one of person, group and course"),
        ({"course": "visoin"}, "did you mean 'vision'?"),
        ({"pool": "teeching"}, "did you mean 'teaching'?"),
        ({"zone": "Mars/Base"}, "there is no time zone"),
        ({"rule": "x" * 501}, "at most 500"),
        ({"rule": "FREQ=SECONDLY"}, "rule"),
    ],
)
def test_what_is_malformed_is_named(office: Office, change: dict[str, Any], says: str) -> None:
    status, _, message = office.refusal("POST", "/reservations", "admin", {**RESERVATION, **change})
    assert status == 400
    assert says in message
    assert office.services.reservations.standing() == ()


def test_who_may_reserve(office: Office) -> None:
    group = {**ONCE, "group": "students"}
    course = {**ONCE, "course": "vision"}
    allowed = {
        ("admin", "own"), ("admin", "other"), ("admin", "group"), ("admin", "course"),
        ("hub-admin", "own"), ("hub-admin", "other"), ("hub-admin", "group"), ("hub-admin", "course"),
        ("planner", "own"), ("grace", "course"),
    }  # fmt: skip
    for who in ("ada", "grace", "planner", "admin", "hub-admin", "service-ada", "filtered"):
        for word, body in (("own", own(who)), ("other", own("bob")), ("group", group), ("course", course)):
            answer = office.ask("POST", "/reservations", who, body)
            assert answer.status_code == (201 if (who, word) in allowed else 403), (who, word)
            if answer.status_code == 201:
                path = f"/reservations/{answer.json()['id']}"
                assert office.ask("DELETE", path, who, {"reason": "r"}).status_code == 200
    assert any("reserve: You can reserve" in event.reason for event in office.trail("access.denied"))


def test_pools_come_from_the_policy(office: Office) -> None:
    made = reserve(office, "admin", {**RESERVATION, "pool": "teaching"})
    assert (made["pool"], made["models"], made["cards"]) == ("teaching", ["A100"], [])


def test_a_person_is_named_to_those_who_may_know(office: Office) -> None:
    reserve(office, "admin", own("planner", users=["planner"]))
    (seen,) = listed(office, "ada")
    assert (seen["devices"], seen["title"], seen["person"], seen["actor"]) == (1, "Thesis", "", "")
    assert (seen["users"], seen["mine"]) == ([], False)
    assert "planner" not in str(seen)
    for who in ("planner", "admin"):
        (seen,) = listed(office, who)
        assert (seen["person"], seen["users"]) == ("planner", ["planner"])


def test_changing_and_cancelling(office: Office) -> None:
    made = reserve(office, "planner", own("planner"))
    path = f"/reservations/{made['id']}"
    body = own("planner", length="3 h", rule="FREQ=DAILY;COUNT=2")
    changed = office.ask("PUT", path, "planner", body).json()
    assert (changed["id"], changed["length"], changed["rule"]) == (made["id"], "3 h", "FREQ=DAILY;COUNT=2")
    assert office.refusal("PUT", path, "ada", body)[0] == 403
    assert office.refusal("PUT", path, "planner", own("bob"))[0] == 403, "it would be somebody else's then"
    assert office.refusal("PUT", "/reservations/nothing", "admin", body)[0] == 404
    assert office.ask("PUT", path, "admin", body).json()["actor"] == "planner"
    assert office.ask("DELETE", path, "admin", {"reason": "rain"}).status_code == 200
    assert office.refusal("DELETE", path, "admin", {"reason": "rain"})[0] == 404
    assert [event.kind for event in office.trail("reservation")] == [
        "reservation.cancelled", "reservation.changed", "reservation.changed", "reservation.made",
    ]  # fmt: skip


def test_what_is_read_can_be_sent_back(office: Office) -> None:
    made = reserve(office, "admin", RESERVATION)
    told = {"id", "actor", "actor_kind", "made_at", "mine", "warnings"}
    body = {key: value for key, value in made.items() if key not in told}
    assert office.ask("PUT", f"/reservations/{made['id']}", "admin", body).json() == made


def test_a_reservation_of_somebody_else_is_not_one_s_to_change(office: Office) -> None:
    id_ = reserve(office, "admin", own("planner"))["id"]
    for who in ("planner", "grace", "service-ada"):
        assert office.refusal("DELETE", f"/reservations/{id_}", who, {"reason": "r"})[0] == 403
    assert len(listed(office, "planner")) == 1


def test_a_teacher_changes_what_an_administrator_made_for_the_course(office: Office) -> None:
    id_ = reserve(office, "admin", RESERVATION)["id"]
    changed = office.ask("PUT", f"/reservations/{id_}", "grace", {**RESERVATION, "devices": 1})
    assert changed.json()["devices"] == 1


def test_a_course_s_reservations_are_its_present_teachers(office: Office, tmp_path: Path) -> None:
    id_ = reserve(office, "grace", RESERVATION)["id"]
    policy = POLICY.replace("teachers: [grace]", "teachers: [bob]").replace("grace: {}", "bob: {}")
    (tmp_path / "policy.yml").write_text(policy)
    path = f"/reservations/{id_}"
    assert office.refusal("PUT", path, "grace", RESERVATION)[0] == 403
    assert office.refusal("DELETE", path, "grace", {"reason": "r"})[0] == 403
    assert [one["mine"] for who in ("grace", "bob", "admin") for one in listed(office, who)] == [
        False, True, True,
    ]  # fmt: skip
    assert office.ask("PUT", path, "bob", {**RESERVATION, "devices": 1}).json()["devices"] == 1
    assert office.ask("DELETE", path, "bob", {"reason": "r"}).status_code == 200


@pytest.mark.parametrize(
    ("kind", "may"),
    [
        (ActorKind.PERSON, True), (ActorKind.SHELL, False), (ActorKind.SERVICE, False),
        (ActorKind.UNKNOWN, False),
    ],
)  # fmt: skip
def test_a_name_is_somebody_else_s_elsewhere(office: Office, kind: ActorKind, may: bool) -> None:
    book = office.services.reservations
    made = book.make(parse_body(own("planner")), actor=Actor("planner", kind)).reservation
    (seen,) = listed(office, "planner")
    assert (seen["actor"], seen["actor_kind"], seen["mine"]) == ("planner", kind.value, may)
    status = office.ask("DELETE", f"/reservations/{made.id}", "planner", {"reason": "r"}).status_code
    assert status == (200 if may else 403)


def test_a_right_that_was_withdrawn_is_none(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = reserve(office, "planner", own("planner"))["id"]
    monkeypatch.setitem(TOKENS, "planner", model("planner", READ))
    assert office.refusal("DELETE", f"/reservations/{id_}", "planner", {"reason": "r"})[0] == 403
    monkeypatch.setitem(TOKENS, "admin", model("admin", READ))
    assert office.refusal("DELETE", f"/reservations/{id_}", "admin", {"reason": "r"})[0] == 403


def test_the_trail_says_where_somebody_acted(office: Office) -> None:
    id_ = reserve(office, "planner", own("planner"))["id"]
    office.services.reservations.cancel(id_, actor=Actor("planner", ActorKind.SHELL), reason="r")
    trail = [(event.actor, event.data["acted_as"]) for event in office.trail("reservation.")]
    assert trail == [("planner", "shell"), ("planner", "person")]


def test_who_has_a_secret_address(office: Office) -> None:
    office.raw("POST", "/reservations/address", "ada")
    office.raw("POST", "/reservations/address", "bob")
    for method, path in (("GET", "/calendars"), ("DELETE", "/calendars/ada")):
        body = {"reason": "r"} if method == "DELETE" else None
        assert office.refusal(method, path, "grace", body)[0] == 403
    found = office.get("/calendars", "admin")["calendars"]
    assert [(one["person"], one["read_at"]) for one in found] == [("ada", None), ("bob", None)]
    assert set(found[0]) == {"person", "made_at", "read_at"}
    assert office.ask("DELETE", "/calendars/ada", "admin", {"reason": "left"}).status_code == 200
    assert office.refusal("DELETE", "/calendars/ada", "admin", {"reason": "left"})[0] == 404
    assert [one["person"] for one in office.get("/calendars", "admin")["calendars"]] == ["bob"]
    (event,) = office.trail("calendar.ended")
    assert (event.actor, event.reason, event.data["owner"]) == ("admin", "left", "ada")


def test_a_calendar_names_people_to_administrators_only(office: Office) -> None:
    reserve(office, "planner", own("planner", users=["planner"]))
    reserve(office, "grace", {**ONCE, "course": "vision", "start": "2030-05-19T10:00"})
    answer = office.ask("GET", "/reservations.ics", "ada")
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer.text.count("BEGIN:VEVENT") == 2
    assert "planner" not in answer.text
    assert "course vision" in answer.text
    assert "person:planner" in office.ask("GET", "/reservations.ics", "admin").text


def calendar(uid: str = "lab-1@example.org", start: str = "20300603T120000Z", **extra: str) -> str:
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", f"UID:{uid}", "SUMMARY:Lab",
        "DTSTAMP:20300101T000000Z", f"DTSTART:{start}", "DURATION:PT2H",
        *(f"X-GPUSPAWNER-{key.upper()}:{value}" for key, value in extra.items()),
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines)


def test_importing_a_calendar(office: Office) -> None:
    body = {"calendar": calendar(), "devices": 1, "group": "students"}
    first = office.ask("POST", "/reservations/import", "admin", body).json()
    assert [(one["title"], one["group"], one["devices"]) for one in first["reservations"]] == [
        ("Lab", "students", 1)
    ]
    assert first["changed"] == []
    again = office.ask("POST", "/reservations/import", "admin", {**body, "devices": 2}).json()
    assert again["changed"] == [first["reservations"][0]["id"]]
    assert [one["devices"] for one in listed(office, "admin")] == [2]
    status, kind, _ = office.refusal("POST", "/reservations/import", "admin", {**body, "calendar": "no"})
    assert (status, kind) == (400, "invalid")
    large = {**body, "calendar": calendar("lab-2", "20300603T130000Z")}
    assert office.refusal("POST", "/reservations/import", "admin", large)[:2] == (409, "conflict")


def test_a_calendar_takes_nothing_from_others_whatever_it_says(office: Office) -> None:
    foreign = reserve(office, "admin", own("bob"))
    ours = {"devices": 1, "person": "planner"}
    for text in (calendar(holder="person:bob"), calendar(holder="group:students")):
        body = {**ours, "calendar": text}
        assert office.refusal("POST", "/reservations/import", "planner", body)[:2] == (403, "forbidden")
    over = {**ours, "calendar": calendar(f"{foreign['id']}@gpuspawner")}
    assert office.refusal("POST", "/reservations/import", "planner", over)[:2] == (403, "forbidden")
    office.ask("DELETE", f"/reservations/{foreign['id']}", "admin", {"reason": "r"})
    assert office.refusal("POST", "/reservations/import", "planner", over)[0] == 403, "nor what is over"
    mine = {**ours, "calendar": calendar()}
    assert office.ask("POST", "/reservations/import", "planner", mine).status_code == 201


def test_a_reservation_keeps_cards_from_others(office: Office) -> None:
    soon = (NOW + timedelta(hours=1)).isoformat()
    reserve(office, "admin", {**ONCE, "course": "vision", "devices": 2, "start": soon, "lead": "1 h"})
    place = office.ask("POST", "/queue", "bob", {"options": {"gpus": 1}}).json()
    office.line.grant_turns()
    waiting = office.get(f"/queue/{place['id']}", "bob")
    assert waiting["state"] == "waiting"
    assert "Thesis" in waiting["reason"] or "reserved" in waiting["reason"]


def test_reservations_are_seen_also_when_the_policy_cannot_be_read(office: Office, tmp_path: Path) -> None:
    reserve(office, "admin", RESERVATION)
    (tmp_path / "policy.yml").unlink()
    office.services.policies._file._policy = None  # as after a restart
    assert [one["title"] for one in listed(office, "grace")] == ["Lecture"]
    assert office.refusal("POST", "/reservations", "admin", RESERVATION)[:2] == (503, "policy_broken")
