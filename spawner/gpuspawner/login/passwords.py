"""The pages on which people choose a password: by an invitation, and later at any time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from tornado.web import HTTPError, authenticated

from gpuspawner.core.accounts import NOT_THE_SAME, NOT_VALID, NOT_YOURS
from gpuspawner.core.errors import Conflict, NotFound

from .quiet import QuietHandler

INVITATION = "/invitation"
CHANGE = "/password"


class _PasswordHandler(QuietHandler):
    """A form with a new password, twice."""

    def set_default_headers(self) -> None:
        """The address may have a secret in it, which goes nowhere and stays nowhere."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    async def show(self, name: str, *, error: str = "", status: int = 200, **more: Any) -> None:
        """Show the page."""
        self.set_status(status)
        html = await self.render_template(
            "password.html", who=name, error=error, xsrf=self.xsrf_token.decode("ascii"), **more
        )
        self.finish(html)

    def read_choice(self, name: str) -> tuple[str, str]:
        """The password that was chosen, and what is wrong with it or nothing."""
        chosen = self.get_body_argument("password", "", strip=False)
        if chosen != self.get_body_argument("again", "", strip=False):
            return chosen, NOT_THE_SAME
        return chosen, self.authenticator.judge(chosen, name) or ""


class InvitationHandler(_PasswordHandler):
    """Whoever has the link chooses a password, once."""

    async def get(self) -> None:
        """Show the form. Looking uses nothing up: programs that read mails follow links."""
        secret, holder = await self._find()
        if holder is None:
            await self.show("", error=NOT_VALID, status=404, form="")
            return
        await self.show(holder.identity.name, form="invitation", secret=secret)

    async def post(self) -> None:
        """Take the password."""
        secret, holder = await self._find()
        if holder is None:
            await self.show("", error=NOT_VALID, status=404, form="")
            return
        name = holder.identity.name
        chosen, wrong = self.read_choice(name)
        if wrong:
            await self.show(name, error=wrong, status=400, form="invitation", secret=secret)
            return
        kept = await self.authenticator.hash(chosen)
        try:
            await self.authenticator.in_accounts(lambda accounts: accounts.redeem(secret, kept))
        except NotFound:
            await self.show("", error=NOT_VALID, status=404, form="")
            return
        self.log.info("%s has chosen a password", name)
        self.redirect(f"{self.settings['login_url']}?{urlencode({'username': name})}")

    async def _find(self) -> tuple[str, Any]:
        secret = self.get_argument("token", "")
        return secret, await self.authenticator.in_accounts(lambda accounts: accounts.invited(secret))


class ChangeHandler(_PasswordHandler):
    """Whoever is logged in chooses another password."""

    @authenticated
    async def get(self) -> None:
        """Show the form."""
        await self._require_account()
        await self.show(self.current_user.name, form="change", changed=self.get_argument("changed", ""))

    @authenticated
    async def post(self) -> None:
        """Take the password, and end what this person's other browsers are logged in to."""
        user = self.current_user
        await self._require_account()
        chosen, wrong = self.read_choice(user.name)
        holder = await self.authenticator.check(user.name, self.get_body_argument("now", "", strip=False))
        if wrong or holder is None:
            wrong = NOT_YOURS if holder is None else wrong
            await self.show(user.name, error=wrong, status=400, form="change")
            return
        kept = await self.authenticator.hash(chosen)
        try:
            # Read anew: the wrong passwords of before were counted meanwhile.
            now = await self._require_account()
            if now.account.password != holder.account.password:
                raise Conflict(NOT_YOURS)
            since = await self.authenticator.in_accounts(lambda accounts: accounts.change(now, kept))
        except Conflict as error:
            await self.show(user.name, error=str(error), status=409, form="change")
            return
        await self.authenticator.keep_logged_in(user, since.isoformat())
        self.clear_cookie(self.hub.cookie_name, path=self.hub.base_url)
        self.set_hub_cookie(user)
        self.redirect(f"{self.hub.base_url.rstrip('/')}{CHANGE}?changed=1")

    async def _require_account(self) -> Any:
        holder = await self.authenticator.find(self.current_user.name)
        if holder is None:
            raise HTTPError(404)
        return holder
