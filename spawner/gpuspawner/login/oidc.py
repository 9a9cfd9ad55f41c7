"""OpenID Connect: Keycloak, Entra, Shibboleth's bridge, GitLab, Google, CILogon and others.

Everything is looked up in the service's own description (OpenID Connect Discovery 1.0), when the first person
comes: the hub starts while the service is down. The ID token is checked as OpenID Connect Core 1.0, 3.1.3.7,
has it, signature included.
"""

from __future__ import annotations

import hashlib
from typing import Any

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLoginHandler
from tornado.web import HTTPError
from traitlets import Dict

from .known import ServiceSilent
from .recognised import Recognised
from .tokens import BadToken, Keys, check_token

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
    user_auth_state_key = "claims"

    description = Dict(help="The service's description of itself, once it was read.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys = Keys(self._read)

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
            raise await self.deny_token("answers another login")
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
            raise await self.deny_token("and the service's answer are about two people")
        return {**signed, **added}

    async def _check(self, id_token: object) -> dict[str, Any]:
        where, issuer = self.description["jwks_uri"], self.description["issuer"]
        try:
            return await check_token(id_token, self.keys, where, audience=self.client_id, issuer=issuer)
        except BadToken as error:
            raise await self.deny_token(str(error)) from None

    async def _read(self, url: str) -> dict[str, Any]:
        found = await self.httpfetch(url, "asking for", validate_cert=self.validate_server_cert)
        if not isinstance(found, dict):
            raise ServiceSilent(f"{url} is no description")
        return found
