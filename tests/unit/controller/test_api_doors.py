"""Who gets in, what is refused before anything is done, and what the document says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gpuspawner.controller.api.handler import judge_error
from gpuspawner.controller.api.routes import MOST_BODY, Route
from gpuspawner.controller.api.table import ROUTES
from gpuspawner.controller.identity import MANAGE, READ, RESERVE
from gpuspawner.core.errors import LedgerError, RefusalKind, Refused
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.build import NOW

if TYPE_CHECKING:
    from support.controller import Office

EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)


def path_of(route: Route) -> str:
    path = route.path
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", "GPU-0" if name == "uuid" else "nothing")
    return path


def test_the_document_is_valid_and_served(office: Office) -> None:
    document = office.get("/openapi.json")
    OpenAPIV31SpecValidator(document).validate()
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert sorted(operations) == sorted(route.operation for route in ROUTES)
    assert len(set(operations)) == len(ROUTES)
    assert document["components"]["schemas"]["AskBody"]["additionalProperties"] is False


@EVERY_ROUTE
def test_nobody_without_a_login(office: Office, route: Route) -> None:
    for who in (None, "a-token-that-nobody-made"):
        status, kind, message = office.refusal(route.method, path_of(route), who)
        assert (status, kind) == (401, "not_logged_in")
        assert "Authorization: Bearer" in message


@EVERY_ROUTE
def test_nobody_without_the_right_to_this_service_or_without_any_scope_of_ours(
    office: Office, route: Route
) -> None:
    assert office.refusal(route.method, path_of(route), "stranger")[0] == 403
    assert office.refusal(route.method, path_of(route), "blind")[:2] == (403, "forbidden")


@pytest.mark.parametrize("route", [r for r in ROUTES if r.scope != READ], ids=lambda route: route.operation)
def test_a_missing_scope_is_refused_and_written_down_once(office: Office, route: Route) -> None:
    for who in ("ada", "filtered", "ada"):
        status, kind, message = office.refusal(route.method, path_of(route), who, {})
        assert (status, kind) == (403, "forbidden")
        assert route.scope in message
    told = [(event.actor, event.reason) for event in office.trail("access.denied")]
    reason = f"{route.operation}: the scope {route.scope} is missing"
    assert told == [("mallory", reason), ("ada", reason)]


def test_a_denial_is_written_down_again_after_a_while(office: Office) -> None:
    office.refusal("GET", "/events")
    office.now[0] = NOW + timedelta(minutes=2)
    office.refusal("GET", "/events")
    assert len(office.trail("access.denied")) == 2


def test_scopes_of_the_table() -> None:
    scopes = {route.operation: route.scope for route in ROUTES}
    assert RESERVE not in scopes.values(), "teachers reserve for their courses without it"
    assert {o for o, scope in scopes.items() if scope == MANAGE} == {
        *("drainCard", "undrainCard", "assignCard", "clearCard", "listEvents", "undoEvent"),
        *("listCalendars", "endCalendar"),
    }


def test_who_one_is(office: Office) -> None:
    me = office.get("/me")
    assert (me["name"], me["kind"], me["groups"]) == ("ada", "person", ["students"])
    assert (me["scopes"], me["teaches"], me["places"], me["sessions"]) == ([READ], [], [], [])
    assert office.get("/me", "grace")["teaches"] == ["vision"]
    assert office.get("/me", "hub-admin")["scopes"] == [READ, MANAGE, RESERVE]
    service = office.get("/me", "service-ada")
    assert (service["name"], service["kind"], service["teaches"]) == ("service ada", "service", [])
    assert (service["allowance"], service["budget"]) == (None, None)


def test_what_one_may_use_and_has(office: Office) -> None:
    office.fill()
    office.add_lease("ada", "mine", devices=(), server="two")
    place = office.ask("POST", "/queue", "ada", {"options": {"gpus": 1}}).json()["id"]
    me = office.get("/me")
    assert (me["places"], me["sessions"]) == ([place], ["mine"])
    limits = {one["name"]: (one["value"], one["rule"]) for one in me["allowance"]}
    assert limits["gpus_per_server"] == (2, "default")
    assert limits["images"] == (None, "settings")
    assert me["budget"] == {
        "limit_hours": 40.0, "rule": "default", "used_hours": 0.0, "left_hours": 40.0,
        "back_on": None, "ends_at": None,
    }  # fmt: skip
    used = office.get("/me", "admin")["budget"]
    assert used["used_hours"] == 0.0
    service = office.get("/me", "service-ada")
    assert (service["places"], service["sessions"]) == ([], [])


def test_without_a_policy_that_can_be_read_one_still_sees_who_one_is(office: Office, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text("people: {grace: {gpus: 1}}")
    me = office.get("/me", "grace")
    assert (me["name"], me["teaches"], me["allowance"]) == ("grace", [], None)
    body = {"options": {"gpus": 1}}
    status, kind, message = office.refusal("POST", "/queue", "grace", body)
    assert (status, kind) == (503, "policy_broken")
    assert str(tmp_path) not in message


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/queue", {"option": {}}, "There is no key 'option'. Did you mean options?"),
        ("POST", "/queue", {"options": {"gpu": 1}}, "There is no key 'options.gpu'. Did you mean gpus?"),
        ("POST", "/queue", {}, "The key 'options' is missing. Add it."),
        ("POST", "/queue", [], "must be a JSON object with the keys server, options"),
        ("POST", "/queue", {"options": {"gpus": "1"}}, "options.gpus: Input should be a valid integer"),
        ("POST", "/queue", {"options": {"gpus": 3}}, "a server may have at most 2"),
        ("POST", "/queue", {"options": {"gpus": 1, "image": "nope"}}, "There is no image 'nope'"),
        ("POST", "/queue", {"server": "a/b", "options": {"gpus": 1}}, "server: String should match"),
        ("POST", "/queue", {"server": "x" * 256, "options": {"gpus": 1}}, "server: String should"),
        ("GET", "/cards?colour=red", None, "There is no parameter 'colour' here"),
        ("GET", "/usage?sinse=2030-01-01", None, "Did you mean since?"),
        ("GET", "/usage?by=user&by=day", None, "'by' is there twice"),
        ("GET", "/usage?by=shoe", None, "by: Input should be 'user'"),
        ("GET", "/usage?since=2030-02-01&until=2030-01-01", None, "since must be a day before until"),
        ("POST", "/leases/lease1/extend", {"until": "2030-05-17T14:00", "reason": "r"}, "timezone"),
        ("POST", "/leases/lease1/extend", {"until": "9999-12-31T23:59:59Z", "reason": "r"}, "between the"),
        ("POST", "/leases/lease1/stop", {"reason": ""}, "reason: String should have at least 1"),
        ("POST", "/leases/lease1/stop", {"reason": "x" * 501}, "reason: String should have at most 500"),
        ("POST", "/queue/t/claim", {"now": True}, "takes no body"),
    ],
)
def test_what_is_malformed_is_named(office: Office, method: str, path: str, body: object, says: str) -> None:
    status, _, message = office.refusal(method, path, "ada", body)
    assert status in (400, 403)
    assert says in message
    assert office.get("/queue", "admin")["length"] == 0


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (RefusalKind.NEVER, 400),
        (RefusalKind.NOT_ALLOWED, 403),
        (RefusalKind.NOT_NOW, 409),
        (RefusalKind.NO_INVENTORY, 503),
    ],
)
def test_each_refusal_has_its_status(kind: RefusalKind, status: int) -> None:
    assert judge_error(Refused(kind, "why")) == (status, kind.value)


def test_what_is_never_possible_and_what_is_not_known(office: Office) -> None:
    never = {"options": {"gpus": 1, "model": "H100"}}
    assert office.refusal("POST", "/queue", "ada", never)[:2] == (400, "never_possible")
    office.now[0] = NOW + timedelta(minutes=2)
    ask = {"options": {"gpus": 1}}
    assert office.refusal("POST", "/queue", "ada", ask)[:2] == (503, "no_inventory")


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"options": NaN}', b'{"a": 1' * 1000])
def test_what_is_no_json(office: Office, data: bytes) -> None:
    answer = office.ask("POST", "/queue", "ada", data=data)
    assert answer.status_code == 400
    assert answer.json()["error"]["kind"] == "invalid"


def test_a_body_that_is_too_large(office: Office) -> None:
    answer = office.ask("POST", "/queue", "ada", data=b" " * MOST_BODY + b"{}")
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "The body is larger than 256 KiB.",
    )
    assert office.raw("POST", "/api/queue", "ada", data=b" " * 3 * MOST_BODY).status_code == 400


def test_what_is_not_there(office: Office) -> None:
    assert office.refusal("GET", "/nothing")[:2] == (404, "not_found")
    assert office.refusal("GET", "/")[:2] == (404, "not_found")
    status, _, message = office.refusal("PATCH", "/cards")
    assert (status, message) == (405, "This can be asked with GET only.")
    for path in ("/leases/nothing", "/queue/nothing", "/queue/%2e%2e%2fcards", "/leases/" + "x" * 201):
        assert office.refusal("GET", path)[:2] == (404, "not_found")
    assert office.refusal("POST", "/cards/GPU-9/drain", "admin", {"reason": "r"})[0] == 404


def test_a_ledger_that_is_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LedgerError(f"The ledger {office.services.ledger.path} is away.")

    monkeypatch.setattr(office.services.ledger, "read", fail)
    monkeypatch.setattr(office.services.ledger, "write", fail)
    status, kind, message = office.refusal("GET", "/cards")
    assert (status, kind) == (503, "ledger_away")
    assert str(office.services.ledger.path) not in message
    assert office.refusal("GET", "/events")[0] == 403, "the denial is not lost on that"
    metrics = office.raw("GET", "/metrics")
    assert metrics.status_code == 200
    assert "gpuspawner_ledger_readable 0.0" in metrics.text


def test_a_hub_that_is_away(office: Office) -> None:
    office.auth.away = True
    status, kind, message = office.refusal("GET", "/cards")
    assert (status, kind) == (503, "away")
    assert "The hub does not answer" in message


def test_a_bug_tells_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(office.services.sessions, "live", fail)
    answer = office.raw("GET", "/api/leases")
    assert answer.status_code == 500
    assert answer.json()["error"]["kind"] == "failed"
    assert "secret" not in answer.text


def test_headers(office: Office) -> None:
    for path in ("/api/me", "/api/nothing", "/queue"):
        headers = office.raw("GET", path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_health_tells_nothing_and_needs_no_login(office: Office) -> None:
    answer = office.raw("GET", "/health", None)
    assert (answer.status_code, answer.json()) == (200, {"healthy": True})


def test_metrics_need_the_scope_to_read(office: Office) -> None:
    assert office.raw("GET", "/metrics", None).status_code == 401
    assert office.raw("GET", "/metrics", "blind").status_code == 403
    assert office.raw("GET", "/metrics", "service-ada").status_code == 200
