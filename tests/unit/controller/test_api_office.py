"""Cards, reservations, accounts and the audit trail over the API."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.core.model import Event, Health, LeaseState
from support.build import NOW, record, sample
from support.fake_cases import FakeReservations

if TYPE_CHECKING:
    from .conftest import Office

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


def own(name: str, **more: Any) -> dict[str, Any]:
    bare = {key: value for key, value in RESERVATION.items() if key != "course"}
    return {**bare, "person": name, **more}


def card(office: Office, who: str = "ada", n: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = office.get("/cards", who)["cards"][n]
    return found


def test_a_card(office: Office) -> None:
    found = card(office)
    assert (found["uuid"], found["state"], found["health"]) == ("GPU-0", "free", "ok")
    assert found["utilization_percent"] == 0
    office.now[0] = NOW + timedelta(minutes=1)
    found = card(office)
    assert found["state"] == "unknown"
    assert found["utilization_percent"] is None, "what is old is not known any more"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"health": Health.FAULTY, "health_reason": "XID 79"}, "faulty"),
        ({"health": Health.UNKNOWN, "health_reason": "silent"}, "unknown"),
        ({"occupied_by": "process 7"}, "occupied"),
        ({"sample": sample(utilization_percent=None)}, "free"),
    ],
)
def test_states_of_a_card(office: Office, changes: dict[str, Any], state: str) -> None:
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-0", **changes))
    assert card(office)["state"] == state


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (LeaseState.RESERVED, "held"),
        (LeaseState.RELEASING, "releasing"),
        (LeaseState.QUARANTINED, "quarantined"),
    ],
)
def test_a_card_in_a_lease(office: Office, state: LeaseState, word: str) -> None:
    office.add_lease(state=state)
    assert card(office)["state"] == word


def test_drain_and_undrain(office: Office) -> None:
    body = {"reason": "new fan", "until": "2030-05-18T12:00:00Z", "now": True}
    assert office.ask("POST", "/cards/GPU-0/drain", "admin", body).json() == {"done": True}
    drained = card(office, "admin")
    assert drained["state"] == "drained"
    assert drained["drain"] == {
        "reason": "new fan", "actor": "admin", "since": "2030-05-17T12:00:00Z",
        "until": "2030-05-18T12:00:00Z", "now": True,
    }  # fmt: skip
    assert card(office)["drain"]["actor"] == "", "who did it is for administrators"
    assert office.ask("POST", "/cards/GPU-0/undrain", "admin", {"reason": "done"}).status_code == 200
    assert office.refusal("POST", "/cards/GPU-0/undrain", "admin", {"reason": "done"})[:2] == (
        409,
        "conflict",
    )
    assert card(office)["state"] == "free"


def test_assign(office: Office) -> None:
    body = {"holder": {"kind": "person", "name": "bob"}, "reason": "a deadline"}
    assert office.ask("POST", "/cards/GPU-0/assign", "admin", body).status_code == 200
    pin = {"reason": "a deadline", "actor": "admin", "since": "2030-05-17T12:00:00Z"}
    assert card(office, "admin")["pin"] == {"holder": body["holder"], **pin}
    assert card(office, "bob")["pin"]["holder"]["name"] == "bob"
    assert card(office, "ada")["pin"] == {
        "holder": {"kind": "person", "name": ""}, "reason": "", "actor": "", "since": pin["since"],
    }  # fmt: skip
    assert (
        office.ask("POST", "/cards/GPU-0/assign", "admin", {"holder": None, "reason": "r"}).status_code == 200
    )
    assert card(office)["pin"] is None
    wrong = {"holder": {"kind": "cat", "name": "x"}, "reason": "r"}
    assert office.refusal("POST", "/cards/GPU-0/assign", "admin", wrong)[0] == 400


def test_clear(office: Office) -> None:
    assert office.ask("POST", "/cards/GPU-1/clear", "hub-admin", {"reason": "mended"}).status_code == 200
    assert office.cards.done == [("clear", "GPU-1", "mended", "hub-admin")]


def reservations(office: Office) -> FakeReservations:
    found = office.services.reservations
    assert isinstance(found, FakeReservations)
    return found


def test_reserving(office: Office) -> None:
    body = {**RESERVATION, "except": ["2030-06-10"]}
    made = office.ask("POST", "/reservations", "admin", body)
    assert made.status_code == 201
    found = made.json()["reservation"]
    assert (found["start"], found["holder"]) == ("2030-06-03T12:00:00Z", {"kind": "course", "name": "vision"})
    assert made.json()["warnings"] == ["a session may still run then"]
    assert reservations(office).told == [("admin", body)], "what was sent arrives as it was sent"
    assert office.refusal("POST", "/reservations", "admin", body)[:2] == (409, "conflict")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"devices": 0}, "devices: Input should be greater than or equal to 1"),
        ({"devices": True}, "devices: Input should be a valid integer"),
        ({"devices": None}, "devices: Input should be a valid integer"),
        ({"titel": "x"}, "Did you mean title?"),
        ({"left_out": []}, "There is no key 'left_out'"),
        ({"excet": []}, "Did you mean except?"),
        ({"rule": "x" * 501}, "at most 500"),
        ({"start": 7}, "start: Input should be a valid string"),
        ({"person": "ada"}, "exactly one of person, group and course"),
        ({"course": None}, "exactly one of person, group and course"),
        ({"users": ["x"] * 1001}, "at most 1000"),
    ],
)
def test_reservations_that_are_malformed(office: Office, change: dict[str, Any], says: str) -> None:
    status, _, message = office.refusal("POST", "/reservations", "admin", {**RESERVATION, **change})
    assert status == 400
    assert says in message
    assert reservations(office).told == []


def test_one_reserves_for_oneself_and_for_courses_that_one_teaches(office: Office, tmp_path: Path) -> None:
    assert office.ask("POST", "/reservations", "planner", own("planner")).status_code == 201
    group = {**own("x"), "person": None, "group": "students"}
    for body in (own("ada"), RESERVATION, group):
        assert office.refusal("POST", "/reservations", "planner", body)[0] == 403
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("[grace]", "[planner]").replace("grace:", "planner:"))
    taught = {**RESERVATION, "title": "Lab"}
    assert office.ask("POST", "/reservations", "planner", taught).status_code == 201


def test_a_person_s_reservation_is_nameless_to_others(office: Office) -> None:
    office.ask("POST", "/reservations", "planner", own("planner", users=["planner"]))
    (seen,) = office.get("/reservations", "ada")["reservations"]
    assert (seen["devices"], seen["title"], seen["holder"]["name"], seen["actor"]) == (2, "", "", "")
    assert "planner" not in str(seen)
    for who in ("planner", "admin"):
        assert office.get("/reservations", who)["reservations"][0]["title"] == "Lecture"


def made_by_planner(office: Office) -> str:
    answer = office.ask("POST", "/reservations", "planner", own("planner"))
    return str(answer.json()["reservation"]["id"])


def test_changing_and_cancelling(office: Office) -> None:
    id_ = made_by_planner(office)
    changed = office.ask("PATCH", f"/reservations/{id_}", "planner", {"devices": 3, "rule": None})
    assert changed.json()["reservation"]["devices"] == 3
    assert reservations(office).told[-1] == ("planner", {"devices": 3, "rule": None})
    assert office.refusal("PATCH", f"/reservations/{id_}", "ada", {"devices": 1})[0] == 403
    assert office.refusal("PATCH", "/reservations/nothing", "admin", {"devices": 1})[0] == 404
    assert office.ask("DELETE", f"/reservations/{id_}", "admin", {"reason": "rain"}).status_code == 200
    assert office.refusal("DELETE", f"/reservations/{id_}", "admin", {"reason": "rain"})[0] == 404


@pytest.mark.parametrize(
    "change", [{"person": "ada"}, {"person": None, "course": "vision"}, {"group": "students"}]
)
def test_a_change_gives_one_s_own_reservation_to_nobody_else(office: Office, change: dict[str, Any]) -> None:
    id_ = made_by_planner(office)
    assert office.refusal("PATCH", f"/reservations/{id_}", "planner", change)[0] == 403
    assert len(reservations(office).told) == 1


def test_a_reservation_of_somebody_else_is_not_one_s_to_change(office: Office) -> None:
    id_ = office.ask("POST", "/reservations", "admin", RESERVATION).json()["reservation"]["id"]
    assert office.refusal("DELETE", f"/reservations/{id_}", "planner", {"reason": "r"})[0] == 403
    assert office.refusal("PATCH", f"/reservations/{id_}", "planner", {"devices": 1})[0] == 403
    assert len(office.get("/reservations", "planner")["reservations"]) == 1


def test_calendars(office: Office) -> None:
    for who, people in (("ada", False), ("admin", True)):
        answer = office.ask("GET", "/reservations.ics", who)
        assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
        assert answer.text.startswith("BEGIN:VCALENDAR")
        assert reservations(office).people is people
    body = {"calendar": "BEGIN:VCALENDAR", "defaults": {"devices": 1, "group": "students"}}
    assert office.ask("POST", "/reservations/import", "admin", body).json() == {"made": []}
    assert reservations(office).told == [("admin", body["defaults"])]
    assert office.refusal("POST", "/reservations/import", "planner", body)[0] == 403
    body["calendar"] = "no"
    assert office.refusal("POST", "/reservations/import", "admin", body)[:2] == (400, "invalid")


def test_usage(office: Office) -> None:
    assert office.get("/usage?by=day&since=2030-05-01&until=2030-05-03")["rows"][0]["key"] == "ada"
    assert office.get("/usage", "admin")["rows"][0]["key"] == "everybody"
    assert office.usage.asked == [
        ("day", date(2030, 5, 1), date(2030, 5, 3), "ada"),
        ("user", date(2030, 5, 10), date(2030, 5, 17), None),
    ]
    assert office.refusal("GET", "/usage", "service-ada")[0] == 403


def test_the_audit_trail(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.add_event(Event(NOW, "lease.refused", "why", "ada", data={"gpus": 9}))
        unit.add_event(Event(NOW, "card.drained", "fan", "admin", device="GPU-0"))
    assert [one["kind"] for one in office.get("/events", "admin")["events"]] == [
        "card.drained",
        "lease.refused",
    ]
    (one,) = office.get("/events?kind=lease&limit=5", "admin")["events"]
    assert one["data"] == {"gpus": 9}
    assert office.refusal("GET", "/events?limit=5000", "admin")[0] == 400


def test_what_this_installation_does_not_have(office: Office) -> None:
    for part in ("cards", "reservations", "usage"):
        object.__setattr__(office.services, part, None)
    for method, path, body in (
        ("POST", "/cards/GPU-0/drain", {"reason": "r"}),
        ("GET", "/reservations", None),
        ("GET", "/usage", None),
    ):
        assert office.refusal(method, path, "admin", body)[:2] == (409, "conflict")
