"""Course platforms by LTI 1.3, made from ltiauthenticator: people come by a link in their course.

Unlike there, several platforms can be registered, each with its deployments; keys are kept, and read without
holding anybody up; what a platform says of a course and of roles becomes groups.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from time import monotonic
from typing import Any

from jupyterhub.handlers.login import LoginHandler
from jupyterhub.utils import url_path_join
from ltiauthenticator.lti13.auth import LTI13Authenticator
from ltiauthenticator.lti13.error import ValidationError
from ltiauthenticator.lti13.validator import LTI13LaunchValidator
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from traitlets import List, Unicode

from gpuspawner.allocator.identities import Said
from gpuspawner.core.errors import Refused
from gpuspawner.core.identity import (
    Identity,
    describe_unknown_course,
    read_checked_address,
    read_shown,
    read_subject,
)
from gpuspawner.core.launch import find_role, list_groups, read_enrolments, renew, write_enrolments

from .known import Denied, KnownPeople, LedgerUnusable, Removed, ServiceSilent
from .launches import LtiCallbackHandler, LtiStartHandler
from .tokens import BadToken, Keys, check_token

_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DEPLOYMENT, CONTEXT, ROLES = f"{_CLAIM}deployment_id", f"{_CLAIM}context", f"{_CLAIM}roles"
CUSTOM, MESSAGE, TARGET = f"{_CLAIM}custom", f"{_CLAIM}message_type", f"{_CLAIM}target_link_uri"
LAUNCH = "LtiResourceLinkRequest"
NAMES = ("preferred_username", "email", "name", "sub")
"""Claims that a name is made from, in this order, where the settings name none."""
NONCES_LAST_S = 3600
"""A nonce that was used is known for so long, in seconds: longer than any token is taken."""
_READ_SECONDS = 10
_COURSES = "courses"
"""Where the auth state has what launches said."""
_UNKNOWN_COURSE_AGAIN = timedelta(days=1)


class LtiLogin(KnownPeople, LTI13Authenticator):
    """A login by launches from course platforms."""

    login_handler = LtiStartHandler
    callback_handler = LtiCallbackHandler

    platforms: Any = List(help="The registrations: what a section ``platforms`` of the settings says.").tag(
        config=True
    )
    callback_address = Unicode(help="Where launches come to; guessed from requests unless set.").tag(
        config=True
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys: dict[str, Keys] = {}
        self._used: dict[str, float] = {}

    def login_url(self, base_url: str) -> str:
        """Where people come who are not logged in: a page that sends them to their course."""
        return str(url_path_join(base_url, "login"))

    def get_handlers(self, app: Any) -> list[Any]:
        """That page, where a login begins, and where it ends."""
        start, end = super().login_url(""), self.callback_url("")
        return [("/login", LoginHandler), (start, self.login_handler), (end, self.callback_handler)]

    @property
    def services(self) -> frozenset[str]:
        """The platforms, as they call themselves."""
        return frozenset(one["issuer"] for one in self.platforms)

    def find_platform(self, issuer: str, client_id: str) -> dict[str, Any] | None:
        """A registration; without a client, the first of the issuer's, as the specification has it."""
        for one in self.platforms:
            if one["issuer"] == issuer and client_id in ("", one["client_id"]):
                return dict(one)
        return None

    # -- launches -------------------------------------------------------------------------------------------

    async def check_launch(self, token: str, platform: dict[str, Any], nonce: str) -> dict[str, Any]:
        """What a platform says at a launch.

        Args:
            token: The ID token.
            platform: At which the login began.
            nonce: What the token must have.

        Raises:
            Denied: It is forged, expired, of another platform, for another hub, of another login or of a
                deployment that is not registered; or it was used before.
            ServiceSilent: The platform's keys cannot be read.
        """
        keys = self._keys.setdefault(platform["keys_url"], Keys(self._read))
        client = platform["client_id"]
        try:
            claims = await check_token(
                token, keys, platform["keys_url"], audience=client, issuer=platform["issuer"]
            )
            self._require_launch(claims, client)
            if not compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
                raise BadToken("answers another login")
            if claims[DEPLOYMENT] not in platform["deployments"]:
                raise BadToken("is of a deployment that the settings do not have")
            self._use_up(nonce)
        except BadToken as error:
            raise await self.deny_token(str(error)) from None
        return claims

    def _require_launch(self, claims: dict[str, Any], client: str) -> None:
        validator = LTI13LaunchValidator(parent=self)
        try:
            validator.validate_id_token(claims)
            validator.validate_azp_claim(claims, {client})
        except (ValidationError, AttributeError, KeyError, TypeError) as error:
            raise BadToken(f"is no launch: {type(error).__name__}") from None
        if claims[MESSAGE] != LAUNCH:
            raise BadToken("is not for opening something")
        if not isinstance(claims[DEPLOYMENT], str):
            raise BadToken("has no deployment")

    def _use_up(self, nonce: str) -> None:
        now = monotonic()
        self._used = {one: until for one, until in self._used.items() if until > now}
        if nonce in self._used:
            raise BadToken("was used before")
        self._used[nonce] = now + NONCES_LAST_S

    # -- people ---------------------------------------------------------------------------------------------

    async def authenticate(self, handler: Any, data: Any = None) -> dict[str, Any]:
        """Somebody whom a platform has sent; see :meth:`check_launch`.

        Raises:
            Denied: The platform does not say who it is.
        """
        claims, platform = data["claims"], data["platform"]
        try:
            subject = read_subject(platform["issuer"], claims.get("sub"))
        except Refused as refusal:
            raise Denied(str(refusal)) from None
        course = await self._find_course(claims, platform)
        now = datetime.now(UTC)
        before = await self._find_before(handler, subject)
        enrolments = renew(before, course, find_role(claims[ROLES]), now)
        checked = claims.get("email_verified") is True
        said = Said(
            read_shown(self._find_name(claims)),
            list_groups(enrolments, now),
            email=read_checked_address(claims.get("email")) if checked else "",
            chosen=self.username_key != "sub",
        )
        return await self.make_model(subject, said, {_COURSES: write_enrolments(enrolments)})

    def is_meant_by_name(self, identity: Identity, known: bool) -> bool:
        """What platforms call people is of no weight, and neither are names that were made from it."""
        return identity.name == identity.subject.id.lower()

    async def _find_course(self, claims: dict[str, Any], platform: dict[str, Any]) -> str:
        """The course that a launch is from; empty for one that is none here, which the administrator sees."""
        context = claims.get(CONTEXT)
        key = context.get("id") if isinstance(context, dict) else None
        if not isinstance(key, str) or not key:
            return ""
        deployment = claims[DEPLOYMENT]
        found: str | None = platform["deployments"][deployment].get(key)
        if found is None:
            reason = describe_unknown_course(platform["issuer"], deployment, key)
            self.log.warning("%s", reason)
            await self.note("login.unknown-course", reason, _UNKNOWN_COURSE_AGAIN)
        return found or ""

    async def _find_before(self, handler: Any, subject: Any) -> Any:
        """What earlier launches of somebody said."""
        identity = await self.in_ledger(lambda people: people.find(subject))
        user = handler.find_user(identity.name) if identity else None
        state = await user.get_auth_state() if user else None
        return read_enrolments((state or {}).get(_COURSES))

    def _find_name(self, claims: dict[str, Any]) -> str:
        key, custom = self.username_key, claims.get(CUSTOM)
        wanted: list[object] = []
        if key.startswith("custom_") and isinstance(custom, dict):
            wanted.append(custom.get(key.removeprefix("custom_")))
        elif key:
            wanted.append(claims.get(key))
        wanted += [claims.get(one) for one in NAMES]
        return next((one for one in wanted if isinstance(one, str) and one), "")

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Look again at somebody who is logged in. A platform is not asked: it speaks at launches only."""
        state = await user.get_auth_state() or {}
        known = state.get("gpuspawner")
        if not known:
            return False
        subject = read_subject(known["provider"], known["subject"])
        enrolments = read_enrolments(state.get(_COURSES))
        said = Said(
            **{**known["said"], "groups": list_groups(enrolments, datetime.now(UTC))}  # some may be over
        )
        try:
            found = await self.make_model(subject, said, {_COURSES: state.get(_COURSES)})
        except LedgerUnusable:
            return True
        except Removed:
            self.stop_own_token(user, handler)
            return False
        if found["name"] != user.name:
            return False
        return found if self.may_enter(user.name, found) else await self.refuse(user, handler)

    # -- keys -----------------------------------------------------------------------------------------------

    async def _read(self, url: str) -> dict[str, Any]:
        try:
            answer = await AsyncHTTPClient().fetch(
                url, request_timeout=_READ_SECONDS, headers={"Accept": "application/json"}
            )
            found = json.loads(answer.body)
        except HTTPClientError as error:
            what = f"{url} answered with status {error.code}"
        except (OSError, ValueError) as error:
            what = f"{url}: {type(error).__name__}"
        else:
            await self.note_answer()
            if isinstance(found, dict):
                return found
            what = f"{url} has no keys"
        await self.note_silence(what)
        raise ServiceSilent(what)
