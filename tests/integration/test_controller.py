"""The controller beside a real Hub: login, tokens, rights, and what a restart of anything leaves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from gpuspawner.adapters.hub_api import HttpHubApi
from gpuspawner.core.errors import HubError
from support.installation import ADMIN, CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

CONFIG = f"""
c.GPUSpawner.cmd = {CHEAP_SERVER!r}
c.JupyterHub.services.append({{"name": "prometheus", "api_token": "{"p" * 40}"}})
c.JupyterHub.load_roles.append({{
    "name": "prometheus",
    "scopes": ["access:services!service=gpu", "custom:gpu:read"],
    "services": ["prometheus"],
}})
c.JupyterHub.load_roles.append({{"name": "planner", "scopes": ["custom:gpu:reserve"], "users": ["grace"]}})
c.JupyterHub.load_groups = {{"vision": {{"users": ["ada"]}}}}
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with Installation(controller=True, config=CONFIG) as installation:
        yield installation


def token_of(site: Installation, user: str, **wanted: Any) -> str:
    """A token that somebody makes for themselves."""
    answer = site.client(user).api("POST", f"/users/{user}/tokens", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def ask(
    site: Installation, token: str | None, path: str, method: str = "GET", **more: Any
) -> requests.Response:
    """A program's request through the proxy."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{site.url}/services/gpu/{path}"
    return requests.request(method, url, headers=headers, timeout=30, allow_redirects=False, **more)


def kind_of(answer: requests.Response) -> str:
    return str(answer.json()["error"]["kind"])


def test_a_person_is_logged_in_by_the_hub_and_stays_so_when_controller_and_hub_restart(
    site: Installation,
) -> None:
    ada = site.client("ada")
    page = ada.log_in_to_controller()
    assert (page.status_code, page.url) == (200, f"{site.url}/services/gpu/queue")
    me = ada.gpu("GET", "/me").json()
    assert (me["name"], me["kind"], me["scopes"]) == ("ada", "person", ["custom:gpu:read"])

    site.kill("controller")
    site.restart("hub")
    site.start("controller")
    site.wait_controller()
    answer = ada.gpu("GET", "/cards")
    assert answer.status_code == 200
    assert len(answer.json()["cards"]) == len(site.uuids)


def test_a_script_of_another_page_is_not_believed_for_the_cookie_alone(site: Installation) -> None:
    ada = site.client("ada")
    ada.log_in_to_controller()
    url = f"{site.url}/services/gpu/api/me"
    cors = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    assert ada.session.get(url, headers=cors, timeout=30).status_code == 401
    assert ada.gpu("GET", "/me", headers=cors).status_code == 200
    assert ada.session.post(f"{site.url}/services/gpu/api/queue", json={}, timeout=30).status_code == 401


def test_nobody_is_let_in_without_a_login(site: Installation) -> None:
    assert kind_of(ask(site, None, "api/cards")) == "not_logged_in"
    assert ask(site, None, "api/cards").status_code == 401
    assert ask(site, "f" * 64, "api/cards").status_code == 401
    assert ask(site, None, "metrics").status_code == 401
    away = ask(site, None, "queue")
    assert away.status_code == 302
    assert "/hub/api/oauth2/authorize" in away.headers["Location"]
    assert ask(site, None, "health").json() == {"healthy": True}


def test_tokens_and_scopes(site: Installation) -> None:
    ada, admin = token_of(site, "ada"), token_of(site, ADMIN)
    assert ask(site, ada, "api/me").json()["name"] == "ada"
    denied = ask(site, ada, "api/events")
    assert (denied.status_code, kind_of(denied)) == (403, "forbidden")
    assert "custom:gpu:manage" in denied.json()["error"]["message"]
    assert any("listEvents" in reason for reason in site.events("access.denied"))
    assert ask(site, admin, "api/events").json()["events"][0]["kind"] == "access.denied"
    # A token of an administrator that was made for less is good for no more.
    narrow = token_of(site, ADMIN, scopes=["access:services!service=gpu", "custom:gpu:read"])
    assert ask(site, narrow, "api/events").status_code == 403
    blind = token_of(site, "ada", scopes=["read:users:name!user=ada"])
    assert ask(site, blind, "api/cards").status_code == 403


def test_prometheus_reads_with_a_token_of_its_own(site: Installation) -> None:
    found = ask(site, "p" * 40, "metrics")
    assert found.status_code == 200
    assert 'gpuspawner_devices{state="free"} 4.0' in found.text
    assert "gpuspawner_tick_seconds_count" in found.text
    assert ask(site, "p" * 40, "api/messages").status_code == 403


def test_a_role_of_the_site_gives_a_scope_to_logins_and_tokens(site: Installation) -> None:
    grace = site.client("grace")
    grace.log_in_to_controller()
    wanted = ["custom:gpu:read", "custom:gpu:reserve"]
    assert grace.gpu("GET", "/me").json()["scopes"] == wanted
    assert ask(site, token_of(site, "grace"), "api/me").json()["scopes"] == wanted
    site.admin.log_in_to_controller()
    assert site.admin.gpu("GET", "/me").json()["scopes"][1:] == ["custom:gpu:manage", "custom:gpu:reserve"]
    assert site.admin.gpu("GET", "/events").status_code == 200


def controllers_hub(site: Installation) -> tuple[HttpHubApi, str]:
    """The Hub, as the controller sees it, and its token."""
    token = (site.state_dir / "controller_token").read_text().strip()
    return HttpHubApi(f"{site.hub_url}/hub/api", token), token


def test_what_the_controller_can_do_at_the_hub(site: Installation) -> None:
    hub, _ = controllers_hub(site)
    assert hub.users() == {name: hub.groups_of(name) for name in (*site.users, ADMIN)}
    assert hub.groups_of("ada") == {"vision"}
    assert hub.groups_of("nobody-we-know") is None
    assert hub.server("ada", "big") is None
    hub.start_server("ada", "big", {"gpus": 1})
    server = wait_for(lambda: (s := hub.server("ada", "big")) and s.ready and s, "the start")
    assert server.pending is None
    assert server.user_options == {"gpus": 1}
    assert site.cards_seen("ada", "big") == [site.lease_of("ada", "big").devices[0]]
    with pytest.raises(HubError) as caught:
        hub.start_server("ada", "big", {"gpus": 1})
    assert caught.value.status == 400
    with pytest.raises(HubError, match="you sent 9"):
        hub.start_server("ada", "", {"gpus": 9})
    hub.stop_server("ada", "big")
    wait_for(lambda: not site.leases(), "the release")
    stopped = hub.server("ada", "big")
    assert stopped is None or not stopped.ready
    assert "big" in (hub.servers_of("ada") or ())
    assert hub.servers_of("nobody-we-know") is None
    hub.stop_server("ada", "big")
    hub.stop_server("nobody-we-know", "")


def test_what_the_controller_cannot_do_at_the_hub(site: Installation) -> None:
    _, token = controllers_hub(site)
    headers = {"Authorization": f"token {token}"}
    for method, path in (
        ("POST", "/users/ada/tokens"),
        ("GET", "/users/ada/tokens"),
        ("PATCH", "/users/ada"),
        ("POST", "/shutdown"),
        ("GET", "/proxy"),
        ("POST", "/groups/vision/users"),
    ):
        answer = requests.request(
            method, f"{site.hub_url}/hub/api{path}", headers=headers, json={}, timeout=30
        )
        assert answer.status_code in (403, 404), f"{method} {path}: {answer.status_code}"
    assert site.alive("hub")


def test_a_session_is_stopped_with_a_reason_that_its_person_reads(site: Installation) -> None:
    ada, grace, admin = (token_of(site, user) for user in ("ada", "grace", ADMIN))
    assert site.client("ada").spawn({"gpus": 1}).ready
    lease = site.lease_of("ada")
    assert [one["id"] for one in ask(site, ada, "api/leases").json()["sessions"]] == [lease.id]
    assert ask(site, grace, "api/leases").json()["sessions"] == []
    stop = {"method": "POST", "json": {"reason": "the power goes off"}}
    assert ask(site, grace, f"api/leases/{lease.id}/stop", **stop).status_code == 404
    assert ask(site, admin, f"api/leases/{lease.id}/stop", **stop).status_code == 200
    wait_for(lambda: not site.leases(), "the release")
    assert site.client("ada").model() is None
    told = ask(site, ada, "api/messages").json()["messages"][0]
    assert told["text"] == f"{ADMIN} stopped your session: the power goes off"


def test_a_session_that_has_come_to_its_end_is_warned_and_stopped(site: Installation) -> None:
    assert site.client("ada").spawn({"gpus": 1}).ready
    lease = site.lease_of("ada")
    with site.ledger.write() as unit:
        held = unit.lease(lease.id)
        assert held
        unit.update_lease(replace(held, ends_at=held.created_at, end_reason="it was announced", warned=1))
    wait_for(lambda: not site.leases(), "the end of the session")
    assert "Your session was ended: it was announced." in site.events("session.ended")


def test_a_second_controller_on_the_ledger_is_refused(site: Installation) -> None:
    second = subprocess.run(
        ["gpuspawner", "controller", "--settings", str(site.settings_file), "--once"],
        env={**os.environ, **site.environment("controller")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "Another controller already works on this ledger" in second.stderr


def test_it_ends_in_order(site: Installation) -> None:
    process = site.processes["controller"].popen
    site.stop("controller")
    assert process.returncode == 0
    assert "Traceback" not in site.logs("controller")
    site.start("controller")
    site.wait_controller()


def test_the_secret_is_private(site: Installation) -> None:
    secret = Path(site.state_dir) / "controller_token"
    assert secret.stat().st_mode & 0o077 == 0
    assert secret.read_text().strip() not in site.logs()
