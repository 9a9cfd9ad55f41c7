"""Logging in: each service in the shape of its own replies, and what must never let anybody in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.login.known import Denied, LedgerUnusable, ServiceSilent
from gpuspawner.login.recognised import Recognised
from gpuspawner.login.tokens import ALGORITHMS
from support.provider import CLIENT, SECRET, Service
from support.ssh import KEYS
from tornado.web import HTTPError

MakeLogin = Callable[..., Recognised]

KEYCLOAK = {
    "sub": "3f1e0c9a-1111-4a5b-9d3e-000000000001",
    "email_verified": True,
    "name": "Ada Lovelace",
    "groups": ["/ml/gpu", "/staff"],
    "preferred_username": "ada",
    "given_name": "Ada",
    "family_name": "Lovelace",
    "email": "ada@example.org",
}
GITLAB = {
    "sub": "4711",
    "sub_legacy": "a" * 64,
    "name": "Ada Lovelace",
    "nickname": "ada",
    "preferred_username": "ada",
    "profile": "https://gitlab.example.org/ada",
    "groups": ["lab", "lab/gpu"],
}
GOOGLE = {
    "sub": "110248495921238986420",
    "name": "Ada Lovelace",
    "picture": "https://lh3.example.org/a",
    "email": "ada@example.org",
    "email_verified": True,
    "hd": "example.org",
}
CILOGON = {
    "sub": "http://cilogon.org/serverA/users/12345",
    "idp": "https://idp.example.org/shibboleth",
    "idp_name": "Example University",
    "eppn": "ada@example.org",
    "email": "ada@example.org",
    "given_name": "Ada",
    "isMemberOf": ["gpu", "staff"],
}
GITHUB = {"login": "ada", "id": 583231, "node_id": "MDQ6", "type": "User", "name": "Ada", "email": "a@b.org"}
TEAMS = [
    {"id": 1, "name": "GPU people", "slug": "gpu-people", "organization": {"login": "lab", "id": 9}},
    {"id": 2, "name": "Staff", "slug": "staff", "organization": {"login": "lab", "id": 9}},
]


async def come_back(login: Recognised, service: Service) -> dict[str, Any] | None:
    """Come back from the service, as JupyterHub's callback does."""
    found: dict[str, Any] | None = await login.get_authenticated_user(service.make_handler(), None)
    return found


async def list_events(login: Recognised, kind: str) -> list[str]:
    """What the administrator sees of a kind."""
    await login.in_ledger(lambda people: people.list())
    assert login._identities is not None
    with login._identities._ledger.read() as unit:
        return [event.reason for event in unit.find_events(EventSearch(kind=kind), 99)]


# -- each service -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "userinfo", "login", "name", "groups"),
    [
        ("oidc", KEYCLOAK, {"allow": {"groups": ["/ml/gpu"]}}, "ada", ["/ml/gpu", "/staff"]),
        ("gitlab", GITLAB, {"allow": {"groups": ["lab/gpu"]}}, "ada", ["lab", "lab/gpu"]),
        ("google", GOOGLE, {"allow": {"domains": ["example.org"]}}, "ada@example.org", []),
        (
            "cilogon",
            CILOGON,
            {
                "allow": {"idps": ["https://idp.example.org/shibboleth"], "groups": ["gpu"]},
                "groups_claim": "isMemberOf",
            },
            "ada@example.org",
            ["gpu", "staff"],
        ),
        ("github", GITHUB, {"allow": {"groups": ["lab:gpu-people"]}}, "ada", ["lab:gpu-people", "lab:staff"]),
    ],
)
async def test_somebody_who_may(
    *,
    service: Service,
    make_login: MakeLogin,
    provider: str,
    userinfo: Any,
    login: Any,
    name: str,
    groups: Any,
) -> None:
    service.userinfo, service.teams = userinfo, TEAMS
    found = await come_back(make_login(provider, **login), service)
    assert found is not None
    assert (found["name"], found["groups"], found["admin"]) == (name, groups, False)
    (sent,) = service.tokens
    assert sent["code_verifier"] == "v" * 43  # PKCE
    assert sent["client_secret"] == SECRET


