"""Launches from a course platform: what lets somebody in, as what, and what never does."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.launch import (
    LASTS,
    Enrolment,
    LaunchRole,
    find_role,
    list_groups,
    read_enrolments,
    renew,
    write_enrolments,
)
from gpuspawner.core.policy import resolve_allowance
from gpuspawner.login.known import Denied, ServiceSilent
from gpuspawner.policy.policy import load_policy
from hypothesis import given
from hypothesis import strategies as st
from support.provider import Service

from .conftest import make_way

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
LIS = "http://purl.imsglobal.org/vocab/lis/v2/"
LEARNER, INSTRUCTOR = f"{LIS}membership#Learner", f"{LIS}membership#Instructor"
ASSISTANT = f"{LIS}membership/Instructor#TeachingAssistant"
NONCE = "n" * 64
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)


class Platform:
    """A course platform, and a hub that it is registered at."""

    def __init__(self, folder: Path, service: Service, **login: Any) -> None:
        self.service = service
        self.users: dict[str, Any] = {}
        registration = {
            "issuer": service.url,
            "client_id": "hub",
            "authorization_url": f"{service.url}/auth",
            "keys_url": f"{service.url}/keys",
            "deployments": {1: {"42": "cs231", "43": "ml"}, "2": {"42": "physics"}},
        }
        section = {"provider": "lti", "platforms": [registration], "allow": {"everybody": True}, **login}
        self.way = make_way(folder, section)
        self.registration = self.way.find_platform(service.url, "hub")

    def make_token(self, *, signing: Any = None, algorithm: str = "RS256", **change: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.service.url,
            "aud": "hub",
            "iat": now,
            "exp": now + 300,
            "sub": "s-1",
            "nonce": NONCE,
            "email": "ada@example.org",
            f"{CLAIM}message_type": "LtiResourceLinkRequest",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": "1",
            f"{CLAIM}target_link_uri": "https://hub.example.org/hub/spawn",
            f"{CLAIM}resource_link": {"id": "r-1"},
            f"{CLAIM}context": {"id": "42", "label": "CS 231"},
            f"{CLAIM}roles": [LEARNER],
        }
        claims |= {f"{CLAIM}{key}" if f"{CLAIM}{key}" in claims else key: one for key, one in change.items()}
        claims = {key: one for key, one in claims.items() if one is not None}
        key = "secret-of-thirty-two-characters-x" if algorithm == "HS256" else signing or self.service.signing
        return jwt.encode(claims, None if algorithm == "none" else key, algorithm, headers={"kid": "one"})

    async def launch(self, token: str | None = None, nonce: str = NONCE, **change: Any) -> Any:
        """Come from the platform, as the callback does it."""
        token = self.make_token(**change) if token is None else token
        claims = await self.way.check_launch(token, self.registration, nonce)
        self.way._used.clear()
        found = await self.way.get_authenticated_user(self, {"claims": claims, "platform": self.registration})
        if found:
            self.users[found["name"]] = User(found)
        return found

    def find_user(self, name: str) -> Any:
        """As a handler of the Hub has it."""
        return self.users.get(name)

    async def events(self, kind: str) -> list[str]:
        await self.way.in_ledger(lambda people: people.list())
        with self.way._identities._ledger.read() as unit:
            return [event.reason for event in unit.find_events(EventSearch(kind=kind), 99)]


class User:
    """Somebody who is logged in."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.name, self.state = found["name"], found["auth_state"]

    async def get_auth_state(self) -> Any:
        return self.state


MakePlatform = Callable[..., Platform]


@pytest.fixture
def make_platform(tmp_path: Path, service: Service) -> MakePlatform:
    return lambda **login: Platform(tmp_path, service, **login)


# -- who comes, as what -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "groups"),
    [
        ([LEARNER], ["course:cs231", "course:cs231:students"]),
        ([INSTRUCTOR], ["course:cs231", "course:cs231:teachers"]),
        ([INSTRUCTOR, ASSISTANT], ["course:cs231", "course:cs231:assistants"]),
        (LEARNER, ["course:cs231", "course:cs231:students"]),  # by itself, not in a list
        ([f"{LIS}institution/person#Instructor", f"{LIS}system/person#Administrator"], []),
        ([], []),
        ([7, None, {"a": 1}], []),
    ],
)
async def test_roles_become_groups(make_platform: MakePlatform, roles: Any, groups: list[str]) -> None:
    found = await make_platform().launch(roles=roles)
    assert (found["name"], found["groups"]) == ("ada@example.org", groups)


