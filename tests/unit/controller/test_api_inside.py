"""What a server can ask with its own token: about its own session, and about nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from gpuspawner.controller.api.routes import Route
from gpuspawner.controller.api.table import ROUTES
from gpuspawner.controller.base import House
from gpuspawner.controller.identity import SESSION
from gpuspawner.controller.inside import MOST_OPEN, MOST_SENT, make_inside_door
from gpuspawner.core.culling import Watch
from gpuspawner.core.idleness import Step
from gpuspawner.core.model import LeaseState
from support.build import GIB, NOW, busy, record
from support.fake_hub import serving
from support.idling import watched
from support.installation import wait_for

if TYPE_CHECKING:
    from support.controller import Office

OURS = [route for route in ROUTES if route.scope == SESSION]
OTHERS = [route for route in ROUTES if route.scope != SESSION]
FORGED = ("forged-other", "forged-two", "forged-all", "forged-service", "ada", "admin", "hub-admin")
END = NOW + timedelta(minutes=30)


@pytest.fixture(autouse=True)
def sessions(office: Office, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text() + "idle_sessions: stop\n")
    office.add_lease("ada", "mine", ends_at=None)
    office.add_lease("ada", "other", devices=("GPU-1",), server="two", ends_at=END)


def put_watch(office: Office, lease_id: str = "mine", **changes: object) -> Watch:
    """It has been idle for an hour and three quarters, and was warned just now."""
    watch = replace(watched(lease_id, timedelta(minutes=105)), warned_at=NOW, warned=15, **changes)
    with office.services.ledger.write() as unit:
        unit.put_watches([watch])
    return watch


def path_of(route: Route, lease_id: str = "mine") -> str:
    path = route.path
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", {"uuid": "GPU-0", "lease_id": lease_id}.get(name, "nothing"))
    return path


@pytest.mark.parametrize("route", OTHERS, ids=lambda route: route.operation)
def test_a_server_s_token_opens_nothing_else(office: Office, route: Route) -> None:
    for lease_id in ("mine", "other"):
        status, kind, message = office.refusal(route.method, path_of(route, lease_id), "inside-ada", {})
        assert (status, kind) == (403, "forbidden")
        assert route.scope in message
    assert office.hub.calls == []


@pytest.mark.parametrize("path", ["/queue", "/servers", "/metrics", "/board", "/reservations", "/reports"])
def test_nor_a_page(office: Office, path: str) -> None:
    assert office.raw("GET", path, "inside-ada").status_code == 403
    assert office.raw("POST", "/servers/mine/stop", "inside-ada").status_code == 403


@pytest.mark.parametrize("who", FORGED)
@pytest.mark.parametrize("route", OURS, ids=lambda route: route.operation)
def test_nothing_but_a_server_s_own_token_opens_it(office: Office, route: Route, who: str) -> None:
    status, kind, _ = office.refusal(route.method, route.path, who, {"finish": True} if route.body else None)
    assert (status, kind) == (403, "forbidden")
    assert office.hub.calls == []
    assert office.trail("session.") == []


def test_each_server_sees_its_own_session(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.put_device(record("GPU-0", sample=busy(1, memory_used_bytes=11 * GIB)))
    mine = office.get("/session", "inside-ada")
    (gpu,) = mine["gpus"]
    assert (gpu["uuid"], gpu["model"], gpu["at"]) == ("GPU-0", "A100", "2030-05-17T12:00:00Z")
    assert (gpu["utilization_percent"], gpu["memory_used_bytes"]) == (90, 11 * GIB)
    assert gpu["memory_bytes"] == 40 * GIB
    assert (mine["stop"], mine["ending"], mine["signals"], mine["reason"]) == (None, False, [], "")
    two = office.get("/session", "inside-ada-two")
    assert [one["uuid"] for one in two["gpus"]] == ["GPU-1"]
    assert two["stop"] == {
        "at": "2030-05-17T12:30:00Z",
        "cause": "end",
        "reason": "Its time is over.",
        "warned": None,
    }
    assert office.refusal("GET", "/session", "inside-bob") == (
        404,
        "not_found",
        "There is no session of this server.",
    )


def test_what_is_not_known_is_null_and_never_0(office: Office) -> None:
    office.now[0] = NOW + timedelta(seconds=31)
    (gpu,) = office.get("/session", "inside-ada")["gpus"]
    assert (gpu["at"], gpu["utilization_percent"], gpu["memory_used_bytes"]) == (None, None, None)
    assert gpu["memory_bytes"] == 40 * GIB
    with office.services.ledger.write() as unit:
        unit.drop_devices("gpu1", [])
    (gpu,) = office.get("/session", "inside-ada")["gpus"]
    assert (gpu["model"], gpu["memory_bytes"], gpu["utilization_percent"]) == (None, None, None)


def test_a_warning_its_reason_and_keeping(office: Office) -> None:
    watch = put_watch(office)
    assert watch.verdict is not None
    assert watch.verdict.step is Step.WARN
    seen = office.get("/session", "inside-ada")
    assert (seen["stop"]["at"], seen["stop"]["cause"], seen["stop"]["warned"]) == (
        "2030-05-17T12:15:00Z", "idle", 15,
    )  # fmt: skip
    assert seen["reason"] == seen["stop"]["reason"] == watch.verdict.reason
    assert [one["what"] for one in seen["signals"]] == ["GPUs", "Notebooks and terminals", "Processors"]
    kept = office.ask("POST", "/session/keep", "inside-ada").json()
    assert (kept["kept_until"], kept["stop"]) == ("2030-05-17T13:00:00Z", None)
    assert [event.actor for event in office.trail("session.kept")] == ["ada"]
    assert office.refusal("POST", "/session/keep", "inside-ada")[0] == 409, "it is kept already"
    with office.services.ledger.read() as unit:
        assert unit.wish_of("other").kept_until is None


def test_keeping_is_refused_with_the_policy_s_reason(office: Office) -> None:
    put_watch(office)
    office.add_lease("bob", "bobs", devices=())
    office.ask("POST", "/queue", "bob", {"options": {"gpus": 1}})
    for hour in range(4):
        office.now[0] = NOW + timedelta(hours=hour)
        with office.services.ledger.write() as unit:
            for n in range(2):
                unit.put_device(record(f"GPU-{n}", index=n, seen_at=office.now[0]))
        assert office.ask("POST", "/session/keep", "inside-ada").status_code == 200
    office.now[0] += timedelta(minutes=59)
    with office.services.ledger.write() as unit:
        for n in range(2):
            unit.put_device(record(f"GPU-{n}", index=n, seen_at=office.now[0]))
    status, kind, message = office.refusal("POST", "/session/keep", "inside-ada")
    assert (status, kind) == (409, "conflict")
    assert "Somebody waits for what it holds, and then it may be kept for 4 h in all" in message


def test_what_is_only_reported_stops_nobody(office: Office, tmp_path: Path) -> None:
    put_watch(office, reported=True)
    assert office.get("/session", "inside-ada")["stop"] is None
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("idle_sessions: stop", "idle_sessions: report"))
    put_watch(office)
    seen = office.get("/session", "inside-ada")
    assert (seen["stop"], seen["acted_on"]) == (None, False)
    status, _, message = office.refusal("POST", "/session/keep", "inside-ada")
    assert (status, message) == (409, "Nothing stops this session, so there is nothing to keep it from.")


def test_an_end_that_is_near_is_moved_as_far_as_the_policy_says(office: Office, tmp_path: Path) -> None:
    status, _, message = office.refusal("POST", "/session/keep", "inside-ada-two")
    assert (status, message) == (409, "You cannot extend it by yourself.")
    policy = tmp_path / "policy.yml"
    policy.write_text(policy.read_text().replace("students: {}", "students: {extension: 2 h}"))
    seen = office.ask("POST", "/session/keep", "inside-ada-two").json()
    assert seen["stop"]["at"] == "2030-05-17T13:30:00Z"
    assert office.services.sessions.find("mine").ends_at is None
    # Now the end is farther off than an hour: idleness is what it is kept from.
    assert (
        office.ask("POST", "/session/keep", "inside-ada-two").json()["kept_until"] == "2030-05-17T13:00:00Z"
    )
    assert office.services.sessions.find("other").ends_at == NOW + timedelta(minutes=90)


def test_finish_and_its_withdrawal(office: Office) -> None:
    assert office.ask("POST", "/session/finish", "inside-ada", {"finish": True}).json()["finish"] is True
    assert office.ask("POST", "/session/finish", "inside-ada", {"finish": False}).json()["finish"] is False
    assert len(office.trail("session.finish")) == 2


def test_stop_ends_this_server_and_no_other(office: Office) -> None:
    assert office.ask("POST", "/session/stop", "inside-ada-two").json() == {"done": True}
    assert office.hub.calls == [("stop_server", "ada", "two")]
    (told,) = office.trail("session.stopping")
    assert (told.lease_id, told.actor) == ("other", "ada")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/session/stop", {"lease_id": "other"}, 400),
        ("/session/stop?server=two", None, 400),
        ("/session/keep", {"until": "2031-01-01T00:00:00Z"}, 400),
        ("/session/finish", {"finish": "yes", "server": "two"}, 400),
        ("/session/finish", {}, 400),
        ("/session/finish", [], 400),
        ("/session/../leases/other/stop", {"reason": "r"}, 403),
        ("/session/other/stop", None, 404),
    ],
)
def test_what_is_hostile_does_nothing(office: Office, path: str, body: object, status: int) -> None:
    answer = office.raw("POST", f"/api{path}", "inside-ada", json=body) if body is not None else (
        office.raw("POST", f"/api{path}", "inside-ada")
    )  # fmt: skip
    assert answer.status_code == status, answer.text
    assert office.hub.calls == []
    assert office.trail("session.") == []


def test_a_session_that_ends_already(office: Office) -> None:
    with office.services.ledger.write() as unit:
        unit.update_lease(replace(office.services.sessions.find("other"), warned=0, ends_at=NOW))
    seen = office.get("/session", "inside-ada-two")
    assert (seen["ending"], seen["stop"]["warned"]) == (True, 0)
    assert office.refusal("POST", "/session/keep", "inside-ada-two")[0] == 409
    assert office.refusal("POST", "/session/finish", "inside-ada-two", {"finish": True})[0] == 409
    with office.services.ledger.write() as unit:
        lease = office.services.sessions.find("other")
        unit.update_lease(replace(lease, state=LeaseState.RELEASING, state_since=NOW))
    assert office.refusal("GET", "/session", "inside-ada-two")[0] == 404


@pytest.fixture
def door(office: Office) -> Iterator[str]:
    """What containers reach."""
    house = House(office.auth, office.services, office.metrics, None, None)  # type: ignore[arg-type]
    with serving(lambda: make_inside_door(house)) as url:
        yield f"{url}/services/gpu"


def ask_door(door: str, path: str, who: str = "inside-ada") -> int:
    headers = {"Authorization": f"token {who}"}
    return requests.get(f"{door}{path}", headers=headers, timeout=10, allow_redirects=False).status_code


def test_what_containers_reach_is_this_and_nothing_else(office: Office, door: str) -> None:
    assert ask_door(door, "/api/session") == 200
    assert ask_door(door, "/api/session", "nobody") == 401
    assert ask_door(door, "/api/session", "admin") == 403
    for path in (
        "/health",
        "/metrics",
        "/api/cards",
        "/api/leases",
        "/api/openapi.json",
        "/queue",
        "/feed/x",
    ):
        assert ask_door(door, path, "admin") == 404, path
    assert ask_door(door, "/api/session/../cards", "admin") == 404
    assert ask_door(door, "/api/sessions") == 404
    cookie = {"Cookie": f"service-gpu={office.cookie('ada')}"}
    assert requests.get(f"{door}/api/session", headers=cookie, timeout=10).status_code == 401
    # Refused by what its head says: what is sent nevertheless is not read, and can cut off the answer.
    parts = urlsplit(door)
    with closing(HTTPConnection(parts.netloc, timeout=10)) as large:
        large.request(
            "POST", f"{parts.path}/api/session/finish", headers={"Content-Length": f"{MOST_SENT + 1}"}
        )
        assert large.getresponse().status == 400


def test_a_container_that_opens_connections_without_end_gets_no_more(door: str) -> None:
    parts = urlsplit(door)
    address = (parts.hostname or "", parts.port or 0)
    with ExitStack() as stack:
        for _ in range(MOST_OPEN):
            stack.enter_context(socket.create_connection(address))
        with pytest.raises(requests.ConnectionError):
            ask_door(door, "/api/session")
    wait_for(lambda: answers(door), "that it answers again")


def answers(door: str) -> bool:
    try:
        return ask_door(door, "/api/session") == 200
    except requests.ConnectionError:
        return False
