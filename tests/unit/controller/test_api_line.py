"""The line over the API: one's own places, and everybody's for who manages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Office

ONE = {"options": {"gpus": 1}}


def join(office: Office, who: str = "ada", server: str = "") -> str:
    answer = office.ask("POST", "/queue", who, {"server": server, **ONE})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_asking(office: Office) -> None:
    answer = office.ask("POST", "/queue", "ada", {"server": "big", "options": {"gpus": 2, "image": "torch"}})
    place = answer.json()
    assert answer.status_code == 201
    assert (place["owner"], place["server"], place["gpus"], place["image"]) == ("ada", "big", 2, "torch")
    assert (place["state"], place["position"], place["ahead"], place["estimate"]) == ("waiting", 1, 0, None)
    with office.services.ledger.read() as unit:
        ticket = unit.ticket(place["id"])
    assert ticket
    assert (ticket.image, ticket.party.groups) == ("demo/torch:1", ("students",))


def test_asking_counts_for_the_course(office: Office) -> None:
    join(office)
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets("gpu1")
    assert ticket.party.courses == ("vision",)


def test_only_people_ask(office: Office) -> None:
    assert office.refusal("POST", "/queue", "service-ada", ONE)[0] == 403
    assert office.line.asked == 0


def test_a_second_place_for_a_server_is_a_conflict(office: Office) -> None:
    join(office)
    status, kind, message = office.refusal("POST", "/queue", "ada", ONE)
    assert (status, kind) == (409, "conflict")
    assert "Change or leave it" in message


def test_what_the_policy_forbids(office: Office) -> None:
    status, kind, message = office.refusal("POST", "/queue", "ada", {"options": {"gpus": 3}})
    assert (status, kind) == (403, "not_allowed")
    assert "at most 2" in message


def test_others_are_only_numbers(office: Office) -> None:
    mine, other = join(office), join(office, "bob")
    seen = office.get("/queue", "ada")
    assert seen["length"] == 2
    assert [place["id"] for place in seen["places"]] == [mine]
    assert "bob" not in str(seen)
    everybody = office.get("/queue", "admin")["places"]
    assert [(p["id"], p["owner"], p["position"]) for p in everybody] == [(mine, "ada", 1), (other, "bob", 2)]
    assert everybody[1]["estimate"] == {
        "earliest": "2030-05-17T12:00:00Z",
        "latest": None,
        "basis": "nothing",
    }
    assert office.get("/queue", "service-ada")["places"] == []


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", ONE),
        ("DELETE", "", None),
        ("DELETE", "", {"reason": "mine now"}),
        ("POST", "/claim", None),
    ],
)
def test_somebody_else_s_place_does_not_exist(office: Office, method: str, suffix: str, body: Any) -> None:
    ticket = join(office, "bob")
    for who in ("ada", "grace", "service-ada", "filtered"):
        refused = office.refusal(method, f"/queue/{ticket}{suffix}", who, body)
        assert refused == (404, "not_found", "There is no such place in line.")
        assert refused == office.refusal(method, f"/queue/nothing{suffix}", who, body)
    with office.services.ledger.read() as unit:
        assert unit.ticket(ticket) == office.line.view().places[0].ticket


def test_leaving(office: Office) -> None:
    ticket = join(office)
    left = office.ask("DELETE", f"/queue/{ticket}").json()
    assert (left["state"], left["position"], left["reason"]) == ("ended", None, "its person left the line")
    assert office.get(f"/queue/{ticket}")["state"] == "ended"
    assert office.refusal("DELETE", f"/queue/{ticket}")[:2] == (409, "conflict")


def test_an_administrator_takes_somebody_out_with_a_reason(office: Office) -> None:
    ticket = join(office)
    assert office.refusal("DELETE", f"/queue/{ticket}", "admin")[0] == 403
    left = office.ask("DELETE", f"/queue/{ticket}", "admin", {"reason": "asked for by mistake"}).json()
    assert left["reason"] == "asked for by mistake"


def test_changing(office: Office) -> None:
    ticket = join(office)
    assert office.ask("PATCH", f"/queue/{ticket}", "ada", {"options": {"gpus": 2}}).json()["gpus"] == 2
    assert office.refusal("PATCH", f"/queue/{ticket}", "ada", {"options": {"gpus": 9}})[0] == 403


def test_an_administrator_s_change_is_judged_by_what_its_person_may(office: Office) -> None:
    ticket = join(office)
    body = {"options": {"gpus": 2}}
    assert office.refusal("PATCH", f"/queue/{ticket}", "admin", body)[:2] == (502, "hub_away")
    office.hub.people["ada"] = frozenset({"students"})
    assert office.ask("PATCH", f"/queue/{ticket}", "admin", body).status_code == 200
    assert office.refusal("PATCH", f"/queue/{ticket}", "admin", {"options": {"gpus": 9}})[0] == 403


def test_claiming(office: Office) -> None:
    ticket = join(office)
    assert office.refusal("POST", f"/queue/{ticket}/claim")[:2] == (400, "invalid")
    office.line.offer(office.line.view().places[0].ticket)  # type: ignore[attr-defined]
    offered = office.get(f"/queue/{ticket}")
    assert (offered["position"], offered["ahead"], offered["claim_by"]) == (0, None, "2030-05-17T12:00:00Z")
    assert "It is your turn" in office.raw("GET", "/queue").text
    assert office.refusal("POST", f"/queue/{ticket}/claim", "admin")[0] == 403
    assert office.ask("POST", f"/queue/{ticket}/claim").json()["state"] == "claimed"


def test_without_a_line(office: Office) -> None:
    object.__setattr__(office.services, "line", None)
    assert office.refusal("GET", "/queue")[:2] == (409, "conflict")
    assert "Nobody queues here" in office.raw("GET", "/queue").text
