"""What all logins by a service have in common; mixed into an authenticator of oauthenticator."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from oauthenticator.oauth2 import OAuthenticator
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import HTTPError
from traitlets import Unicode

from gpuspawner.allocator.identities import Said
from gpuspawner.core.errors import Refused
from gpuspawner.core.identity import (
    describe_again,
    read_checked_address,
    read_groups,
    read_shown,
    read_subject,
)

from .callback import BEGIN_AGAIN, CallbackHandler
from .known import IDENTITY, NOT_UNDERSTOOD, Denied, KnownPeople, LedgerUnusable, Removed, ServiceSilent

NOT_RENEWED = "the login service does not renew the login"
_FAILED_SERVICE = (429,)
"""Statuses below 500 that say nothing about the person either."""
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_silences: ContextVar[list[str] | None] = ContextVar("silences", default=None)
"""What went unanswered while somebody is asked about again."""
_before: ContextVar[Sequence[str]] = ContextVar("before", default=())
"""The groups of the login that is asked about again."""


class Recognised(KnownPeople, OAuthenticator):
    """A login by a service, of people whom it knows by a subject that never changes."""

    subject_claim = Unicode("sub", help="What the service knows somebody by for ever.").tag(config=True)
    groups_claim = Unicode("groups", help="What names somebody's groups.").tag(config=True)
    email_claim = Unicode("email", help="What names somebody's address.").tag(config=True)
    callback_handler = CallbackHandler
    emails_are_checked = False
    """Whether the service gives no address that it has not checked."""

    # -- who it is ------------------------------------------------------------------------------------------

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Exchange the code of a callback for a person.

        Raises:
            Denied: The service does not know them, or not any more.
            ServiceSilent: It is down.
        """
        try:
            return await super().authenticate(handler, data, **kwargs)
        except HTTPClientError as error:
            self.log.warning("The login service refused its own token: status %s", error.code)
            raise Denied(NOT_UNDERSTOOD) from None

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Put the name that goes with the subject in place of the one that the service has for it."""
        auth_model = await self.complete(auth_model)
        state = auth_model["auth_state"]
        claims = state[self.user_auth_state_key]
        try:
            subject = read_subject(self.provider, claims.get(self.subject_claim))
        except Refused as refusal:
            raise Denied(str(refusal)) from None
        said = self._take_down(read_shown(str(auth_model["name"])), state)
        identity = await self.recognise(subject, said, state)
        admin = self.is_named_admin(identity, state) and self.has_required(state)
        return {**auth_model, "name": identity.name, "admin": admin}

    def _take_down(self, name: str, state: dict[str, Any]) -> Said:
        claims = state[self.user_auth_state_key]
        named = read_groups(self.find_groups(state))
        if named is None:
            # Whoever logs in can leave out the scope that groups come by, so a new login then has none.
            return Said(name, tuple(_before.get()), named_groups=False, email=self._find_email(claims))
        if named[1]:
            self.log.warning(
                "%d names of groups of %r are left out", named[1], claims.get(self.subject_claim)
            )
        return Said(name, named[0], email=self._find_email(claims))

    def _find_email(self, claims: dict[str, Any]) -> str:
        """An address that the service has checked; services that never say whether do not give one."""
        checked = claims.get("email_verified", self.emails_are_checked)
        return read_checked_address(claims.get(self.email_claim)) if checked is True else ""

    async def complete(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Add what the service must be asked for beside the claims about somebody."""
        return dict(await super().update_auth_model(auth_model))

    def find_groups(self, state: dict[str, Any]) -> object:
        """What the service says of somebody's groups."""
        return state[self.user_auth_state_key].get(self.groups_claim)

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """The groups that somebody is in, as far as the service ever said."""
        return set(auth_state[IDENTITY]["said"]["groups"])

    async def _apply_managed_groups(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """No group makes an administrator of somebody who must not come at all."""
        found: dict[str, Any] = await super()._apply_managed_groups(auth_model)
        return {**found, "admin": bool(found["admin"]) and self.has_required(found["auth_state"])}

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """What the service calls somebody; their subject where it does not say."""
        if user_info.get("email_verified") is False:
            user_info = {**user_info, self.email_claim: None}
        wanted = (user_info.get(claim) for claim in (self.username_claim, "email", self.subject_claim))
        return next((str(name) for name in wanted if name and isinstance(name, str | int)), "")

    def has_required(self, state: dict[str, Any]) -> bool:
        """Whether somebody has what everybody must have."""
        claims = state[self.user_auth_state_key]
        return all(claims.get(claim) in values for claim, values in self.required_claims.items())

    # -- a service that is down -----------------------------------------------------------------------------

    async def fetch(
        self, req: HTTPRequest, label: str = "fetching", parse_json: bool = True, **kwargs: Any
    ) -> Any:
        """Ask the service; what it answers is in no log and in no message.

        Raises:
            ServiceSilent: It is down or busy.
            HTTPClientError: It refused.
        """
        where = req.url.partition("?")[0]
        try:
            # Not by upstream's way, which writes the whole answer into the log.
            answer = await self.http_client.fetch(req, **kwargs)
            await self.note_answer()
            return (json.loads(answer.body) if answer.body else None) if parse_json else answer
        except HTTPClientError as error:
            if error.code < 500 and error.code not in _FAILED_SERVICE:
                self.log.warning("%s refused: status %s%s", where, error.code, _name_error(error))
                await self.note_answer()
                raise
            what = f"{where} answered with status {error.code}"
        except (OSError, ValueError) as error:
            what = f"{where}: {type(error).__name__}"
        silences = _silences.get()
        if silences is not None:
            silences.append(what)
        await self.note_silence(what)
        raise ServiceSilent(what) from None

    async def get_token_info(self, handler: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Exchange a code, or a refresh token, for tokens.

        Raises:
            Denied: The service does not take it, so it is forged, expired or was used before.
            ServiceSilent: The service is down.
        """
        try:
            found = await super().get_token_info(handler, params)
        except HTTPClientError:
            raise Denied(BEGIN_AGAIN) from None
        except HTTPError as error:
            if isinstance(error, ServiceSilent):
                raise
            self.log.warning("The login service gave no token")
            raise Denied(NOT_UNDERSTOOD) from None
        if not isinstance(found.get("access_token"), str) or not isinstance(found.get("token_type"), str):
            raise Denied(NOT_UNDERSTOOD)
        return dict(found)

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Ask again about somebody who is logged in.

        Returns:
            True where the service is down: nothing changes. False where it does not know the login any more:
            they log in anew, and what they run goes on. Else what it says now.
        """
        silent: list[str] = []
        state = await user.get_auth_state() or {}
        before = _before.set(state.get(IDENTITY, {}).get("said", {}).get("groups", ()))
        asking = _silences.set(silent)
        try:
            found = await super().refresh_user(user, handler, **kwargs)
        except (ServiceSilent, LedgerUnusable):
            return True
        except Removed:
            self.stop_own_token(user, handler)
            return False
        except HTTPError as error:
            return await self._ask_to_log_in(user, str(error.log_message))
        finally:
            _silences.reset(asking)
            _before.reset(before)
        if found is False:
            return True if silent else await self._ask_to_log_in(user, NOT_RENEWED)
        if isinstance(found, dict) and found["name"] != user.name:
            return await self._ask_to_log_in(user, f"came back from the login service as {found['name']!r}")
        if isinstance(found, dict) and not self.may_enter(user.name, found):
            return await self.refuse(user, handler)
        return found

    async def _ask_to_log_in(self, user: Any, why: str) -> bool:
        self.log.warning("%s must log in again: %s", user.name, why)
        await self.note("login.again", describe_again(user.name))
        return False


def _name_error(error: HTTPClientError) -> str:
    """The code of an OAuth 2.0 error, such as ``invalid_client``; nothing else of the answer."""
    try:
        code = json.loads(error.response.body)["error"] if error.response else ""
    except (ValueError, TypeError, KeyError):
        return ""
    return f", {code}" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""
