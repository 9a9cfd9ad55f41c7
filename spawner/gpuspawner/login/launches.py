"""The two addresses of LTI 1.3: where a platform lets a login begin, and where it sends people to then."""

from __future__ import annotations

import re
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from ltiauthenticator.lti13.handlers import (
    NONCE_STATE_COOKIE_NAME,
    STATE_COOKIE_NAME,
    LTI13CallbackHandler,
    LTI13LoginInitHandler,
    _deserialize_state,
    _serialize_state,
)
from tornado.httputil import url_concat

from .known import NOT_ALLOWED, Denied
from .quiet import QuietHandler

OPEN_FROM_COURSE = "Open this hub by the link in your course: that is how it learns who you are."
NOT_REGISTERED = "This course platform is not registered here. Tell the administrator."
BEGIN_AGAIN = (
    "This login is not valid any more. Go back to your course and open the link again, in a tab of its own: "
    "inside another page browsers keep no cookies."
)
MINUTES = 10
"""So long a login may take from its beginning to its end."""
_DAYS = MINUTES / (24 * 60)
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_TARGET = "https://purl.imsglobal.org/spec/lti/claim/target_link_uri"


class LtiStartHandler(QuietHandler, LTI13LoginInitHandler):
    """Sends somebody to their platform, to be sent back with what it says of them."""

    _platform: dict[str, Any]
    _state: str | None

    def post(self) -> None:
        """Begin a login, as a platform asks for it."""
        issuer, hint = self.get_argument("iss", ""), self.get_argument("login_hint", "")
        if not issuer or not hint:
            raise Denied(OPEN_FROM_COURSE)
        platform = self.authenticator.find_platform(issuer, self.get_argument("client_id", ""))
        deployment = self.get_argument("lti_deployment_id", "")
        if platform is None or (deployment and deployment not in platform["deployments"]):
            self.log.warning("Launch refused: no platform %r with this client and deployment", issuer[:200])
            raise Denied(NOT_REGISTERED)
        self._platform = platform
        asked = {
            "response_type": "id_token",
            "response_mode": "form_post",
            "scope": "openid",
            "prompt": "none",
            "client_id": platform["client_id"],
            "redirect_uri": self.authenticator.callback_address or self.get_redirect_uri(),
            "login_hint": hint,
            "state": self.generate_state(),
            "nonce": self.generate_nonce(),
        }
        message = self.get_argument("lti_message_hint", "")
        if message:
            asked["lti_message_hint"] = message
        self.redirect(url_concat(platform["authorization_url"], asked))

    get = post

    def get_state(self) -> str:
        """What comes back with the token: bound to this browser by a cookie, and to this platform."""
        if self._state is None:
            begun = {key: self._platform[key] for key in ("issuer", "client_id")}
            self._state = _serialize_state({**_deserialize_state(super().get_state()), **begun})
        return str(self._state)

    def _set_oauth_cookie(self, key: str, value: str) -> None:
        """For the platform's form, which is posted from another site: browsers send no other cookie then."""
        secure = self.authenticator.get_uri_scheme(self.request) == "https"
        crossing = {"samesite": "None", "secure": True} if secure else {}
        self._set_cookie(key, value, encrypted=True, expires_days=_DAYS, httponly=True, **crossing)


class LtiCallbackHandler(QuietHandler, LTI13CallbackHandler):
    """Takes what the platform says."""

    async def post(self) -> None:
        """Log somebody in, and send them where the link in the course leads."""
        cookies = {
            name: self._get_oauth_cookie(name) for name in (STATE_COOKIE_NAME, NONCE_STATE_COOKIE_NAME)
        }
        state = self._check_state(cookies[STATE_COOKIE_NAME])
        error = self.get_body_argument("error", "")
        if error:
            code = error if _ERROR_CODE.fullmatch(error) else "an error"
            self.log.warning("The course platform did not say who it is: %s", code)
            raise Denied(BEGIN_AGAIN)
        platform = self.authenticator.find_platform(state.get("issuer", ""), state.get("client_id", ""))
        if platform is None:
            raise Denied(NOT_REGISTERED)
        nonce = sha256(cookies[NONCE_STATE_COOKIE_NAME].encode()).hexdigest()
        claims = await self.authenticator.check_launch(
            self.get_body_argument("id_token", ""), platform, nonce
        )
        user = await self.login_user({"claims": claims, "platform": platform})
        if user is None:
            raise Denied(NOT_ALLOWED)
        self._jupyterhub_user = user
        self.redirect(self._find_way(claims.get(_TARGET)) or self.get_next_url(user))

    def _check_state(self, kept: str) -> dict[str, Any]:
        came = self.get_body_argument("state", "")
        if not kept or not compare_digest(kept.encode(), came.encode()):
            self.log.warning("Launch refused: %s", "the state is another one" if kept else "no state cookie")
            raise Denied(BEGIN_AGAIN)
        found: dict[str, Any] = _deserialize_state(kept)
        return found

    def _find_way(self, target: object) -> str:
        """The path on this hub to which the link in the course leads; empty for its beginning."""
        try:
            parts = urlsplit(target if isinstance(target, str) else "")
        except ValueError:
            return ""
        way, base = parts.path, self.base_url
        begins = {base, base.rstrip("/"), self.hub.base_url, self.hub.base_url.rstrip("/"), ""}
        if way in begins or not way.startswith(base) or way.startswith(("//", "/\\")) or "\\" in way:
            return ""
        if way.startswith(f"{self.hub.base_url}lti13/") or way == f"{self.hub.base_url}logout":
            return ""
        return f"{way}?{parts.query}" if parts.query else way

    def get_next_url(self, user: Any = None, default: str | None = None) -> str:
        """Where everybody comes to."""
        return f"{self.hub.base_url}spawn" if default is None else default

    def _get_oauth_cookie(self, name: str) -> str:
        """A cookie of this login, which is used up by that."""
        found = self.get_secure_cookie(name, max_age_days=_DAYS) or b""
        self.clear_cookie(name)
        return str(found.decode("utf8", "replace"))
