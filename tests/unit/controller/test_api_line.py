"""The line over the API: one's own places, and everybody's for who manages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gpuspawner.core.errors import Refused
from gpuspawner.core.model import Lease, LeaseState, SpawnRequest
from support.build import GIB, HOST, NOW

if TYPE_CHECKING:
    from support.controller import Office

ONE = {"options": {"gpus": 1}}


@pytest.fixture(autouse=True)
def full(office: Office) -> Lease:
    """Nothing is free, so that who asks waits."""
    return office.fill()


def free(office: Office) -> None:
    """Both cards are free, and whose turn it is gets an offer."""
    with office.services.ledger.write() as unit:
        held = unit.lease("full")
        assert held
        unit.update_lease(replace(held, state=LeaseState.RELEASED))
    office.line.grant_turns()


def join(office: Office, who: str = "ada", server: str = "") -> str:
    answer = office.ask("POST", "/queue", who, {"server": server, **ONE})
    assert answer.status_code == 201, answer.text
    office.now[0] += timedelta(seconds=1)
    return str(answer.json()["id"])


def test_asking(office: Office) -> None:
    answer = office.ask("POST", "/queue", "ada", {"server": "big", "options": {"gpus": 2, "image": "torch"}})
    place = answer.json()
    assert answer.status_code == 201
    assert (place["owner"], place["server"], place["gpus"], place["image"]) == ("ada", "big", 2, "torch")
    assert (place["state"], place["position"], place["ahead"]) == ("waiting", 1, 0)
    assert (place["starting"], place["switch_possible"], place["claimed_at"]) == (False, False, None)
    assert place["reason"].startswith("You asked for 2 GPUs; 0 of 2 GPUs are free now")
    with office.services.ledger.read() as unit:
        ticket = unit.ticket(place["id"])
    assert ticket
    assert (ticket.image, ticket.party.groups) == ("demo/torch:1", ("students",))


def test_everything_that_was_asked_for_is_told(office: Office) -> None:
    options = {"gpus": 1, "model": "A100", "memory": "20G", "session": "90 min", "shorten": True}
    place = office.ask("POST", "/queue", "ada", {"options": options}).json()
    assert (place["model"], place["memory_bytes"]) == ("A100", 20 * GIB)
    assert (place["session_seconds"], place["shorten"]) == (5400.0, True)
    assert (place["slice_bytes"], place["compute_capability"], place["returns"]) == (None, None, 0)
    with office.services.ledger.read() as unit:
        ticket = unit.ticket(place["id"])
    assert ticket
    assert ticket.request == SpawnRequest(
        1, "A100", memory_bytes=20 * GIB, session=timedelta(minutes=90), shorten=True, course="vision"
    )


def test_asking_counts_for_the_course(office: Office) -> None:
    join(office)
    with office.services.ledger.read() as unit:
        (ticket,) = unit.live_tickets("gpu1")
    assert ticket.party.courses == ("vision",)


def test_only_people_ask(office: Office) -> None:
    assert office.refusal("POST", "/queue", "service-ada", ONE)[0] == 403
    assert office.get("/queue", "admin")["length"] == 0


def test_asking_again_keeps_the_place_unless_it_asks_for_more(office: Office) -> None:
    mine, other = join(office), join(office, "bob")
    assert join(office) == mine
    assert [place["id"] for place in office.get("/queue", "admin")["places"]] == [mine, other]
    more = office.ask("POST", "/queue", "ada", {"options": {"gpus": 2}}).json()
    assert (more["id"], more["gpus"]) == (mine, 2)
    assert [place["id"] for place in office.get("/queue", "admin")["places"]] == [other, mine]


def test_nobody_takes_more_places_than_they_have_servers(office: Office) -> None:
    for n in range(10):
        join(office, server=f"s{n}")
    status, _, message = office.refusal("POST", "/queue", "ada", {"server": "s10", **ONE})
    assert (status, "10 places" in message) == (400, True)


def test_what_the_policy_forbids(office: Office) -> None:
    status, kind, message = office.refusal("POST", "/queue", "ada", {"options": {"gpus": 3}})
    assert (status, kind) == (403, "not_allowed")
    assert "at most 2" in message


@pytest.mark.parametrize(
    ("groups", "options", "word"),
    [
        ("{default: {pools: [old]}}", {"gpus": 1}, "allows T4"),
        ("{default: {gpus_per_person: 1}, students: {gpus_per_server: 2}}", {"gpus": 2}, "at most 1"),
    ],
    ids=["cards", "person"],
)
def test_what_the_policy_never_grants_does_not_wait_for_ever(
    office: Office, tmp_path: Path, groups: str, options: dict[str, Any], word: str
) -> None:
    mine = join(office)
    (tmp_path / "policy.yml").write_text(f"pools: {{old: [T4]}}\ngroups: {groups}\n")
    for method, path in (("POST", "/queue"), ("PATCH", f"/queue/{mine}")):
        status, kind, message = office.refusal(method, path, "ada", {"options": options})
        assert (status, kind, word in message) == (403, "not_allowed", True), message


def test_a_change_of_the_image_counts_for_the_course_of_the_new_one(office: Office) -> None:
    """Or its seats could be had without being counted."""
    ticket = office.ask("POST", "/queue", "ada", {"options": {"gpus": 1, "image": "torch"}}).json()["id"]
    changed = office.ask("PATCH", f"/queue/{ticket}", "ada", {"options": {"gpus": 1, "image": "base"}})
    assert changed.json()["courses"] == ["vision"]
    with office.services.ledger.read() as unit:
        stored = unit.ticket(ticket)
    assert stored
    assert (stored.party.courses, stored.image) == (("vision",), "demo/base:1")


def test_the_image_of_a_course_with_seats_is_not_to_be_had_for_none(office: Office, tmp_path: Path) -> None:
    """Where the course alone gives it; who waits is told so, and does not come to a start that fails."""
    asked = {"options": {"gpus": 1, "image": "base", "course": ""}}
    assert office.ask("POST", "/queue", "ada", asked).status_code == 201
    policy = (
        "groups: {default: {images: [torch]}, students: }\n"
        "courses: {vision: {group: students, image: base, seats: 3}}\n"
    )
    (tmp_path / "policy.yml").write_text(policy)
    status, kind, message = office.refusal("POST", "/queue", "ada", asked | {"server": "second"})
    assert (status, kind, "Choose the course (vision)" in message) == (403, "not_allowed", True)
    with office.services.ledger.read() as unit:
        (ticket,) = (one for one in unit.live_tickets(HOST) if one.owner == "ada")
    with pytest.raises(Refused, match="whose seats are counted"):
        office.services.policies.judge("ada", {"students"}, ticket.request, ())


def test_others_are_only_numbers(office: Office) -> None:
    mine, other = join(office), join(office, "bob")
    seen = office.get("/queue", "ada")
    assert seen["length"] == 2
    assert [place["id"] for place in seen["places"]] == [mine]
    assert "bob" not in str(seen)
    everybody = office.get("/queue", "admin")["places"]
    assert [(p["id"], p["owner"], p["position"]) for p in everybody] == [(mine, "ada", 1), (other, "bob", 2)]
    assert everybody[1]["estimate"] is None, "the session that is on has no end"
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


def test_an_estimate(office: Office) -> None:
    with office.services.ledger.write() as unit:
        held = unit.lease("full")
        assert held
        unit.update_lease(replace(held, ends_at=NOW + timedelta(hours=1)))
    join(office)
    (place,) = office.get("/queue")["places"]
    assert place["estimate"]["latest"].startswith("2030-05-17T13:")
    assert place["estimate"]["basis"]


def test_leaving(office: Office) -> None:
    ticket = join(office)
    left = office.ask("DELETE", f"/queue/{ticket}").json()
    assert (left["state"], left["position"], left["reason"]) == ("ended", None, "its person left the line")
    assert office.get(f"/queue/{ticket}")["state"] == "ended"
    assert office.refusal("DELETE", f"/queue/{ticket}")[:2] == (404, "not_found")


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
    free(office)
    offered = office.get(f"/queue/{ticket}")
    assert (offered["state"], offered["position"], offered["ahead"]) == ("offered", 0, None)
    assert (offered["claim_by"], offered["starting"]) == ("2030-05-17T12:05:01Z", False)
    assert office.refusal("POST", f"/queue/{ticket}/claim", "admin")[0] == 403
    early = office.ask("POST", f"/queue/{ticket}/claim").json()
    assert (early["state"], early["claimed_at"]) == ("offered", "2030-05-17T12:00:01Z")
    office.hub_starts("ada")
    assert office.get(f"/queue/{ticket}")["starting"]
    assert office.ask("POST", f"/queue/{ticket}/claim").json()["state"] == "claimed"


def test_a_server_without_a_gpu_runs_beside(office: Office) -> None:
    ticket = join(office)
    office.hub_starts("ada", gpus=0)
    assert not office.get(f"/queue/{ticket}")["switch_possible"], "its turn has not come"
    free(office)
    assert office.get(f"/queue/{ticket}")["switch_possible"]
    switched = office.ask("POST", f"/queue/{ticket}/claim").json()
    assert (switched["state"], switched["claimed_at"]) == ("offered", "2030-05-17T12:00:01Z")


def test_when_the_session_would_end(office: Office) -> None:
    office.ask("POST", "/queue", "ada", {"options": {"gpus": 1, "session": "2 h"}})
    free(office)
    (place,) = office.get("/queue")["places"]
    assert place["ends_at"] == "2030-05-17T14:00:00Z"


def test_what_is_gone_cannot_be_claimed(office: Office) -> None:
    ticket = join(office)
    free(office)
    lease = office.hub_starts("ada", runs=False)
    with office.services.ledger.write() as unit:
        unit.update_lease(replace(lease, state=LeaseState.RELEASING))
    assert office.refusal("POST", f"/queue/{ticket}/claim")[:2] == (409, "conflict")
