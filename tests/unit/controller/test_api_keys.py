"""Keys for SSH by the API: one's own, and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ssh import KEYS

if TYPE_CHECKING:
    from support.controller import Office

ADA, BOB, THIRD = KEYS


def test_a_key_is_added_shown_and_removed(office: Office) -> None:
    answer = office.ask("POST", "/keys", "keys-ada", {"key": f"{ADA} ada@laptop\n"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["key"], made["used_at"]) == ("ada@laptop", ADA, None)
    assert office.get("/keys")["keys"] == [made]
    assert office.ask("DELETE", f"/keys/{made['id']}", "keys-ada").json() == made
    assert office.get("/keys")["keys"] == []
    assert [(one.kind, one.actor) for one in office.trail("ssh.")] == [
        ("ssh.key-removed", "ada"),
        ("ssh.key-added", "ada"),
    ]


def test_another_s_key_does_not_exist_and_cannot_be_added_again(office: Office) -> None:
    theirs = office.ask("POST", "/keys", "keys-bob", {"key": BOB, "name": "his"}).json()
    assert office.get("/keys", "ada")["keys"] == []
    assert office.get("/keys", "admin")["keys"] == [], "own keys only, also for who manages"
    for path in (f"/keys/{theirs['id']}", "/keys/7", "/keys/x", f"/keys/{'9' * 100}", "/keys/-1"):
        assert office.refusal("DELETE", path, "keys-ada")[:2] == (404, "not_found")
    status, _, message = office.refusal("POST", "/keys", "keys-ada", {"key": f"{BOB} mine"})
    assert status == 409
    assert message.startswith("Somebody else here has added this key. If it is yours, tell the administrator")
    assert "bob" not in message
    assert office.refusal("POST", "/keys", "keys-bob", {"key": BOB})[2] == "This key is there already."
    assert [one["name"] for one in office.get("/keys", "bob")["keys"]] == ["his"]


@pytest.mark.parametrize("who", ["ada", "inside-ada", "filtered", "stranger"])
def test_a_token_without_the_scope_adds_and_removes_nothing(office: Office, who: str) -> None:
    made = office.ask("POST", "/keys", "keys-ada", {"key": ADA}).json()
    assert office.refusal("POST", "/keys", who, {"key": THIRD})[:2] == (403, "forbidden")
    assert office.refusal("DELETE", f"/keys/{made['id']}", who)[:2] == (403, "forbidden")
    assert len(office.get("/keys", "ada")["keys"]) == 1


def test_a_service_has_no_keys(office: Office) -> None:
    assert office.refusal("POST", "/keys", "service-ada", {"key": ADA})[0] == 403


def test_what_is_no_key_is_refused_and_nothing_is_stored(office: Office) -> None:
    for key in ("", "-----BEGIN OPENSSH PRIVATE KEY-----", f'command="x" {ADA}', f"{ADA}\n{BOB}", "x" * 9000):
        assert office.refusal("POST", "/keys", "keys-ada", {"key": key})[:2] == (400, "invalid")
    for body in ({}, {"key": 7}, {"key": ADA, "owner": "bob"}, {"key": ADA, "name": "x" * 61}):
        assert office.refusal("POST", "/keys", "keys-ada", body)[0] in (400, 422)
    assert office.get("/keys")["keys"] == []
