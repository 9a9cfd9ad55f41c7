"""ID tokens: checked as OpenID Connect Core 1.0, 3.1.3.7, has it, signature included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the service can make. Not those with a shared secret, and never none."""
LEEWAY_S = 60
"""By so much clocks may differ, in seconds."""
KEYS_AGAIN_AFTER_S = 60
"""Keys that are not known are asked for once in so long, in seconds: tokens can be made up faster."""
KEYS_LAST_S = 3600
"""After this, keys are read anew, in seconds: the service may have withdrawn one."""
FIRST_PAUSE_S = 1.0
"""After keys could not be read they are asked for again in so long, in seconds, and then in twice as long."""

Read = Callable[[str], Awaitable[dict[str, Any]]]
"""Asks the service for what is at an address; raises where it gives nothing that can be used."""


class BadToken(Exception):
    """An ID token that must not do. The text goes on from *the ID token*; nothing of the token is in it."""


class Keys:
    """The keys by which one service signs.

    Args:
        read: Asks for them.
        clock: Seconds that only go forward.
    """

    def __init__(self, read: Read, clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self.read_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._failure: Exception | None = None
        """Why keys could not be read the last time."""
        self._pause, self._silent_until = FIRST_PAUSE_S, float("-inf")

    async def find(self, url: str, key_id: object) -> jwt.PyJWK:
        """The key of this name.

        Args:
            url: Where the service has its keys.
            key_id: The name; None where the token says none, and then there must be one key only.

        Raises:
            BadToken: The service has no such key.
            Exception: What reading raises. While the service is down it is seldom asked, however many tokens
                come: each then raises what it was the last time.
        """
        if self._must_read(key_id):
            async with self._one_at_a_time:
                if self._must_read(key_id):  # not by another meanwhile
                    await self._read_anew(url)
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise BadToken("is signed with a key that the service does not have")
        return self._keys[key_id]

    def _must_read(self, key_id: object) -> bool:
        age = self._clock() - self.read_at
        return age > KEYS_LAST_S or (key_id not in self._keys and age > KEYS_AGAIN_AFTER_S)

    async def _read_anew(self, url: str) -> None:
        if self._failure is not None and self._clock() < self._silent_until:
            raise self._failure.with_traceback(None)
        try:
            found = await self._read(url)
        except Exception as error:
            self._failure, self._silent_until = error, self._clock() + self._pause
            self._pause = min(2 * self._pause, KEYS_AGAIN_AFTER_S)
            raise
        self._failure, self._pause, self.read_at = None, FIRST_PAUSE_S, self._clock()
        self._keys = _read_keys(found)


async def check_token(
    token: object, keys: Keys, keys_url: str, *, audience: str, issuer: str
) -> dict[str, Any]:
    """The claims of an ID token that the service has made for this hub.

    Args:
        token: The token.
        keys: The service's.
        keys_url: Where it has them.
        audience: What it knows this hub as.
        issuer: What it calls itself.

    Raises:
        BadToken: It is forged, expired, of another service or for another hub.
    """
    if not isinstance(token, str) or not token:
        raise BadToken("is missing")
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise BadToken("is signed in a way that anybody could")
        key = await keys.find(keys_url, header.get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,  # by itself: what wraps it takes one algorithm only, whatever the service uses
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["iss", "aud", "exp", "iat", "sub"]},
        )
    except (jwt.PyJWTError, TypeError) as error:  # the latter for a key of another kind than the token says
        raise BadToken(f"is not valid: {type(error).__name__}") from None
    alone = claims["aud"] in (audience, [audience])
    if claims.get("azp", audience if alone else None) != audience:
        raise BadToken("is for another hub")
    return claims


def _read_keys(found: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys for signatures, by their names; a kind that is not known is left out."""
    keys: dict[str, jwt.PyJWK] = {}
    listed = found.get("keys")
    for number, one in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") == "oct":
            continue
        try:
            keys[str(one.get("kid", number))] = jwt.PyJWK.from_dict(one)
        except (jwt.PyJWTError, TypeError, ValueError):  # the others for what is no text or no number
            continue
    return keys
