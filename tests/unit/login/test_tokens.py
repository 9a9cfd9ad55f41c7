"""The keys of a service: when they are asked for, and when not, however many tokens come."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gpuspawner.login.tokens import (
    FIRST_PAUSE_S,
    KEYS_AGAIN_AFTER_S,
    KEYS_LAST_S,
    LEEWAY_S,
    BadToken,
    Keys,
    check_token,
)

SIGNING = rsa.generate_private_key(65537, 2048)
PUBLIC = {**jwt.algorithms.RSAAlgorithm.to_jwk(SIGNING.public_key(), as_dict=True), "kid": "one"}


class Service:
    """Answers with its keys, or not at all."""

    def __init__(self) -> None:
        self.now, self.asked, self.down = 1000.0, 0, False
        self.answer: dict[str, Any] = {"keys": [PUBLIC]}
        self.keys = Keys(self.read, lambda: self.now)

    async def read(self, url: str) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            raise OSError("nobody there")
        return self.answer

    async def find(self, key_id: object = "one") -> str:
        try:
            await self.keys.find("https://login/keys", key_id)
        except (BadToken, OSError) as error:
            return type(error).__name__
        return "found"


async def test_a_service_that_is_down_is_seldom_asked() -> None:
    service = Service()
    service.down = True
    asked = []
    for _ in range(1000):  # ten tokens each second
        assert await service.find() == "OSError"
        asked.append(service.asked)
        service.now += 0.1
    assert service.asked == 7, "after 0, 1, 3, 7, 15, 31 and 63 s"
    service.down = False
    service.now += KEYS_AGAIN_AFTER_S
    assert await service.find() == "found"
    service.down, service.now = True, service.now + KEYS_LAST_S + 1
    assert [await service.find() for _ in range(3)] == ["OSError"] * 3
    assert service.asked == 9
    service.down, service.now = False, service.now + FIRST_PAUSE_S
    assert await service.find() == "found", "the pause is the first one again"


async def test_who_has_a_known_key_does_not_wait_for_those_who_have_none() -> None:
    service = Service()
    assert await service.find() == "found"
    service.down, service.now = True, service.now + KEYS_AGAIN_AFTER_S + 1
    assert await service.find("two") == "OSError"
    assert await service.find("one") == "found"
    assert service.asked == 2


@pytest.mark.parametrize("down", [True, False])
async def test_many_tokens_at_a_time_ask_once(down: bool) -> None:
    service = Service()
    service.down = down
    found = await asyncio.gather(*(service.find(f"made up {number}") for number in range(200)))
    assert set(found) == {"OSError" if down else "BadToken"}
    assert service.asked == 1


async def test_one_who_gives_up_leaves_the_turn_to_the_next() -> None:
    service = Service()
    first = asyncio.create_task(service.find())
    second = asyncio.create_task(service.find())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "found"


# -- what is in keys and tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {**PUBLIC, "alg": ["RS256"]},
        {**PUBLIC, "n": 5},
        {**PUBLIC, "e": "\u00e9"},
        {"kty": ["RSA"], "kid": "one"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": None, "kid": "two"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
        {**PUBLIC, "use": "enc"},
        "one",
        None,
    ],
)
async def test_a_key_that_cannot_be_used_spoils_no_other(odd: Any) -> None:
    service = Service()
    service.answer = {"keys": [PUBLIC, odd, {**PUBLIC, "kid": "last"}]}
    assert [await service.find(key_id) for key_id in ("one", "last")] == ["found", "found"]


@pytest.mark.parametrize(
    "answer", [{}, {"keys": None}, {"keys": {"one": PUBLIC}}, {"keys": "one"}, {"keys": []}]
)
async def test_an_answer_without_keys_makes_no_token_good(answer: dict[str, Any]) -> None:
    service = Service()
    service.answer = answer
    assert [await service.find(key_id) for key_id in ("one", None, 0, "0")] == ["BadToken"] * 4


def make_token(**change: Any) -> str:
    now = int(time.time())
    claims = {"iss": "https://login", "aud": "hub", "iat": now, "exp": now + 300, "sub": "s-1", **change}
    return sign(json.dumps(claims).encode())


def sign(payload: bytes) -> str:
    return jwt.PyJWS().encode(payload, SIGNING, "RS256", headers={"kid": "one"})


async def check(token: object) -> dict[str, Any]:
    return await check_token(token, Service().keys, "https://keys", audience="hub", issuer="https://login")


GOOD: list[dict[str, Any]] = [{}, {"aud": ["hub"]}, {"aud": ["hub", "other"], "azp": "hub"}]
BAD: list[dict[str, Any]] = [
    {"aud": ["hub", "other"]},  # for two, and for whom of them is not said
    {"aud": ["hub", "hub"], "azp": "other"},
    {"aud": ["HUB"]},
    {"aud": "hub "},
    {"aud": "hub,other"},
    {"aud": []},
    {"aud": {"hub": True}},
    {"azp": ["hub"]},
    {"azp": ""},
    {"azp": None},
    {"iss": "https://login/"},
    {"iss": "https://LOGIN"},
    {"iss": ["https://login"]},
    {"exp": -LEEWAY_S - 1},  # seconds from now, for names of tests must be the same in all processes
    {"exp": "never"},
    {"exp": None},
    {"exp": float("nan")},
    {"exp": float("inf")},
    {"exp": float("-inf")},
    {"iat": float("inf")},
    {"nbf": float("inf")},
    {"nbf": 3600},
]


@pytest.mark.parametrize("change", GOOD, ids=str)
async def test_a_token_for_this_hub(change: dict[str, Any]) -> None:
    assert (await check(make_token(**change)))["sub"] == "s-1"


@pytest.mark.parametrize("change", BAD, ids=str)
async def test_a_token_for_no_such_hub_or_time(change: dict[str, Any]) -> None:
    change = {
        name: value + int(time.time()) if isinstance(value, int) else value for name, value in change.items()
    }
    with pytest.raises(BadToken):
        await check(make_token(**change))


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"hub"', b"\xff", b"", b"[" * 50_000])
async def test_claims_that_are_none(payload: bytes) -> None:
    with pytest.raises(BadToken):
        await check(sign(payload))


def encode(text: bytes) -> str:
    return urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 50_000,
        b'{"alg":"RS256","kid":' + b"[" * 50_000,
        b'{"alg":["RS256"],"kid":"one"}',
        b'{"alg":"rs256","kid":"one"}',
        b'{"alg":"RS256 ","kid":"one"}',
        b'{"alg":"RS256","kid":["one"]}',
        b'{"alg":"RS256","kid":1e999}',
        b'{"alg":"RS256","kid":"\\ud800"}',
        b'{"alg":"RS256","kid":"one","crit":["x"]}',
        b'{"alg":"RS256","kid":"one","b64":false}',
        b'{"alg":"RS256","jwk":{"kty":"oct","k":"AA"}}',
        b'{"alg":"none","alg":"None"}',
        b"null",
        b"\xff",
        b"",
    ],
)
async def test_a_header_that_somebody_made_up(header: bytes) -> None:
    _, claims, signature = make_token().split(".")
    with pytest.raises(BadToken):
        await check(f"{encode(header)}.{claims}.{signature}")


@pytest.mark.parametrize("token", [None, 7, b"a.b.c", ["a.b.c"], "", "...", "a" * 1_000_000, "a.b.c.d.e"])
async def test_what_is_no_token(token: object) -> None:
    with pytest.raises(BadToken):
        await check(token)
