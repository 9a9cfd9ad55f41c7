"""Cards, reservations, accounts and the audit trail over the API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.core.claims import Holder
from gpuspawner.core.model import Event, Health, LeaseState
from support.build import NOW, device, record, sample

if TYPE_CHECKING:
    from support.controller import Office


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


def test_a_slice_is_drained_and_kept_with_its_card(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.put_device(record(device=device("MIG-1", parent="GPU-0")))
    office.cards.drain("GPU-0", reason="fan", actor="root", until=NOW + timedelta(hours=1))
    office.cards.pin("GPU-0", Holder("group", "students"), reason="theirs", actor="root")

    def of_slice() -> tuple[str, bool, bool]:
        (found,) = [one for one in office.get("/cards", "admin")["cards"] if one["uuid"] == "MIG-1"]
        return found["state"], found["drain"] is not None, found["pin"] is not None

    assert of_slice() == ("drained", True, True)
    office.now[0] += timedelta(hours=2)
    with office.services.ledger.write() as unit:
        unit.put_device(record(device=device("MIG-1", parent="GPU-0"), seen_at=office.now[0]))
    assert of_slice() == ("free", False, True), "its time is over, whether or not it was removed"


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
    assert office.refusal("POST", "/cards/GPU-0/undrain", "admin", {"reason": "done"})[0] == 400
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
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-1", index=1, health=Health.FAULTY, standing_fault="XID 79"))
    assert office.ask("POST", "/cards/GPU-1/clear", "hub-admin", {"reason": "mended"}).status_code == 200
    (event,) = office.trail("device.cleared")
    assert (event.actor, event.device) == ("hub-admin", "GPU-1")
    assert office.refusal("POST", "/cards/GPU-0/clear", "hub-admin", {"reason": "mended"})[0] == 400


def test_what_is_no_card_of_ours(office: Office) -> None:
    for action in ("drain", "undrain", "clear"):
        refused = office.refusal("POST", f"/cards/GPU-9/{action}", "admin", {"reason": "r"})
        assert refused[:2] == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "/reservations?since=0001-01-01",
        "/reservations?until=0001-01-01",
        "/reservations?since=9999-12-31",
        "/usage?until=0001-01-01",
        "/usage?since=9999-12-31",
        "/events?since=0001-01-01",
    ],
)
def test_days_at_the_ends_of_the_calendar_are_refused_by_name(office: Office, query: str) -> None:
    status, kind, message = office.refusal("GET", query, "hub-admin")
    assert (status, kind) == (400, "invalid")
    assert query.partition("?")[2].partition("=")[0] in message


def test_usage(office: Office) -> None:
    office.add_lease("ada", "a", devices=("GPU-0",), created_at=NOW - timedelta(hours=2))
    office.add_lease("bob", "b", devices=("GPU-1",), created_at=NOW - timedelta(hours=3))
    mine = office.get("/usage")
    assert [(one["key"], one["held_hours"]) for one in mine["rows"]] == [("ada", 2.0)]
    everybody = office.get("/usage", "admin")
    assert {one["key"]: one["held_hours"] for one in everybody["rows"]} == {"ada": 2.0, "bob": 3.0}
    assert (everybody["since"], everybody["until"]) == ("2030-05-10", "2030-05-17")
    assert everybody["total"]["held_hours"] == 5.0
    days = office.get("/usage?by=day&since=2030-05-01&until=2030-05-03")
    assert (days["rows"], days["total"]["held_hours"]) == ([], 0.0)
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
