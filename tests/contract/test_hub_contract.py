"""What every Hub does: the fake one, and our client before a web server that answers as JupyterHub does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from gpuspawner.adapters.hub_api import PAGE, HttpHubApi
from gpuspawner.core.errors import HubError
from gpuspawner.ports import HubApi, SessionActivity
from support.build import NOW
from support.fake_hub import TOKEN, FakeHub, hub_routes, serving
from tornado.web import Application

ODD = "ada lövelace/x%"


@pytest.fixture
def state() -> FakeHub:
    people = {"ada": frozenset({"vision", "staff"}), "grace": frozenset[str](), ODD: frozenset({"odd"})}
    return FakeHub(people=people)


@pytest.fixture(params=["fake", "over HTTP"])
def hub(request: pytest.FixtureRequest, state: FakeHub) -> Iterator[HubApi]:
    if request.param == "fake":
        yield state
        return
    with serving(lambda: Application(hub_routes(state))) as url:
        yield HttpHubApi(f"{url}/hub/api", TOKEN, timeout_seconds=5)


@pytest.mark.parametrize("server", ["", "big one"])
@pytest.mark.parametrize("user", ["ada", ODD])
def test_a_server_comes_and_goes(hub: HubApi, state: FakeHub, user: str, server: str) -> None:
    assert hub.server(user, server) is None
    hub.start_server(user, server, {"gpus": 1, "display_name": "no name"})
    hub.start_server(user, server, {})
    found = hub.server(user, server)
    assert found is not None
    assert (found.ready, found.pending, found.started) == (False, "spawn", NOW)
    assert found.user_options == {"gpus": 1, "display_name": "no name"}
    state.become_ready(user, server)
    found = hub.server(user, server)
    assert found is not None
    assert (found.ready, found.pending) == (True, None)
    hub.stop_server(user, server)
    hub.stop_server(user, server)
    assert hub.server(user, server) is None


def test_a_refusal_has_the_hub_s_sentence(hub: HubApi, state: FakeHub) -> None:
    state.refusals["ada"] = "0 of 4 GPUs are free now."
    with pytest.raises(HubError, match="0 of 4 GPUs are free now") as caught:
        hub.start_server("ada", "", {})
    assert caught.value.status == 409


def test_a_server_that_runs_is_not_started_again(hub: HubApi, state: FakeHub) -> None:
    hub.start_server("ada", "", {})
    state.become_ready("ada")
    with pytest.raises(HubError) as caught:
        hub.start_server("ada", "", {})
    assert caught.value.status == 400


def test_who_is_not_known(hub: HubApi) -> None:
    assert hub.groups_of("eve") is None
    assert hub.server("eve", "") is None
    hub.stop_server("eve", "")
    with pytest.raises(HubError):
        hub.start_server("eve", "", {})


def test_people_and_groups(hub: HubApi, state: FakeHub) -> None:
    assert hub.groups_of("ada") == {"vision", "staff"}
    assert hub.groups_of(ODD) == {"odd"}
    assert hub.groups_of("grace") == frozenset()
    state.people |= {f"person{n}": frozenset({"crowd"}) for n in range(PAGE + 5)}
    assert hub.users() == state.people


@pytest.mark.parametrize("user", ["ada", ODD])
def test_all_servers_of_a_person_also_those_that_do_not_run(hub: HubApi, state: FakeHub, user: str) -> None:
    assert hub.servers_of("eve") is None
    assert hub.servers_of(user) == frozenset()
    hub.start_server(user, "", {})
    state.stopped = {(user, "big one"), ("grace", "hers")}
    assert hub.servers_of(user) == {"", "big one"}


@pytest.mark.parametrize("user", ["ada", ODD])
def test_somebody_is_forgotten(hub: HubApi, state: FakeHub, user: str) -> None:
    hub.start_server(user, "", {})
    with pytest.raises(HubError):
        hub.remove_user(user)
    hub.stop_server(user, "")
    hub.remove_user(user)
    hub.remove_user(user)
    assert hub.groups_of(user) is None
    assert hub.groups_of("grace") is not None


def test_activity_in_the_fake_needs_the_server_s_own_token() -> None:
    said = SessionActivity(None, NOW - timedelta(hours=1))
    hub = FakeHub(activity={("http://a/", "own"): said})
    assert hub.session_activity("http://a/", "own") == said
    with pytest.raises(HubError):
        hub.session_activity("http://a/", "other")