async def test_only_whom_a_rule_names(make_platform: MakePlatform) -> None:
    platform = make_platform(
        allow={"groups": ["course:cs231"]}, admins={"groups": ["course:ml:teachers"]}, username_claim="sub"
    )
    assert (await platform.launch())["name"] == "s-1"
    assert await platform.launch(sub="s-2", context={"id": "43"}) is None
    assert await platform.launch(sub="s-3", deployment_id="2") is None
    teacher = await platform.launch(sub="s-4", context={"id": "43"}, roles=[INSTRUCTOR])
    assert teacher["admin"] is True
    assert (await platform.launch(sub="s-5", roles=[INSTRUCTOR]))["admin"] is False


async def test_groups_drive_the_policy(make_platform: MakePlatform, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "groups: {default: {gpus_per_person: 0}, 'course:cs231': {},"
        " 'course:cs231:teachers': {gpus_per_person: 2}}\n"
        "courses: {cs231: {group: 'course:cs231', image: base, gpus_per_person: 1}}\n"
    )
    platform, rules = make_platform(username_claim="sub"), load_policy(policy, images=None)
    for subject, roles, gpus in (("s-1", LEARNER, 1), ("s-2", INSTRUCTOR, 2), ("s-3", "Mentor", 0)):
        found = await platform.launch(sub=subject, roles=[roles])
        allowance = resolve_allowance(rules, found["name"], found["groups"])
        assert allowance.gpus_per_person.value == gpus


@pytest.mark.parametrize(
    "context",
    [{"id": "42 "}, {"id": "\uff14\uff12"}, {"id": 42}, {"id": ["42"]}, {"label": "42"}, "42", None],
)
async def test_a_course_that_looks_like_another(make_platform: MakePlatform, context: Any) -> None:
    platform = make_platform(allow={"groups": ["course:cs231"]})
    try:
        assert await platform.launch(context=context) is None
    except Denied:
        assert context == "42"


@pytest.mark.parametrize(
    "role",
    [LEARNER.upper(), f"{LEARNER} ", f" {LEARNER}", f"{LEARNER}/", "learner", LEARNER.replace("a", "\u0430")],
)
async def test_a_role_that_looks_like_another(make_platform: MakePlatform, role: str) -> None:
    assert (await make_platform().launch(roles=[role]))["groups"] == []


async def test_two_hundred_courses(make_platform: MakePlatform, service: Service) -> None:
    platform = make_platform()
    platform.registration["deployments"]["1"] = {str(n): f"c{n}" for n in range(200)}
    for n in range(200):
        found = await platform.launch(context={"id": str(n)})
    assert len(found["groups"]) == 400
    assert (await platform.launch(roles=[LEARNER] * 5000))["groups"]


async def test_an_unknown_course_is_told_to_the_administrator(make_platform: MakePlatform) -> None:
    platform = make_platform()
    for _ in range(2):
        assert (await platform.launch(context={"id": "77"}))["groups"] == []
    (event,) = await platform.events("login.unknown-course")
    assert "deployment '1', context '77'" in event


async def test_who_works_in_two_courses_loses_neither(make_platform: MakePlatform) -> None:
    platform = make_platform()
    await platform.launch()
    both = await platform.launch(context={"id": "43"}, roles=[INSTRUCTOR])
    assert both["groups"] == ["course:cs231", "course:cs231:students", "course:ml", "course:ml:teachers"]
    left = await platform.launch(roles=[])  # not in it any more, says the course itself
    assert left["groups"] == ["course:ml", "course:ml:teachers"]


async def test_a_name_is_not_a_person(make_platform: MakePlatform, service: Service) -> None:
    platform = make_platform()
    assert (await platform.launch())["name"] == "ada@example.org"
    assert (await platform.launch(email="countess@example.org"))["name"] == "ada@example.org"
    assert (await platform.launch(sub="s-2"))["name"] == "ada@example.org-2"
    custom = make_platform(username_claim="custom_login")
    found = await custom.launch(sub="s-9", **{f"{CLAIM}custom": {"login": "grace"}})
    assert found["name"] == "grace"


async def test_rules_and_rosters_mean_nobody_by_what_a_platform_calls_them(
    make_platform: MakePlatform,
) -> None:
    """A learner can set such a name at the platform, before its owner ever comes here."""
    platform = make_platform()
    way = platform.way
    way.admin_names, way.allowed_users, way.everybody = {"root@example.org"}, {"root@example.org"}, False
    for claim in ("email", "preferred_username"):
        assert await platform.launch(sub=claim, **{claim: "root@example.org"}, roles=[INSTRUCTOR]) is None
    way.everybody = True
    for _ in range(2):  # who is known is not named by that either
        found = await platform.launch(email="root@example.org", roles=[INSTRUCTOR])
        assert (found["name"], found["admin"]) == ("root@example.org-2", False)
    squatter = await platform.launch(sub="s-8", email="later@example.org")
    way.admin_names = {"later@example.org"}  # a rule that is written when somebody has the name
    assert squatter["name"] == "later@example.org"
    assert (await platform.launch(sub="s-8", email="later@example.org"))["admin"] is False
    assert (await way.refresh_user(User(squatter)))["admin"] is False


