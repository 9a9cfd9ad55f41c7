"""Who somebody is, and whether they may come: the same for every way to log in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from tornado.web import HTTPError
from traitlets import Bool, Dict, Set, Unicode

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import LedgerError, Refused
from gpuspawner.core.identity import Identity, Subject, describe_bad_token, describe_refused, read_subject

NOT_NOW = "The login service does not answer. Try again in a few minutes; servers that run are not affected."
NOT_UNDERSTOOD = "The login service sent something that cannot be used. Tell the administrator."
NOT_ALLOWED = "You are logged in there, but this hub is not open to you. Ask its administrator."
REMOVED = "An administrator has closed this hub to you. Your files are kept; ask them about those."
IDENTITY = "gpuspawner"
"""Where the auth state has what was made of the claims."""
HUB = Actor("hub", ActorKind.SERVICE)
"""Who deletes people on the Hub's own pages, as far as is known here."""
AGAIN_AFTER = timedelta(hours=1)
"""What is wrong with the login service is written down once in so long."""


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


class Removed(Denied):
    """An administrator has removed somebody."""

    def __init__(self) -> None:
        super().__init__(REMOVED)


class LedgerUnusable(HTTPError):
    """Nobody can be recognised."""

    def __init__(self) -> None:
        super().__init__(503, "the ledger cannot be used", reason="Service Unavailable")
        self.jupyterhub_message = "Nobody can log in at the moment. The administrator's log says why."


