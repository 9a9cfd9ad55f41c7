"""The keys of a service: when they are asked for, and when not, however many tokens come."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from gpuspawner.login.tokens import (
    FIRST_PAUSE_S,
    KEYS_AGAIN_AFTER_S,
    KEYS_LAST_S,
    BadToken,
    Keys,
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