async def test_a_roster_s_name_is_not_taken_by_who_is_called_so_at_the_platform(
    make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerUnit, "roster_names", lambda _: frozenset({"prof@example.org", "s-7"}))
    assert (await make_platform().launch(email="prof@example.org"))["name"] == "prof@example.org-2"
    by_subject = make_platform(username_claim="sub")
    assert (await by_subject.launch(sub="s-7"))["name"] == "s-7"


async def test_a_rule_may_name_a_subject(make_platform: MakePlatform) -> None:
    rules = {"allow": {"users": ["s-1"]}, "admins": {"users": ["s-9"]}, "username_claim": "sub"}
    platform = make_platform(**rules)
    assert (await platform.launch(email="x@example.org"))["name"] == "s-1"
    assert (await platform.launch(sub="s-9"))["admin"] is True
    assert await platform.launch(sub="s-2", email="s-1", preferred_username="s-9") is None


async def test_only_checked_addresses_are_kept(make_platform: MakePlatform) -> None:
    platform = make_platform()
    for checked, address in ((True, "ada@example.org"), (False, ""), ("true", ""), (None, "")):
        await platform.launch(email_verified=checked)
        (person,) = await platform.way.in_ledger(lambda people: people.list())
        assert person.email == address


@pytest.mark.parametrize("called", ["\ud800ada", "ada\x00\n", "\u202eada", "a" * 100_000, "../../ada"])
async def test_what_people_write_as_their_name_is_survived(make_platform: MakePlatform, called: str) -> None:
    platform = make_platform(username_claim="name")
    found = await platform.launch(name=called, email_verified=True, email="\u212aate@example.org")
    (person,) = await platform.way.in_ledger(lambda people: people.list())
    assert person.shown.isprintable()
    assert (len(person.shown) <= 255, person.email) == (True, "")
    assert not set(found["name"]) & set("/\\ \x00:")
    assert (await platform.way.refresh_user(User(found)))["name"] == found["name"]


@pytest.mark.parametrize("subject", ["S-1 ", " s-1", "\uff53-1", "s-1\u200b", "s-\u0661"])
async def test_a_subject_that_looks_like_the_one_of_a_rule(make_platform: MakePlatform, subject: str) -> None:
    rules = {"allow": {"users": ["s-1"]}, "admins": {"users": ["s-1"]}, "username_claim": "sub"}
    platform = make_platform(**rules)
    try:
        assert await platform.launch(sub=subject) is None
    except Denied:
        assert not subject.isprintable()
    found = await platform.launch()
    assert (found["name"], found["admin"]) == ("s-1", True)


# -- tokens that must not do --------------------------------------------------------------------------------

