"""Login services that answer over HTTP, each in the shape of its own replies; and a way to log in at them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from gpuspawner.login.oidc import make_nonce
from oauthenticator.oauth2 import _serialize_state
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

CLIENT = "hub"
SECRET = "a secret of the hub"


@dataclass
class Service:
    """One login service; what it answers can be changed at any time."""

    userinfo: dict[str, Any] = field(default_factory=lambda: {"sub": "s-1", "preferred_username": "ada"})
    id_claims: dict[str, Any] = field(default_factory=dict)
    """What the ID token says beside and instead of what it must."""
    teams: Any = field(default_factory=list)
    """GitHub's teams."""
    fails: dict[str, int] = field(default_factory=dict)
    """Status by endpoint: ``token``, ``userinfo``, ``keys``, ``description``, ``teams``."""
    description: dict[str, Any] = field(default_factory=dict)
    signing: Any = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    published: Any = None
    """The key that it says is its own; the one that it signs with unless set."""
    algorithm: str = "RS256"
    nonce: str = ""
    url: str = ""
    token_answer: dict[str, Any] | None = None
    """What the token endpoint answers instead of tokens, with status 200: GitHub's way to refuse."""
    tokens: list[dict[str, str]] = field(default_factory=list)
    """What the token endpoint was sent."""
    asked: list[str] = field(default_factory=list)

    def start(self) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        rules = [
            (r"/\.well-known/openid-configuration", _Description),
            (r"/keys", _Keys),
            (r"/token|/login/oauth/access_token", _Token),
            (r"/userinfo|/api/v3/user", _Userinfo),
            (r"/api/v3/user/teams", _Teams),
        ]
        self._server = HTTPServer(
            Application([(path, handler, {"service": self}) for path, handler in rules])
        )
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    def make_id_token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "sub": self.userinfo["sub"],
            "nonce": self.nonce,
            **self.id_claims,
        }
        key = "secret-of-thirty-two-characters-x" if self.algorithm.startswith("HS") else self.signing
        if self.algorithm == "none":
            key = None
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key, self.algorithm, headers={"kid": "one"})

    def make_handler(self) -> Callback:
        """A callback that answers a login which began here."""
        self.nonce = make_nonce(Callback.state)
        return Callback()


class Callback:
    """As much of JupyterHub's handler as an authenticator looks at when somebody comes back."""

    state = _serialize_state({"state_id": "1234"})

    def get_argument(self, name: str, default: Any = None) -> Any:
        return {"code": "the-code", "state": self.state}.get(name, default)

    def get_state_url(self) -> str:
        return self.state

    def get_state_cookie(self) -> str:
        return _serialize_state({"state_id": "1234", "code_verifier": "v" * 43})


class _Handler(RequestHandler):
    name = ""

    def initialize(self, service: Service) -> None:
        self.service = service

    def prepare(self) -> None:
        self.service.asked.append(self.name)
        status = self.service.fails.get(self.name)
        if status:
            self.set_status(status)
            self.finish({"error": "invalid_grant", "error_description": f"secret {SECRET}"})

    def answer(self, found: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(found))


class _Description(_Handler):
    name = "description"

    def get(self) -> None:
        url = self.service.url
        self.answer(
            {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "userinfo_endpoint": f"{url}/userinfo",
                "jwks_uri": f"{url}/keys",
                **self.service.description,
            }
        )


class _Keys(_Handler):
    name = "keys"

    def get(self) -> None:
        public = (self.service.published or self.service.signing).public_key()
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
        self.answer({"keys": [{**key, "kid": "one", "use": "sig"}]})


class _Token(_Handler):
    name = "token"

    def post(self) -> None:
        sent = self.request.body_arguments
        self.service.tokens.append({name: self.get_body_argument(name) for name in sent})
        if self.service.token_answer is not None:
            self.answer(self.service.token_answer)
            return
        found = {"access_token": "at-secret", "token_type": "Bearer", "refresh_token": "rt-secret"}
        if "access_token" not in self.request.path:  # GitHub has none
            found["id_token"] = self.service.make_id_token()
        self.answer(found)


class _Userinfo(_Handler):
    name = "userinfo"

    def get(self) -> None:
        if self.request.headers.get("Authorization", "").split(" ")[-1] != "at-secret":
            self.set_status(401)
            return
        self.answer(self.service.userinfo)


class _Teams(_Handler):
    name = "teams"

    def get(self) -> None:
        self.answer(self.service.teams)