@pytest.mark.parametrize(
    ("provider", "userinfo", "allow"),
    [
        ("oidc", KEYCLOAK, {"groups": ["/ML/gpu", "ml/gpu", "/ml", "/ml/gpu "]}),
        ("oidc", KEYCLOAK, {"users": ["bob", "Ada"]}),
        ("gitlab", GITLAB, {"groups": ["lab/gpu/x"]}),
        ("google", {**GOOGLE, "hd": "example.com"}, {"domains": ["example.org"]}),
        ("google", {k: v for k, v in GOOGLE.items() if k != "hd"}, {"domains": ["example.org"]}),
        (
            "cilogon",
            {**CILOGON, "idp": "https://elsewhere"},
            {"idps": ["https://idp.example.org/shibboleth"]},
        ),
        (
            "cilogon",
            {**CILOGON, "idp": "https://x"},
            {"idps": ["https://idp.example.org/shibboleth"], "groups": ["gpu"]},
        ),
        ("cilogon", CILOGON, {"idps": ["https://idp.example.org/shibboleth"], "users": ["eve@example.org"]}),
        ("github", GITHUB, {"groups": ["lab:GPU people", "lab:gpu", "other:gpu-people"]}),
    ],
)
async def test_somebody_who_may_not(
    service: Service, make_login: MakeLogin, provider: str, userinfo: Any, allow: Any
) -> None:
    service.userinfo, service.teams = userinfo, TEAMS
    login = make_login(provider, allow=allow)
    assert await come_back(login, service) is None
    assert await login.in_ledger(lambda people: people.list()) == []


async def test_entra_has_groups_in_the_token_only(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = {"sub": "s-1", "name": "Ada", "picture": "https://graph.example.org/photo"}
    service.id_claims = {
        "groups": ["5b0e-1"],
        "preferred_username": "ada@example.org",
        "tid": "t",
        "ver": "2.0",
    }
    found = await come_back(make_login(allow={"groups": ["5b0e-1"]}), service)
    assert found is not None
    assert (found["name"], found["groups"]) == ("ada@example.org", ["5b0e-1"])


async def test_too_many_groups_for_entra_are_no_groups(service: Service, make_login: MakeLogin) -> None:
    """It then sends where to ask instead. Who is logged in stays in their groups, and nobody gains any."""
    login = make_login(allow={"groups": ["5b0e-1"]})
    service.id_claims = {"groups": ["5b0e-1"]}
    found = await come_back(login, service)
    assert found is not None
    service.id_claims = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://x"}},
    }
    assert await come_back(login, service) is None
    service.fails = {}
    found["auth_state"]["token_response"]["id_claims"] = {"sub": "s-1"}
    after = await login.refresh_user(User(found))
    assert after["groups"] == ["5b0e-1"]


