"""The addresses that services send people back to, with whatever anybody may put into them."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from gpuspawner.login.known import LedgerUnusable
from gpuspawner.login.recognised import Recognised
from oauthenticator.oauth2 import STATE_COOKIE_NAME, _serialize_state
from support.provider import Service
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, create_signed_value

from .conftest import make_way
from .test_lti import Platform

MakeLogin = Callable[..., Recognised]
COOKIE_SECRET = "s" * 32
SECTIONS: dict[str, dict[str, Any]] = {
    "oidc": {},
    "gitlab": {"allow": {"groups": ["lab"]}},
    "google": {"allow": {"domains": ["example.org"]}},
    "cilogon": {"allow": {"idps": ["https://idp.example.org/shibboleth"]}},
    "github": {"allow": {"users": ["ada"]}},
}


class Hub:
    """As much of the Hub as its handlers need before somebody is logged in."""

    base_url = "/hub/"
    server = type("Server", (), {"base_url": "/hub/"})


class Doors:
    """The addresses of one way to log in, served."""

    def __init__(self, way: Any, callback: str) -> None:
        self.way, self.callback = way, callback
        self.entered: list[Any] = []

    def start(self) -> None:
        doors = self

        def open_door(kind: type[RequestHandler]) -> type[RequestHandler]:
            class Door(kind):  # type: ignore[valid-type, misc]
                """The handler itself, without the Hub's database around it."""

                async def prepare(self) -> None:
                    self._jupyterhub_user = None

                def set_default_headers(self) -> None:
                    pass

                def write_error(self, status_code: int, **kwargs: Any) -> None:
                    error = kwargs["exc_info"][1]
                    self.finish(getattr(error, "jupyterhub_message", "an error"))

                async def login_user(self, data: Any = None) -> Any:
                    found = await doors.way.get_authenticated_user(self, data)
                    doors.entered.append(found)
                    if found is None:
                        raise HTTPError(403)
                    return type("User", (), {"name": found["name"], "url": "/user/x/"})

                def get_next_url(self, user: Any = None, default: Any = None) -> str:
                    return "/hub/spawn"

                def find_user(self, name: str) -> None:
                    return None

            return Door

        rules = [(f"/hub/{path.lstrip('/')}", open_door(kind)) for path, kind in self.way.get_handlers(None)]
        settings = {
            "authenticator": self.way,
            "hub": Hub,
            "base_url": "/",
            "cookie_secret": COOKIE_SECRET,
            "log": logging.getLogger("hub"),
            "cookie_options": {},
            "db": type("Database", (), {"dirty": ()}),
        }
        sockets = bind_sockets(0, "127.0.0.1")
        self.server = HTTPServer(Application(rules, **settings))
        self.server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def ask(
        self, path: str, query: dict[str, str], *, cookies: dict[str, str] | None = None, post: bool = False
    ) -> HTTPResponse:
        headers = {}
        if cookies:
            signed = {
                name: create_signed_value(COOKIE_SECRET, name, value).decode()
                for name, value in cookies.items()
            }
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in signed.items())
        text = urlencode(query)
        request = HTTPRequest(
            f"{self.url}{path}" if post else f"{self.url}{path}?{text}",
            method="POST" if post else "GET",
            body=text if post else None,
            headers=headers,
            follow_redirects=False,
            request_timeout=5,
        )
        return await AsyncHTTPClient().fetch(request, raise_error=False)


@pytest.fixture
async def open_doors() -> AsyncIterator[Callable[[Any, str], Doors]]:
    opened: list[Doors] = []

    def make(way: Any, callback: str) -> Doors:
        opened.append(Doors(way, callback))
        opened[-1].start()
        return opened[-1]

    yield make
    for doors in opened:
        doors.server.stop()
        await doors.server.close_all_connections()


def encode(text: bytes) -> str:
    """Anything, as a state is written."""
    return urlsafe_b64encode(text).decode().rstrip("=")