class KnownPeople(Authenticator):
    """A way to log in for people who are known by a subject that never changes."""

    ledger = Unicode(help="The ledger's database file; it keeps who has which name.").tag(config=True)
    provider = Unicode(help="The address of the service: subjects are of one service only.").tag(config=True)
    admin_names = Set(Unicode(), help="People, by their names here, who administer the hub.").tag(config=True)
    allowed_groups = Set(Unicode(), help="Groups whose members may log in.").tag(config=True)
    admin_groups = Set(Unicode(), help="Groups whose members administer the hub.").tag(config=True)
    everybody = Bool(
        False, help="Whether all may log in who have what :attr:`required_claims` asks for."
    ).tag(config=True)
    allow_existing_users = Bool(
        False, help="Who was let in once is not let in for ever: the rules of now decide."
    ).tag(config=True)
    required_claims = Dict(
        help="By claim, the values with one of which somebody must come: ``{'hd': ['example.org']}``."
    ).tag(config=True)
    custom_403_message = Unicode(NOT_ALLOWED).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._identities: Identities | None = None
        self._answers = False
        """Whether the service is known to answer."""

    # -- who it is ------------------------------------------------------------------------------------------

    async def recognise(self, subject: Subject, said: Said, state: dict[str, Any]) -> Identity:
        """The person behind a subject, with what was said of them added to the auth state.

        Raises:
            Removed: An administrator removed them.
            LedgerUnusable: The ledger cannot be used.
        """
        found: tuple[Identity, bool] = await self.in_ledger(lambda people: people.recognise(subject, said))
        identity, known = found
        if identity.removed_at is not None:
            self.log.warning("Login refused: %s was removed", identity.name)
            raise Removed
        state[IDENTITY] = {
            "provider": subject.provider,
            "subject": subject.id,
            "said": asdict(said),
            "by_name": self.is_meant_by_name(identity, known),
        }
        return identity

    def is_meant_by_name(self, identity: Identity, known: bool) -> bool:
        """Whether rules that name somebody's name mean this person.

        Until somebody was let in by it, a name is a claim like others: it must be theirs to the letter.
        """
        return known or identity.called_so

    def is_named_admin(self, identity: Identity, state: dict[str, Any]) -> bool:
        """Whether a rule names this very person as an administrator."""
        return identity.name in self.admin_names and bool(state[IDENTITY]["by_name"])

    async def make_model(self, subject: Subject, said: Said, state: dict[str, Any]) -> dict[str, Any]:
        """What JupyterHub is told of somebody who has proved to be this one. Raises: Denied."""
        identity = await self.recognise(subject, said, state)
        groups = list(identity.groups)
        admin = self.is_named_admin(identity, state) or not self.admin_groups.isdisjoint(groups)
        return {"name": identity.name, "admin": admin, "groups": groups, "auth_state": state}

    def normalize_username(self, username: str) -> str:
        """The name as it is: what is made of it is decided with the subject at hand."""
        return username

    # -- who may --------------------------------------------------------------------------------------------

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Whether a rule lets somebody in; who comes for the first time gets their name only then."""
        if auth_model is None or not self.may_enter(username, auth_model):
            return False
        known = auth_model["auth_state"][IDENTITY]
        try:
            subject = read_subject(known.get("provider", self.provider), known["subject"])
        except Refused as refusal:
            raise Denied(str(refusal)) from None
        said = Said(**{**known["said"], "groups": tuple(known["said"]["groups"])})
        identity = await self.in_ledger(lambda people: people.admit(subject, said))
        if identity.name != username:  # somebody else of that name was a moment faster
            raise ServiceSilent(f"the name {username!r} was given out meanwhile")
        return True

    def may_enter(self, username: str, auth_model: dict[str, Any]) -> bool:
        """Whether a rule lets somebody in."""
        state = auth_model["auth_state"]
        return self.has_required(state) and bool(
            self.everybody
            or auth_model["admin"]
            or (username in self.allowed_users and state[IDENTITY]["by_name"])
            or self.allowed_groups.intersection(auth_model.get("groups") or ())
        )

    def has_required(self, state: dict[str, Any]) -> bool:
        """Whether somebody has what everybody must have."""
        return True

    async def delete_user(self, user: Any) -> None:
        """Keys for SSH end as API tokens do. The rules name people, whether the Hub knows them or not.

        Raises:
            LedgerUnusable: The ledger cannot be used; the Hub deletes nobody then.
        """
        await self.in_ledger(lambda people: people.end_keys(user.name, actor=HUB))

    # -- who may not any more -------------------------------------------------------------------------------

    async def refuse(self, user: Any, handler: Any) -> bool:
        """No rule lets somebody in any more, who is logged in: their browser logs in anew, and cannot.

        Servers go on, and so do the tokens that these have. The tokens that people make for themselves do
        nothing, until a rule lets them in again.

        Returns:
            False, for JupyterHub.

        Raises:
            Denied: The request was made with such a token.
        """
        self.log.warning("%s may not log in any more", user.name)
        await self.note("login.refused", describe_refused(user.name))
        self.stop_own_token(user, handler)
        return False

    def stop_own_token(self, user: Any, handler: Any) -> None:
        """Let a request not go on that was made with a token of somebody's own. Raises: Denied."""
        token = handler.get_token() if handler is not None else None
        if token is None or token.client_id != "jupyterhub":
            return  # a browser, or a login at a server or at the controller
        spawners = getattr(user, "spawners", {}).values()
        if not any(one.api_token and token.match(one.api_token) for one in spawners):
            raise Denied(NOT_ALLOWED)

    async def note_silence(self, what: str) -> None:
        """The login service does not answer: the administrator sees it, and when it answers again."""
        self.log.error("The login service does not answer: %s", what)
        self._answers = False
        with contextlib.suppress(LedgerUnusable):
            await self.in_ledger(lambda people: people.note_silence(what))

    async def note_answer(self) -> None:
        """The login service answers."""
        if not self._answers:
            self._answers = True
            with contextlib.suppress(LedgerUnusable):
                await self.in_ledger(lambda people: people.note_answer())

    async def deny_token(self, what: str) -> Denied:
        """What is raised for a token that must not do; the administrator sees it.

        Args:
            what: Goes on from *the ID token*; nothing of the token is in it.
        """
        self.log.warning("Login refused: the ID token %s", what)
        await self.note("login.bad-token", describe_bad_token(what))
        return Denied(NOT_UNDERSTOOD)

    # -- the ledger -----------------------------------------------------------------------------------------

    async def note(self, kind: str, reason: str, once_in: timedelta = AGAIN_AFTER) -> None:
        """Let the administrator see what is wrong; where the ledger is that, the log must do."""
        with contextlib.suppress(LedgerUnusable):
            await self.in_ledger(lambda people: people.note(kind, reason, once_in))

    async def in_ledger(self, ask: Callable[[Identities], Any]) -> Any:
        """Do something with the ledger, in a thread. Raises: LedgerUnusable."""
        try:
            if self._identities is None:
                reserved = frozenset(self.allowed_users | self.admin_names)
                self._identities = Identities(self.open_ledger(), reserved, services=self.services)
            return await asyncio.get_running_loop().run_in_executor(None, ask, self._identities)
        except LedgerError as error:
            self.log.error("Nobody can log in: %s", error)
            raise LedgerUnusable from error

    @property
    def services(self) -> frozenset[str]:
        """Addresses of the services by which people log in."""
        return frozenset({self.provider} - {""})

    def open_ledger(self) -> Ledger:
        """The ledger. Raises: LedgerError."""
        return Ledger(Path(self.ledger))