BAD: dict[str, dict[str, Any]] = {
    "for another hub": {"aud": "another"},
    "for two hubs": {"aud": ["hub", "another"]},
    "for two hubs, and the other": {"aud": ["hub", "another"], "azp": "another"},
    "of another platform": {"iss": "https://evil.example.org"},
    "expired": {"exp": 1000},
    "without an end": {"exp": None},
    "of long ago": {"iat": 1000},
    "of the future": {"iat": int(time.time()) + 7200},
    "of another login": {"nonce": "m" * 64},
    "of no login": {"nonce": None},
    "of another deployment": {"deployment_id": "3"},
    "of a deployment that looks like one": {"deployment_id": "1 "},
    "of a deployment that is none": {"deployment_id": 1},
    "of no deployment": {"deployment_id": None},
    "of nobody": {"sub": None},
    "of another version": {"version": "1.2.0"},
    "for choosing content": {"message_type": "LtiDeepLinkingRequest"},
    "no launch": {"message_type": None},
    "without a link": {"resource_link": "r-1"},
    "without roles": {"roles": None},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
async def test_a_token_that_is_not_for_this(
    make_platform: MakePlatform, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    platform = make_platform()
    token = platform.make_token(**change)
    with pytest.raises(Denied):
        await platform.launch(token)
    assert "Login refused: the ID token" in caplog.text
    for secret in token.split("."):
        assert secret[:24] not in caplog.text
    assert len(await platform.events("login.bad-token")) == 1
    assert await platform.way.in_ledger(lambda people: people.list()) == []


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_a_signature_that_anybody_could_make(make_platform: MakePlatform, algorithm: str) -> None:
    platform = make_platform()
    with pytest.raises(Denied):
        await platform.launch(algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "PS256"])
async def test_a_signature_of_another_kind_than_the_key(make_platform: MakePlatform, algorithm: str) -> None:
    platform = make_platform()
    _, claims, signature = platform.make_token().split(".")
    header = {"alg": algorithm, "kid": jwt.get_unverified_header(platform.make_token())["kid"]}
    begin = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    with pytest.raises(Denied):
        await platform.launch(f"{begin}.{claims}.{signature}")
    assert len(await platform.events("login.bad-token")) == 1


async def test_a_forged_signature(make_platform: MakePlatform, service: Service) -> None:
    platform = make_platform()
    forged = platform.make_token(signing=rsa.generate_private_key(65537, 2048))
    for token in (forged, forged[:-6], "", "a.b.c", "\u00e9"):
        with pytest.raises(Denied):
            await platform.launch(token)
    assert service.asked.count("keys") == 1


async def test_a_token_of_another_platform_with_its_own_key(
    make_platform: MakePlatform, service: Service
) -> None:
    """A platform that is registered too says it is the first one, or the first one's client."""
    platform = make_platform()
    platform.registration = {**platform.registration, "issuer": "https://other.example.org"}
    with pytest.raises(Denied):
        await platform.launch()


async def test_a_token_that_was_used_before(make_platform: MakePlatform) -> None:
    platform = make_platform()
    token = platform.make_token()
    assert await platform.way.check_launch(token, platform.registration, NONCE)
    with pytest.raises(Denied):
        await platform.way.check_launch(token, platform.registration, NONCE)
    assert await platform.events("login.bad-token") == ["a login was refused: the ID token was used before"]


def test_platforms_that_are_not_registered(make_platform: MakePlatform, service: Service) -> None:
    way = make_platform().way
    assert way.find_platform(service.url, "") is not None
    for issuer, client in (
        (f"{service.url}/", ""),
        (service.url, "another"),
        ("", ""),
        ("https://evil", "hub"),
    ):
        assert way.find_platform(issuer, client) is None


# -- later --------------------------------------------------------------------------------------------------


async def test_a_platform_that_is_down(make_platform: MakePlatform, service: Service) -> None:
    platform = make_platform()
    found = await platform.launch()
    platform.way._keys.clear()
    service.fails = {"keys": 500}
    with pytest.raises(ServiceSilent):
        await platform.launch()
    assert len(await platform.events("login.silent")) == 1
    again = await platform.way.refresh_user(User(found))
    assert again["groups"] == found["groups"]
    service.fails = {}
    platform.way._keys.clear()  # a little later
    assert await platform.launch()
    assert await platform.events("login.answers") == ["the login service answers again"]


async def test_what_a_launch_said_ends(make_platform: MakePlatform) -> None:
    platform = make_platform(allow={"groups": ["course:cs231"]})
    user = User(await platform.launch())
    assert (await platform.way.refresh_user(user))["groups"] == ["course:cs231", "course:cs231:students"]
    user.state["courses"][0]["at"] = (datetime.now(UTC) - LASTS).isoformat()
    assert await platform.way.refresh_user(user) is False


async def test_who_was_removed(make_platform: MakePlatform) -> None:
    platform = make_platform()
    user = User(await platform.launch())
    root = Actor("root", ActorKind.SHELL)
    await platform.way.in_ledger(lambda people: people.remove(user.name, actor=root))
    assert await platform.way.refresh_user(user) is False
    with pytest.raises(Denied, match="closed this hub to you"):
        await platform.launch()


# -- pure ---------------------------------------------------------------------------------------------------


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=60), st.lists, max_leaves=9))
def test_any_claim_of_roles_is_survived(claim: Any) -> None:
    assert find_role(claim) in {None, *LaunchRole}


def test_the_best_and_the_safest_role() -> None:
    assert find_role([LEARNER, INSTRUCTOR]) is LaunchRole.TEACHER
    assert find_role([f"{LIS}membership/Instructor#PrimaryInstructor"]) is LaunchRole.TEACHER
    assert find_role([f"{LIS}membership/Learner#Instructor"]) is LaunchRole.STUDENT
    assert find_role([f"{LIS}membership/Administrator#Instructor"]) is None


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), st.sampled_from([None, *LaunchRole]))
def test_enrolments_are_kept_as_written(courses: list[str], role: LaunchRole | None) -> None:
    found: tuple[Enrolment, ...] = ()
    for number, course in enumerate(courses):
        found = renew(found, course, role, NOW + timedelta(days=number))
    assert read_enrolments(write_enrolments(found)) == found
    assert len({one.course for one in found}) == len(found)
    assert list_groups(found, NOW + timedelta(days=99)) == ()


@pytest.mark.parametrize("stored", [None, 7, [7], [{}], [{"course": "a", "role": "root", "at": "x"}]])
def test_enrolments_that_nobody_wrote(stored: Any) -> None:
    assert read_enrolments(stored) == ()