STATE = _serialize_state({"state_id": "1234"})
KEPT = _serialize_state({"state_id": "1234", "code_verifier": "v" * 43})
BAD: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "nothing": ({}, {}),
    "no cookie": ({"code": "the-code", "state": STATE}, {}),
    "another state": (
        {"code": "the-code", "state": _serialize_state({"state_id": "5"})},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "no state": ({"code": "the-code"}, {STATE_COOKIE_NAME: KEPT}),
    "no code": ({"state": STATE}, {STATE_COOKIE_NAME: KEPT}),
    "a state that is none": ({"code": "the-code", "state": "\u00e9{{"}, {STATE_COOKIE_NAME: KEPT}),
    "a state without an id": (
        {"code": "the-code", "state": _serialize_state({})},
        {STATE_COOKIE_NAME: _serialize_state({})},
    ),
    "a list": (
        {"code": "the-code", "state": _serialize_state([1])},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "another letter than the cookie": (
        {"code": "the-code", "state": _serialize_state({"state_id": "\uff11234"})},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "a state that says an id twice": (
        {"code": "the-code", "state": encode(b'{"state_id": "1234", "state_id": ["logged in"]}')},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "nests": (
        {"code": "the-code", "state": encode(b'{"state_id":' + b"[" * 30_000)},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "words for the log": (
        {"code": "the-code", "state": encode(b"root logged in")},
        {STATE_COOKIE_NAME: KEPT},
    ),
    "an error": (
        {"error": "x\nINFO root logged in", "error_description": "call +1 555", "state": STATE},
        {STATE_COOKIE_NAME: KEPT},
    ),
}


@pytest.mark.parametrize("provider", SECTIONS)
@pytest.mark.parametrize("bad", BAD)
async def test_what_no_login_of_this_browser_brings(
    *,
    service: Service,
    make_login: MakeLogin,
    open_doors: Callable[[Any, str], Doors],
    caplog: pytest.LogCaptureFixture,
    provider: str,
    bad: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    doors = open_doors(make_login(provider, **SECTIONS[provider]), "/hub/oauth_callback")
    query, cookies = BAD[bad]
    answer = await doors.ask("/hub/oauth_callback", query, cookies=cookies)
    assert answer.code == 403
    assert b"call +1" not in answer.body
    assert service.tokens == [], "no code is exchanged for it"
    assert doors.entered == []
    # Lines of requests are the Hub's own there, which leaves out codes and states.
    said = "\n".join(record.getMessage() for record in caplog.records if record.name != "tornado.access")
    assert "the-code" not in said
    assert "logged in" not in said


@pytest.mark.parametrize("provider", SECTIONS)
async def test_a_login_begins_with_pkce_and_a_state(
    service: Service, make_login: MakeLogin, open_doors: Callable[[Any, str], Doors], provider: str
) -> None:
    doors = open_doors(make_login(provider, **SECTIONS[provider]), "/hub/oauth_callback")
    answer = await doors.ask("/hub/oauth_login", {})
    assert answer.code == 302
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert len(asked["code_challenge"][0]) == 43
    assert asked["response_type"] == ["code"]
    assert ("nonce" in asked) == (provider != "github")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert asked["state"][0] not in cookie


# -- LTI ----------------------------------------------------------------------------------------------------


@pytest.fixture
def lti(tmp_path: Path, service: Service, open_doors: Callable[[Any, str], Doors]) -> Doors:
    platform = Platform(tmp_path, service)
    doors = open_doors(platform.way, "/hub/lti13/oauth_callback")
    doors.platform = platform  # type: ignore[attr-defined]
    return doors


async def begin(doors: Doors, **change: str) -> tuple[dict[str, list[str]], dict[str, str], HTTPResponse]:
    """Begin a launch: what the platform is asked, and the browser's cookies."""
    issuer = doors.platform.service.url  # type: ignore[attr-defined]
    query = {"iss": issuer, "login_hint": "7", "target_link_uri": f"{doors.url}/hub/spawn", **change}
    answer = await doors.ask("/hub/lti13/oauth_login", query, post=True)
    asked = parse_qs(urlsplit(answer.headers.get("Location", "")).query)
    cookies = dict(one.split(";")[0].split("=", 1) for one in answer.headers.get_list("Set-Cookie"))
    return asked, cookies, answer


async def finish(doors: Doors, cookies: dict[str, str], **form: str) -> HTTPResponse:
    request = HTTPRequest(
        f"{doors.url}/hub/lti13/oauth_callback",
        method="POST",
        body=urlencode(form),
        headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        follow_redirects=False,
        request_timeout=5,
    )
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def test_a_launch(lti: Doors, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked, cookies, answer = await begin(lti, lti_message_hint="m", client_id="hub", lti_deployment_id="1")
    assert answer.headers["Location"].startswith(f"{lti.platform.service.url}/auth?")  # type: ignore[attr-defined]
    assert (asked["response_type"], asked["response_mode"]) == (["id_token"], ["form_post"])
    assert (asked["login_hint"], asked["lti_message_hint"]) == (["7"], ["m"])
    assert asked["redirect_uri"] == [f"{lti.url}/hub/lti13/oauth_callback"]
    token = lti.platform.make_token(  # type: ignore[attr-defined]
        nonce=asked["nonce"][0], target_link_uri=f"{lti.url}/hub/user-redirect/lab?a=1"
    )
    done = await finish(lti, cookies, id_token=token, state=asked["state"][0])
    assert (done.code, done.headers["Location"]) == (302, "/hub/user-redirect/lab?a=1")
    assert lti.entered[0]["groups"] == ["course:cs231", "course:cs231:students"]
    replayed = await finish(lti, cookies, id_token=token, state=asked["state"][0])
    assert replayed.code == 403
    assert len(lti.entered) == 1
    said = "\n".join(record.getMessage() for record in caplog.records if record.name == "hub")
    assert token.split(".")[1][:24] not in said


@pytest.mark.parametrize("error", [LedgerUnusable(), ValueError("broken")])
async def test_what_fails_is_logged_without_the_address(
    tmp_path: Path,
    open_doors: Callable[[Any, str], Doors],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """Such as an invitation that is opened while the ledger cannot be used."""
    way = make_way(tmp_path, {"provider": "local", "allow": {"everybody": True}})

    async def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr(way, "in_accounts", fail)
    answer = await open_doors(way, "").ask("/hub/invitation", {"token": "the-secret"})
    assert answer.code in {500, 503}
    said = [record.getMessage() for record in caplog.records if record.name != "tornado.access"]
    assert any("GET /hub/invitation" in line for line in said)
    assert "the-secret" not in "\n".join(said)


async def test_a_launch_of_another_browser(lti: Doors) -> None:
    asked, cookies, _ = await begin(lti)
    _, others, _ = await begin(lti)
    token = lti.platform.make_token(nonce=asked["nonce"][0])  # type: ignore[attr-defined]
    form = {"id_token": token, "state": asked["state"][0]}
    for kept, sent in (({}, form), (others, form), (cookies, {**form, "state": ""}), (cookies, {})):
        assert (await finish(lti, kept, **sent)).code == 403
    mixed = {**cookies, "lti13authenticator-nonce-state": others["lti13authenticator-nonce-state"]}
    assert (await finish(lti, mixed, **form)).code == 403
    refused = {"error": "login_required", "error_description": "call +1 555", "state": asked["state"][0]}
    answer = await finish(lti, cookies, **refused)
    assert answer.code == 403
    assert b"+1" not in answer.body
    assert lti.entered == []
    assert (await finish(lti, cookies, **form)).code == 302


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example.org"},
        {"client_id": "x"},
        {"lti_deployment_id": "9"},
        {"login_hint": ""},
        {"iss": ""},
    ],
)
async def test_no_login_begins_for_a_stranger(lti: Doors, change: dict[str, str]) -> None:
    _, _, answer = await begin(lti, **change)
    assert answer.code == 403
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example.org",
        "//evil.example.org",
        "https://hub//evil",
        "javascript:alert(1)",
        "",
        "http://[",
        "https://hub/\\evil",
        "https://hub/hub/logout",
        "https://hub/hub/lti13/oauth_login",
    ],
)
async def test_a_launch_leads_nowhere_else(lti: Doors, target: str) -> None:
    asked, cookies, _ = await begin(lti, target_link_uri="https://evil.example.org/")
    token = lti.platform.make_token(nonce=asked["nonce"][0], target_link_uri=target)  # type: ignore[attr-defined]
    done = await finish(lti, cookies, id_token=token, state=asked["state"][0])
    assert (done.code, done.headers["Location"]) == (302, "/hub/spawn")


async def test_cookies_over_https_cross_sites_and_do_not_last(
    tmp_path: Path, service: Service, open_doors: Callable[[Any, str], Doors]
) -> None:
    platform = Platform(tmp_path, service)
    platform.way.uri_scheme = "https"
    doors = open_doors(platform.way, "")
    doors.platform = platform  # type: ignore[attr-defined]
    _, _, answer = await begin(doors)
    for cookie in answer.headers.get_list("Set-Cookie"):
        assert {"HttpOnly", "Secure", "SameSite=None"} <= {part.strip() for part in cookie.split(";")}


def test_no_other_pages(tmp_path: Path, service: Service) -> None:
    """None for signing up, and no description that promises what is not there."""
    way = make_way(tmp_path, {"provider": "local", "allow": {"everybody": True}})
    pages = ["/login", "/invitation", "/password"]
    assert [path for path, _ in way.get_handlers(None)] == [*pages, "/api/users/([^/]+)"]
    assert len(Platform(tmp_path, service).way.get_handlers(None)) == 3
