"""Accounts with a password here, made from nativeauthenticator, for labs without a login service.

Of nativeauthenticator there are the passwords' hash and the list of those that everybody tries first. Its
pages for signing up, letting in by a link that is followed, and changing others' passwords are not there:
nobody makes an account by themselves (:mod:`gpuspawner.core.accounts`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import bcrypt
from jupyterhub import orm
from jupyterhub.handlers.login import LoginHandler
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado.web import HTTPError

from gpuspawner.allocator.accounts import Accounts, Holder
from gpuspawner.allocator.identities import Said
from gpuspawner.core.accounts import BUSY, LOCAL, LONGEST_PASSWORD, WRONG, judge_password
from gpuspawner.core.errors import NotFound
from gpuspawner.core.identity import LONGEST_NAME

from .deletion import PERSON, PersonHandler, only_forgets
from .known import HUB, Denied, KnownPeople, LedgerUnusable, Removed
from .passwords import CHANGE, INVITATION, ChangeHandler, InvitationHandler

_NO_PASSWORD = bcrypt.hashpw(b"nobody has this one", bcrypt.gensalt())
"""Compared with where there is no account, so that an answer takes as long as for one."""
_CHECKS_AT_ONCE = 2
"""Each takes a processor for a quarter of a second."""
MOST_WAITING = 100
"""Passwords that are checked or wait for it: the last of them waits for a quarter of a minute."""
_AGAIN_AFTER_S = 15
_SINCE = "password_set_at"
"""Where the auth state has which password a login was by."""


class Busy(HTTPError):
    """So many passwords wait to be checked that one more would wait for too long."""

    def __init__(self) -> None:
        super().__init__(503, "too many passwords to check", reason="Service Unavailable")
        self.jupyterhub_message = BUSY
        self.headers = {"Retry-After": str(_AGAIN_AFTER_S)}


class LocalLogin(KnownPeople, NativeAuthenticator):
    """A login by name and password."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(add_new_table=False, **kwargs)
        self._accounts: Accounts | None = None
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._waiting = 0
        """Passwords that are checked or hashed, or wait for it."""

    @property
    def services(self) -> frozenset[str]:
        """The accounts here, which are the only ones."""
        return frozenset({LOCAL})

    # -- logging in -----------------------------------------------------------------------------------------

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any]:
        """Somebody who knows their password.

        Raises:
            Denied: They do not, there is no such account, or it takes none at the moment.
            Busy: Too many wait for the same already.
            LedgerUnusable: The ledger cannot be used.
        """
        name, password = data.get("username", ""), data.get("password", "")
        holder = await self.check(name, password)
        if holder is None:
            self.log.warning("Login refused: wrong name or password, or locked")
            raise Denied(WRONG)
        account, identity = holder.account, holder.identity
        await self.in_accounts(lambda accounts: accounts.succeeded(account))
        said = Said(identity.name, identity.groups, email=identity.email)
        since = account.password_set_at.isoformat() if account.password_set_at else ""
        model = await self.make_model(account.subject, said, {_SINCE: since})
        user = handler.find_user(identity.name) if handler is not None else None
        if user is not None and (await user.get_auth_state() or {}).get(_SINCE) != since:
            # What is kept of logins is of the person: after this one, those by the password of before would
            # look as if they were by that of now.
            end_sessions(user)
        return model

    async def check(self, name: str, password: str) -> Holder | None:
        """Somebody with an account, if the password is theirs; few are checked at once, on every page.

        Who has it is read when it is their turn, so that many wrong ones at a time lock as those in a row do.

        Raises:
            Busy: Too many wait already.
            LedgerUnusable: The ledger cannot be used.
        """
        async with self._turn():
            holder = await self.find(name)
            return holder if await self.is_right(holder, password) else None

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Be one of the few whose password is worked on. Raises: Busy."""
        if self._waiting >= MOST_WAITING:
            self.log.warning("Login refused: %d passwords wait to be checked", self._waiting)
            raise Busy
        self._waiting += 1
        try:
            async with self._checks:
                yield
        finally:
            self._waiting -= 1

    async def find(self, name: str) -> Holder | None:
        """Somebody with an account, by the name as they type it."""
        plain = name.strip().lower()
        if not plain.isascii() or len(plain) > LONGEST_NAME:
            return None
        found: Holder | None = await self.in_accounts(lambda accounts: accounts.find(plain))
        return found

    async def is_right(self, holder: Holder | None, password: str) -> bool:
        """Whether a password is somebody's; a wrong one is counted. None is tried where there were too many.

        It takes as long where there is nobody, or nothing to compare with.
        """
        account = holder.account if holder else None
        locked = account is not None and await self.in_accounts(lambda accounts: accounts.is_locked(account))
        fit = len(password.encode()) <= LONGEST_PASSWORD and "\0" not in password
        compared = account is not None and account.password and not locked and fit
        stored = account.password.encode() if account and compared else _NO_PASSWORD
        known = UserInfo(password=stored)
        right = await asyncio.get_running_loop().run_in_executor(
            None, known.is_valid_password, password if fit else ""
        )
        if account and account.password and not (compared and right):
            subject = account.subject
            await self.in_accounts(lambda accounts: accounts.failed(subject))
        return bool(compared and right)

    # -- passwords ------------------------------------------------------------------------------------------

    def judge(self, password: str, name: str) -> str | None:
        """Why a password cannot be somebody's; None where it can."""
        return judge_password(password, name, self.is_password_common(password.casefold()))

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises: Busy."""
        loop = asyncio.get_running_loop()
        async with self._turn():
            made = await loop.run_in_executor(
                None, lambda: bcrypt.hashpw(password.encode(), bcrypt.gensalt())
            )
        return made.decode("ascii")

    # -- who is logged in -----------------------------------------------------------------------------------

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Look again at somebody who is logged in: groups, and whether it is by the password of now."""
        try:
            holder = await self.find(user.name)
            state = await user.get_auth_state() or {}
            since = holder.account.password_set_at if holder else None
            if holder is None or since is None or state.get(_SINCE) != since.isoformat():
                end_sessions(user)
                return False
            identity = holder.identity
            said = Said(identity.name, identity.groups, email=identity.email)
            found = await self.make_model(holder.account.subject, said, {_SINCE: since.isoformat()})
        except LedgerUnusable:
            return True
        except Removed:
            end_sessions(user)
            self.stop_own_token(user, handler)
            return False
        return found if self.may_enter(user.name, found) else await self.refuse(user, handler)

    async def keep_logged_in(self, user: Any, since: str) -> None:
        """Let nobody go on but who has just changed the password."""
        end_sessions(user)
        state = await user.get_auth_state() or {}
        await user.save_auth_state({**state, _SINCE: since})

    async def is_removed(self, name: str) -> bool:
        """Whether an administrator has removed somebody. Raises: LedgerUnusable."""
        return bool(await self.in_ledger(lambda people: people.is_removed(name)))

    async def delete_user(self, user: Any) -> None:
        """An account whose person is deleted at the hub is closed; name and home stay theirs.

        Nothing changes where the deletion only follows a removal, see :class:`.deletion.PersonHandler`.
        """
        await super().delete_user(user)
        if not only_forgets.get():
            with contextlib.suppress(NotFound):
                await self.in_ledger(lambda people: people.remove(user.name, actor=HUB))

    # -- JupyterHub's ---------------------------------------------------------------------------------------

    def get_handlers(self, app: Any) -> list[Any]:
        """The pages beside the login page, which is the Hub's own; and where people are deleted."""
        pages = [("/login", LoginHandler), (INVITATION, InvitationHandler), (CHANGE, ChangeHandler)]
        return [*pages, (PERSON, PersonHandler)]

    async def in_accounts(self, ask: Callable[[Accounts], Any]) -> Any:
        """Do something with the accounts, in a thread. Raises: LedgerUnusable, and what it raises."""
        return await self.in_ledger(lambda _: ask(self._open()))

    def _open(self) -> Accounts:
        if self._accounts is None:
            self._accounts = Accounts(self.open_ledger())
        return self._accounts


def end_sessions(user: Any) -> None:
    """Void the cookies of somebody's browsers, and what these got for servers and for the controller."""
    person, db = user.orm_user, user.db
    person.cookie_id = orm.new_token()
    for token in list(person.api_tokens):
        if token.session_id:
            db.delete(token)
    db.commit()
