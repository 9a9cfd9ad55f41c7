"""What all logins by a service have in common; mixed into an authenticator of oauthenticator."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oauthenticator.oauth2 import OAuthenticator
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import HTTPError
from traitlets import Bool, Dict, Set, Unicode

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.errors import LedgerError, Refused
from gpuspawner.core.identity import read_groups, read_subject

NOT_NOW = "The login service does not answer. Try again in a few minutes; servers that run are not affected."
NOT_UNDERSTOOD = "The login service sent something that cannot be used. Tell the administrator."
NOT_ALLOWED = "You are logged in there, but this hub is not open to you. Ask its administrator."
_FAILED_SERVICE = (429,)
"""Statuses below 500 that say nothing about the person either."""
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_IDENTITY = "gpuspawner"
"""Where the auth state has what was made of the claims."""

_silences: ContextVar[list[str] | None] = ContextVar("silences", default=None)
"""What went unanswered while somebody is asked about again."""
_before: ContextVar[Sequence[str]] = ContextVar("before", default=())
"""The groups of the login that is asked about again."""


class ServiceSilent(HTTPError):
    """The login service is down or busy: that says nothing about anybody."""

    def __init__(self, what: str) -> None:
        super().__init__(503, f"login service: {what}", reason="Service Unavailable")
        self.jupyterhub_message = NOT_NOW


class Denied(HTTPError):
    """Somebody is not let in."""

    def __init__(self, message: str) -> None:
        super().__init__(403, message, reason="Forbidden")
        self.jupyterhub_message = message


class LedgerUnusable(HTTPError):
    """Nobody can be recognised."""

    def __init__(self) -> None:
        super().__init__(503, "the ledger cannot be used", reason="Service Unavailable")
        self.jupyterhub_message = "Nobody can log in at the moment. The administrator's log says why."


class Recognised(OAuthenticator):
    """A login by a service, of people whom it knows by a subject that never changes."""

    ledger = Unicode(help="The ledger's database file; it keeps who has which name.").tag(config=True)
    subject_claim = Unicode("sub", help="What the service knows somebody by for ever.").tag(config=True)
    groups_claim = Unicode("groups", help="What names somebody's groups.").tag(config=True)
    email_claim = Unicode("email", help="What names somebody's address.").tag(config=True)
    provider = Unicode(help="The address of the service: subjects are of one service only.").tag(config=True)
    admin_names = Set(Unicode(), help="People, by their names here, who administer the hub.").tag(config=True)
    everybody = Bool(
        False, help="Whether all may log in who have what :attr:`required_claims` asks for."
    ).tag(config=True)
    required_claims = Dict(
        help="By claim, the values with one of which somebody must come: ``{'hd': ['example.org']}``."
    ).tag(config=True)

    emails_are_checked = False
    """Whether the service gives no address that it has not checked."""
    custom_403_message = Unicode(NOT_ALLOWED).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._identities: Identities | None = None

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
        said = self._take_down(str(auth_model["name"]), state)
        identity, known = await self._in_ledger(lambda people: people.recognise(subject, said))
        state[_IDENTITY] = {
            "subject": subject.id,
            "said": asdict(said),
            # Until somebody was let in by it, a name is a claim like others: it must be theirs to the letter.
            "by_name": known or identity.called_so,
        }
        admin = identity.name in self.admin_names and (known or identity.called_so)
        return {**auth_model, "name": identity.name, "admin": admin and self._has_required(claims)}

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
        address = claims.get(self.email_claim)
        checked = claims.get("email_verified", self.emails_are_checked)
        return address if checked is True and isinstance(address, str) else ""

    async def complete(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Add what the service must be asked for beside the claims about somebody."""
        return dict(await super().update_auth_model(auth_model))

    def find_groups(self, state: dict[str, Any]) -> object:
        """What the service says of somebody's groups."""
        return state[self.user_auth_state_key].get(self.groups_claim)

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """The groups that somebody is in, as far as the service ever said."""
        return set(auth_state[_IDENTITY]["said"]["groups"])

    async def _apply_managed_groups(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """No group makes an administrator of somebody who must not come at all."""
        found: dict[str, Any] = await super()._apply_managed_groups(auth_model)
        claims = found["auth_state"][self.user_auth_state_key]
        return {**found, "admin": bool(found["admin"]) and self._has_required(claims)}

    def normalize_username(self, username: str) -> str:
        """The name as it is: what is made of it is decided with the subject at hand."""
        return username

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """What the service calls somebody; their subject where it does not say."""
        if user_info.get("email_verified") is False:
            user_info = {**user_info, self.email_claim: None}
        wanted = (user_info.get(claim) for claim in (self.username_claim, "email", self.subject_claim))
        return next((str(name) for name in wanted if name and isinstance(name, str | int)), "")

    # -- who may --------------------------------------------------------------------------------------------

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Whether a rule lets somebody in; who comes for the first time gets their name only then."""
        if auth_model is None or not self._may_enter(username, auth_model):
            return False
        known = auth_model["auth_state"][_IDENTITY]
        subject = read_subject(self.provider, known["subject"])
        said = Said(**{**known["said"], "groups": tuple(known["said"]["groups"])})
        identity = await self._in_ledger(lambda people: people.admit(subject, said))
        if identity.name != username:  # somebody else of that name was a moment faster
            raise ServiceSilent(f"the name {username!r} was given out meanwhile")
        return True

    def _may_enter(self, username: str, auth_model: dict[str, Any]) -> bool:
        state = auth_model["auth_state"]
        return self._has_required(state[self.user_auth_state_key]) and bool(
            self.everybody
            or auth_model["admin"]
            or (username in self.allowed_users and state[_IDENTITY]["by_name"])
            or self.allowed_groups.intersection(auth_model.get("groups") or ())
        )

    def _has_required(self, claims: dict[str, Any]) -> bool:
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
            return (json.loads(answer.body) if answer.body else None) if parse_json else answer
        except HTTPClientError as error:
            if error.code < 500 and error.code not in _FAILED_SERVICE:
                self.log.warning("%s refused: status %s%s", where, error.code, _name_error(error))
                raise
            what = f"{where} answered with status {error.code}"
        except (OSError, ValueError) as error:
            what = f"{where}: {type(error).__name__}"
        silences = _silences.get()
        if silences is not None:
            silences.append(what)
        self.log.error("The login service does not answer: %s", what)
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
            raise Denied("This login is not valid any more. Go back to the start and log in again.") from None
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
        before = _before.set(state.get(_IDENTITY, {}).get("said", {}).get("groups", ()))
        asking = _silences.set(silent)
        try:
            found = await super().refresh_user(user, handler, **kwargs)
        except (ServiceSilent, LedgerUnusable):
            return True
        except HTTPError as error:
            self.log.warning("%s must log in again: %s", user.name, error.log_message)
            return False
        finally:
            _silences.reset(asking)
            _before.reset(before)
        if found is False and silent:
            return True
        if isinstance(found, dict) and found["name"] != user.name:
            self.log.error(
                "%s came back from the login service as %r: must log in again", user.name, found["name"]
            )
            return False
        if isinstance(found, dict) and not self._may_enter(user.name, found):
            self.log.warning("%s may not log in any more", user.name)
            return False
        return found

    async def _in_ledger(self, ask: Callable[[Identities], Any]) -> Any:
        if self._identities is None:
            reserved = frozenset(self.allowed_users | self.admin_names)
            self._identities = Identities(Ledger(Path(self.ledger)), reserved)
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask, self._identities)
        except LedgerError as error:
            self.log.error("Nobody can log in: %s", error)
            raise LedgerUnusable from error


def _name_error(error: HTTPClientError) -> str:
    """The code of an OAuth 2.0 error, such as ``invalid_client``; nothing else of the answer."""
    try:
        code = json.loads(error.response.body)["error"] if error.response else ""
    except (ValueError, TypeError, KeyError):
        return ""
    return f", {code}" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""