async def test_who_left_out_the_scope_of_groups_keeps_none(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = dict(KEYCLOAK)
    login = make_login(allow={"everybody": True}, admins={"groups": ["/staff"]})
    found = await come_back(login, service)
    assert found is not None
    assert found["admin"] is True
    del service.userinfo["groups"]
    found = await come_back(login, service)
    assert found is not None
    assert (found["groups"], found["admin"]) == ([], False)
    after = await login.refresh_user(User(found))
    assert (after["groups"], after["admin"]) == ([], False)


async def test_who_is_taken_out_must_log_in_again(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = dict(KEYCLOAK)
    login = make_login(allow={"groups": ["/ml/gpu"]})
    found = await come_back(login, service)
    assert found is not None
    service.userinfo["groups"] = ["/staff"]
    assert await login.refresh_user(User(found)) is False


@pytest.mark.parametrize("called", ["_ada", "ada.", "\u00e4da", "\uff41da", "\u212aada"])
async def test_a_look_alike_is_not_who_a_rule_names(
    service: Service, make_login: MakeLogin, called: str
) -> None:
    login = make_login(allow={"users": ["ada", "kada"]}, admins={"users": ["ada", "kada"]})
    service.userinfo = {"sub": "s-9", "preferred_username": called}
    assert await come_back(login, service) is None


async def test_only_checked_addresses_are_kept(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    for checked, address in ((True, "ada@example.org"), (False, ""), ("yes", "")):
        service.userinfo = {"sub": "s-1", "email": "ada@example.org", "email_verified": checked}
        found = await come_back(login, service)
        assert found is not None
        (person,) = await login.in_ledger(lambda people: people.list())
        assert person.email == address


@pytest.mark.parametrize(
    "called",
    ["\ud800ada", "ada\x00", "ada\n", "\u202eada", "a" * 100_000, "\U0001f600", "../ada", "ada/x", "."],
)
async def test_names_that_nobody_is_called_by(service: Service, make_login: MakeLogin, called: str) -> None:
    service.userinfo = {"sub": "s-1", "preferred_username": called, "groups": ["ml"]}
    login = make_login(allow={"users": ["ada"], "groups": ["ml"]}, admins={"users": ["ada"]})
    found = await come_back(login, service)
    assert found is not None
    assert (found["name"] == "ada", found["admin"]) == (False, False)
    (person,) = await login.in_ledger(lambda people: people.list())
    assert len(person.shown) <= 255
    assert person.shown.isprintable()
    assert len(found["name"]) <= 50
    assert await login.refresh_user(User(found))


@pytest.mark.parametrize(
    "address",
    [
        "\u212aate@example.org",  # in small letters it is kate's
        "kate@\uff45xample.org",
        "kate@example.org\n",
        " kate@example.org",
        "\ud800@example.org",
        "k" * 300,
        ["kate@example.org"],
        {"kate@example.org": True},
    ],
)
async def test_an_address_is_nobody_else_s(service: Service, make_login: MakeLogin, address: Any) -> None:
    login = make_login()
    service.userinfo |= {"email": address, "email_verified": True}
    assert await come_back(login, service)
    (person,) = await login.in_ledger(lambda people: people.list())
    assert person.email == ""
    service.userinfo |= {"email": "K\u00e4te@example.org"}
    assert await come_back(login, service)
    (person,) = await login.in_ledger(lambda people: people.list())
    assert person.email == "K\u00e4te@example.org"


async def test_a_group_by_itself_is_not_its_letters(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = {**KEYCLOAK, "groups": "ml"}
    login = make_login(allow={"groups": ["m", "l"]})
    assert await come_back(login, service) is None


async def test_administrators_come_from_groups(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = dict(KEYCLOAK)
    login = make_login(allow={"users": ["nobody"]}, admins={"groups": ["/staff"]})
    found = await come_back(login, service)
    assert found is not None
    assert found["admin"] is True
    service.userinfo["groups"] = ["/ml/gpu"]
    assert await come_back(login, service) is None
    login = make_login(allow={"everybody": True}, admins={"groups": ["/staff"]})
    found = await come_back(login, service)
    assert found is not None
    assert found["admin"] is False  # taken away, not left as it was


async def test_names_belong_to_subjects(service: Service, make_login: MakeLogin) -> None:
    login = make_login(allow={"users": ["ada"]}, admins={"users": ["ada"]})
    first = await come_back(login, service)
    assert first is not None
    assert (first["name"], first["admin"]) == ("ada", True)
    service.userinfo = {"sub": "s-1", "preferred_username": "countess"}
    again = await come_back(login, service)
    assert again is not None
    assert (again["name"], again["admin"]) == ("ada", True)
    service.userinfo = {"sub": "s-2", "preferred_username": "ada"}
    assert await come_back(login, service) is None


# -- tokens that must not do --------------------------------------------------------------------------------


HOUR = 3600
FOREIGN_TOKENS: dict[str, dict[str, Any]] = {
    "for another hub": {"aud": "another-hub"},
    "for two hubs": {"aud": [CLIENT, "another-hub"], "azp": "another-hub"},
    "of another service": {"iss": "https://evil.example.org"},
    "expired": {"exp": -HOUR},
    "without an end": {"exp": None},
    "of the future": {"iat": HOUR},
    "of another login": {"nonce": "of another login"},
    "of no login": {"nonce": None},
    "of somebody else": {"sub": "somebody-else"},
    "of nobody": {"sub": None},
}


BY_TOKEN: dict[str, dict[str, Any]] = {
    "oidc": {},
    "gitlab": {"allow": {"groups": ["lab"]}},
    "google": {"allow": {"domains": ["example.org"]}},
    "cilogon": {"allow": {"idps": ["https://idp.example.org/shibboleth"]}},
}
"""Providers that send an ID token."""


@pytest.mark.parametrize("provider", BY_TOKEN)
@pytest.mark.parametrize("claims", FOREIGN_TOKENS.values(), ids=FOREIGN_TOKENS)
async def test_a_token_that_is_not_for_this(
    *,
    service: Service,
    make_login: MakeLogin,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    claims: Any,
) -> None:
    caplog.set_level(logging.DEBUG)
    now = int(time.time())
    service.id_claims = {
        key: now + value if isinstance(value, int) else value for key, value in claims.items()
    }
    login = make_login(provider, **BY_TOKEN[provider])
    with pytest.raises(Denied):
        await come_back(login, service)
    assert "Login refused: the ID token" in caplog.text
    for secret in (SECRET, "at-secret", "rt-secret", "the-code", service.make_id_token().split(".")[1][:20]):
        assert secret not in caplog.text
    assert len(await list_events(login, "login.bad-token")) == 1
    assert await login.in_ledger(lambda people: people.list()) == []


@pytest.mark.parametrize("provider", BY_TOKEN)
async def test_a_forged_signature_at_each(service: Service, make_login: MakeLogin, provider: str) -> None:
    service.published = rsa.generate_private_key(65537, 2048)
    with pytest.raises(Denied):
        await come_back(make_login(provider, **BY_TOKEN[provider]), service)


@pytest.mark.parametrize("provider", [*BY_TOKEN, "github"])
@pytest.mark.parametrize("answer", [None, {"error": "bad_verification_code"}, {"access_token": 7}, {}])
async def test_a_code_that_was_used_before_at_each(
    *,
    service: Service,
    make_login: MakeLogin,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    answer: Any,
) -> None:
    """Most say so by a status, GitHub in an answer that looks like a success."""
    caplog.set_level(logging.DEBUG)
    service.fails, service.token_answer = {"token": 400} if answer is None else {}, answer
    section = BY_TOKEN.get(provider, {"allow": {"users": ["ada"]}})
    with pytest.raises(Denied):
        await come_back(make_login(provider, **section), service)
    assert "the-code" not in caplog.text


@pytest.mark.parametrize("status", [401, 403])
async def test_github_refuses_its_own_token(service: Service, make_login: MakeLogin, status: int) -> None:
    service.fails = {"userinfo": status}
    with pytest.raises(Denied):
        await come_back(make_login("github", allow={"users": ["ada"]}), service)


# -- groups that look like others ---------------------------------------------------------------------------

WITH_GROUPS: dict[str, dict[str, Any]] = {
    "oidc": {},
    "gitlab": {},
    "cilogon": {"groups_claim": "isMemberOf"},
    "google": {},
    "github": {},
}
LOOKS_LIKE = ["ML", "ml ", " ml", "m l", "ml/", "/ml", "\u043cl", "\uff4d\uff4c", "m\u200bl", "ml\n", "x:ml"]


def say_groups(service: Service, provider: str, groups: Any) -> str:
    """Let the service say these groups, in its own way; the name of the group ``ml`` there."""
    service.userinfo = {
        "sub": "s-1",
        "id": 1,
        "login": "ada",
        "preferred_username": "ada",
        "email": "a@b.org",
    }
    service.userinfo |= {"hd": "example.org", "idp": "https://idp.example.org/shibboleth"}
    service.userinfo["isMemberOf" if provider == "cilogon" else "groups"] = groups
    listed = groups if isinstance(groups, list) else [groups]
    service.teams = [{"slug": one, "organization": {"login": "lab"}} for one in listed]
    return "lab:ml" if provider == "github" else "ml"


def allow_groups(provider: str, *groups: str) -> dict[str, Any]:
    more = {
        "google": {"domains": ["example.org"]},
        "cilogon": {"idps": ["https://idp.example.org/shibboleth"]},
    }
    return {**WITH_GROUPS[provider], "allow": {"groups": list(groups), **more.get(provider, {})}}


@pytest.mark.parametrize("provider", WITH_GROUPS)
async def test_groups_that_look_like_others(service: Service, make_login: MakeLogin, provider: str) -> None:
    right = say_groups(service, provider, LOOKS_LIKE)
    login = make_login(provider, **allow_groups(provider, right), admins={"groups": [right]})
    assert await come_back(login, service) is None
    say_groups(service, provider, [*LOOKS_LIKE, "ml"])
    found = await come_back(login, service)
    assert found is not None
    assert found["admin"] is True


@pytest.mark.parametrize("provider", ["oidc", "gitlab", "cilogon", "github"])
async def test_two_hundred_groups_at_each(service: Service, make_login: MakeLogin, provider: str) -> None:
    say_groups(service, provider, [f"g{n}" for n in range(200)])
    last = "lab:g199" if provider == "github" else "g199"
    found = await come_back(make_login(provider, **allow_groups(provider, last)), service)
    assert found is not None
    assert len(found["groups"]) == 200


@pytest.mark.parametrize("provider", ["oidc", "gitlab", "cilogon"])
@pytest.mark.parametrize(
    "claim",
    [
        "ml",
        "m,l",
        "ml m",
        {"ml": True},
        7,
        None,
        True,
        [["ml"]],
        '["ml"]',
        "ml\n",
        "ml,",
        ["\ud800ml"],
        [b"ml".hex()],
    ],
)
async def test_a_claim_that_is_no_list(
    service: Service, make_login: MakeLogin, provider: str, claim: Any
) -> None:
    say_groups(service, provider, claim)
    found = await come_back(make_login(provider, **allow_groups(provider, "ml")), service)
    assert (found is not None) == (claim == "ml")


# -- signatures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_a_signature_that_anybody_could_make(
    service: Service, make_login: MakeLogin, algorithm: str
) -> None:
    service.algorithm = algorithm
    with pytest.raises(Denied):
        await come_back(make_login(), service)
    assert algorithm not in ALGORITHMS


async def test_a_forged_signature(service: Service, make_login: MakeLogin) -> None:
    service.published = rsa.generate_private_key(65537, 2048)
    login = make_login()
    for _ in range(3):
        with pytest.raises(Denied):
            await come_back(login, service)
    assert service.asked.count("keys") == 1  # whoever makes up keys does not make this hub ask for each


async def test_new_keys_are_found(service: Service, make_login: MakeLogin) -> None:
    login: Any = make_login()
    assert await come_back(login, service)
    found = await come_back(login, service)
    assert found is not None
    login.keys.read_at -= 4000  # an hour later
    service.signing = rsa.generate_private_key(65537, 2048)
    assert await come_back(login, service), "the key of before is not believed any more, and the new one is"
    assert await login.refresh_user(User(found)), "who is logged in stays so"


@pytest.mark.parametrize("algorithm", ["RS512", "PS256"])
async def test_other_signatures(service: Service, make_login: MakeLogin, algorithm: str) -> None:
    service.algorithm = algorithm
    assert await come_back(make_login(), service)


@pytest.mark.parametrize("description", [{"issuer": "https://evil.example.org"}, {"jwks_uri": None}])
async def test_the_description_of_another_service(
    service: Service, make_login: MakeLogin, description: Any
) -> None:
    service.description = description
    with pytest.raises(HTTPError) as error:
        await come_back(make_login(), service)
    assert error.value.status_code == 502
    assert service.tokens == []


async def test_a_code_that_was_used_before(
    service: Service, make_login: MakeLogin, caplog: pytest.LogCaptureFixture
) -> None:
    service.fails = {"token": 400}
    with pytest.raises(Denied, match="not valid any more"):
        await come_back(make_login(), service)


@pytest.mark.parametrize("answer", [{"sub": None}, {"sub": ""}, {"sub": {"a": 1}}])
async def test_nobody_in_particular(service: Service, make_login: MakeLogin, answer: Any) -> None:
    service.userinfo = {"preferred_username": "ada", **answer}
    with pytest.raises(Denied):
        await come_back(make_login(), service)


# -- a service that is down ---------------------------------------------------------------------------------


class User:
    """Somebody who is logged in."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.name, self._state = found["name"], found["auth_state"]
        self.spawners = {"": Spawner()}

    async def get_auth_state(self) -> Any:
        return self._state


class Spawner:
    """A server that runs, and has a token of its own."""

    api_token = "the server's"


@pytest.mark.parametrize("part", ["description", "token", "userinfo", "keys"])
@pytest.mark.parametrize("status", [500, 503, 429])
async def test_down_at_a_login(service: Service, make_login: MakeLogin, part: str, status: int) -> None:
    service.fails = {part: status}
    login: Any = make_login()
    with pytest.raises(ServiceSilent) as error:
        await come_back(login, service)
    assert error.value.status_code == 503
    assert "Try again" in error.value.jupyterhub_message
    service.fails = {}
    login.keys._silent_until = 0.0  # a moment later
    assert await come_back(login, service)


@pytest.mark.parametrize("part", ["token", "userinfo"])
async def test_down_later_throws_nobody_out(service: Service, make_login: MakeLogin, part: str) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    service.fails = {"userinfo": 401, part: 503}
    assert await login.refresh_user(User(found)) is True


async def test_gone_later_throws_nobody_out(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    await service.stop()
    assert await login.refresh_user(User(found)) is True
    assert await make_login().refresh_user(User(found)) is True  # a hub that was started meanwhile


async def test_who_is_not_known_any_more_logs_in_again(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    service.fails = {"userinfo": 401, "token": 400}
    assert await login.refresh_user(User(found)) is False


async def test_what_changed_is_noticed(service: Service, make_login: MakeLogin) -> None:
    service.userinfo = dict(KEYCLOAK)
    login = make_login(admins={"groups": ["/staff"]})
    found = await come_back(login, service)
    assert found is not None
    assert found["admin"] is True
    service.userinfo["groups"] = ["/new"]
    after = await login.refresh_user(User(found))
    assert (after["groups"], after["admin"]) == (["/new"], False)
    service.userinfo["sub"] = "somebody-else"
    assert await login.refresh_user(User(found)) is False


async def test_a_broken_ledger_lets_nobody_in(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    login._identities = None
    login.ledger = "/nonexistent/ledger.db"
    with pytest.raises(HTTPError) as error:
        await come_back(login, service)
    assert error.value.status_code == 503
    assert await login.refresh_user(User(found)) is True


async def test_logs_and_messages_hold_no_secrets(
    service: Service, make_login: MakeLogin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = make_login(allow={"groups": ["none"]})
    texts = []
    for fails, claims in (({}, {}), ({"token": 400}, {}), ({"userinfo": 500}, {}), ({}, {"aud": "x"})):
        service.fails, service.id_claims = fails, claims
        try:
            await come_back(login, service)
        except HTTPError as error:
            texts.append(f"{error} {error.jupyterhub_message}")
    token = service.make_id_token()
    for secret in (SECRET, "at-secret", "rt-secret", "the-code", token.split(".")[1][:20]):
        assert secret not in caplog.text + "".join(texts)
    assert "invalid_grant" in caplog.text


async def test_github_that_hides_its_teams(service: Service, make_login: MakeLogin) -> None:
    service.userinfo, service.fails = GITHUB, {"teams": 403}
    found = await come_back(make_login("github"), service)
    assert found is not None
    assert found["groups"] == []


# -- what the administrator sees ----------------------------------------------------------------------------


async def test_a_silence_is_seen_until_it_ends(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    service.fails = {"userinfo": 500}
    for _ in range(3):
        assert await login.refresh_user(User(found)) is True
    (event,) = await list_events(login, "login.silent")
    assert "/userinfo answered with status 500" in event
    service.fails = {}
    again = make_login()  # a hub that was started meanwhile
    assert await again.refresh_user(User(found))
    assert await list_events(again, "login.answers") == ["the login service answers again"]


async def test_a_refresh_that_fails_is_seen(service: Service, make_login: MakeLogin) -> None:
    login = make_login()
    found = await come_back(login, service)
    assert found is not None
    service.fails = {"userinfo": 401, "token": 400}
    for _ in range(2):
        assert await login.refresh_user(User(found)) is False
    assert len(await list_events(login, "login.again")) == 1


class Token:
    """An API token; as much of JupyterHub's as is looked at."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id, self._secret = client_id, secret

    def match(self, secret: str) -> bool:
        return secret == self._secret


class Request:
    """A request with a token, or by a browser."""

    def __init__(self, token: Token | None) -> None:
        self.token = token

    def get_token(self) -> Token | None:
        return self.token


@pytest.mark.parametrize("how", ["refused", "removed"])
async def test_tokens_of_who_may_not_come_any_more(service: Service, make_login: MakeLogin, how: str) -> None:
    service.userinfo = dict(KEYCLOAK)
    login = make_login(allow={"groups": ["/ml/gpu"]})
    found = await come_back(login, service)
    assert found is not None
    user = User(found)
    own, of_server = Token("jupyterhub", "mine"), Token("jupyterhub", "the server's")
    assert await login.refresh_user(user, Request(own))
    if how == "refused":
        service.userinfo["groups"] = ["/staff"]
    else:
        await login.in_ledger(lambda people: people.remove("ada", actor=Actor("root", ActorKind.SHELL)))
    with pytest.raises(Denied):
        await login.refresh_user(user, Request(own))
    for other in (of_server, Token("service-gpu", "at the controller"), None):
        assert await login.refresh_user(user, Request(other)) is False
    if how == "refused":
        assert len(await list_events(login, "login.refused")) == 1
        service.userinfo["groups"] = ["/ml/gpu"]
        assert await login.refresh_user(user, Request(own))
    else:
        with pytest.raises(Denied, match="closed this hub to you"):
            await come_back(login, service)


async def test_who_was_let_in_once_is_not_let_in_for_ever(make_login: MakeLogin) -> None:
    for provider in ("oidc", "github"):
        login = make_login(provider, allow={"users": ["ada"]})
        assert login.allow_existing_users is False
        login.add_user(User({"name": "eve", "auth_state": None}))
        await login.delete_user(User({"name": "ada", "auth_state": None}))
        assert login.allowed_users == {"ada"}


async def test_who_is_deleted_at_the_hub_has_no_keys_any_more(make_login: MakeLogin) -> None:
    login = make_login()
    await login.in_ledger(lambda people: people.list())
    keys = SshKeys(login._identities._ledger)
    for number, name in enumerate(("ada", "eve")):
        keys.add(name, KEYS[number], actor=Actor(name, ActorKind.PERSON))
    await login.delete_user(User({"name": "ada", "auth_state": None}))
    assert [key.owner for key in keys.list()] == ["eve"]
    login.ledger, login._identities = "/nonexistent/ledger.db", None
    with pytest.raises(LedgerUnusable):  # so the Hub deletes nobody whose keys would stay
        await login.delete_user(User({"name": "eve", "auth_state": None}))
