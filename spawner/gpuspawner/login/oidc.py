"""OpenID Connect: Keycloak, Entra, Shibboleth's bridge, GitLab, Google, CILogon and others.

Everything is looked up in the service's own description (OpenID Connect Discovery 1.0), when the first person
comes: the hub starts while the service is down. The ID token is checked as OpenID Connect Core 1.0, 3.1.3.7,
has it, signature included.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import jwt
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from tornado.web import HTTPError
from traitlets import Dict

from .recognised import NOT_UNDERSTOOD, Denied, Recognised, ServiceSilent

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the service can make. Not those with a shared secret, and never none."""
LEEWAY_S = 60
"""By so much clocks may differ, in seconds."""
KEYS_AGAIN_AFTER_S = 60
"""Keys that are not known are asked for once in so long, in seconds: tokens can be made up faster."""
KEYS_LAST_S = 3600
"""After this, keys are read anew, in seconds: the service may have withdrawn one."""
_CLAIMS = "id_claims"
"""Where the checked claims of the ID token are kept, beside what the token endpoint answered."""
_DESCRIPTION = "/.well-known/openid-configuration"
_NEEDED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")


def make_nonce(state: str) -> str:
    """What a login asks to find in its ID token: bound to the state, and so to the browser that began it."""
    return hashlib.sha256(f"nonce:{state}".encode()).hexdigest()


class OidcLoginHandler(OAuthLoginHandler):
    """Sends somebody to the service."""

    async def get(self) -> None:
        """Look up where that is, and go there."""
        await self.authenticator.discover()
        super().get()

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> Any:
        """Ask for a token that answers this very login."""
        extra = kwargs["extra_params"]
        extra["nonce"] = make_nonce(extra["state"])
        return super().authorize_redirect(*args, **kwargs)


class OidcLogin(Recognised, GenericOAuthenticator):
    """A login by a service that speaks OpenID Connect."""

    login_handler = OidcLoginHandler
    callback_handler = OAuthCallbackHandler
    user_auth_state_key = "claims"

    description = Dict(help="The service's description of itself, once it was read.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_read_at = float("-inf")

    async def discover(self) -> None:
        """Read the service's description, once.

        Raises:
            ServiceSilent: It does not answer.
            HTTPError: It is not the description of this service.
        """
        if self.description:
            return
        found = await self._read(f"{self.provider}{_DESCRIPTION}")
        lacking = [key for key in _NEEDED if not isinstance(found.get(key), str)]
        if lacking or found["issuer"].rstrip("/") != self.provider:
            what = f"lacks {', '.join(lacking)}" if lacking else f"is that of {found['issuer']!r}"
            self.log.error("The description at %s%s %s", self.provider, _DESCRIPTION, what)
            raise HTTPError(502, f"the login service's description {what}")
        self.authorize_url, self.token_url = found["authorization_endpoint"], found["token_endpoint"]
        self.userdata_url = found.get("userinfo_endpoint") or ""
        self.description = found

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Exchange the code of a callback for a person; see :meth:`Recognised.authenticate`."""
        await self.discover()
        return await super().authenticate(handler, data, **kwargs)

    async def get_token_info(self, handler: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Exchange a code, or a refresh token, for tokens.

        Raises:
            Denied: The ID token is forged, expired, of another service, for another hub or of another login.
        """
        token_info = await super().get_token_info(handler, params)
        logs_in = params["grant_type"] == "authorization_code"
        id_token = token_info.get("id_token")
        claims = await self._check(id_token) if logs_in or id_token else {}
        if logs_in and claims.get("nonce") != make_nonce(handler.get_state_url()):
            raise self._deny("answers another login")
        # Kept with the login, which goes on for longer than the token and its key.
        return {**token_info, _CLAIMS: claims}

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Ask again about somebody; see :meth:`Recognised.refresh_user`."""
        try:
            await self.discover()
        except HTTPError:
            return True
        return await super().refresh_user(user, handler, **kwargs)

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """All claims about somebody: those of the ID token, and what the service adds."""
        signed: dict[str, Any] = token_info.get(_CLAIMS) or {}
        if not self.userdata_url:
            return signed
        added = await super().token_to_user(token_info)
        if not isinstance(added, dict) or (signed and added.get("sub") != signed["sub"]):
            raise self._deny("and the service's answer are about two people")
        return {**signed, **added}

    async def _check(self, id_token: object) -> dict[str, Any]:
        if not isinstance(id_token, str):
            raise self._deny("is missing")
        try:
            header = jwt.get_unverified_header(id_token)
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS:
                raise self._deny(f"is signed by {algorithm!r}")
            key = await self._find_key(header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key.key,  # by itself: what wraps it takes one algorithm only, whatever the service uses
                algorithms=[algorithm],
                audience=self.client_id,
                issuer=self.description["issuer"],
                leeway=LEEWAY_S,
                options={"require": ["iss", "aud", "exp", "iat", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise self._deny(f"is not valid: {type(error).__name__}") from None
        if claims.get("azp", self.client_id) != self.client_id:
            raise self._deny("is for another hub")
        return claims

    async def _find_key(self, key_id: object) -> jwt.PyJWK:
        age = time.monotonic() - self._keys_read_at
        if age > KEYS_LAST_S or (key_id not in self._keys and age > KEYS_AGAIN_AFTER_S):
            found = await self._read(self.description["jwks_uri"])
            self._keys_read_at = time.monotonic()
            self._keys = _read_keys(found)
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise self._deny("is signed with a key that the service does not have")
        return self._keys[key_id]

    async def _read(self, url: str) -> dict[str, Any]:
        found = await self.httpfetch(url, "asking for", validate_cert=self.validate_server_cert)
        if not isinstance(found, dict):
            raise ServiceSilent(f"{url} is no description")
        return found

    def _deny(self, what: str) -> Denied:
        self.log.warning("Login refused: the ID token %s", what)
        return Denied(NOT_UNDERSTOOD)


def _read_keys(found: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys for signatures, by their names; a kind that is not known is left out."""
    keys: dict[str, jwt.PyJWK] = {}
    for number, one in enumerate(found.get("keys") or ()):
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") == "oct":
            continue
        try:
            keys[str(one.get("kid", number))] = jwt.PyJWK.from_dict(one)
        except jwt.PyJWTError:
            continue
    return keys
