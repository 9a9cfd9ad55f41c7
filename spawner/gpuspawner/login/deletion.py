"""The Hub's own address for a person, where it is told to delete them: what that means for an account."""

from __future__ import annotations

from contextvars import ContextVar

from jupyterhub import orm
from jupyterhub.apihandlers.users import UserAPIHandler

from gpuspawner.policy.settings import SERVICE

PERSON = "/api/users/([^/]+)"
only_forgets: ContextVar[bool] = ContextVar("only_forgets", default=False)
"""Whether the deletion under way only lets the Hub forget somebody, and decides nothing about them."""


class PersonHandler(UserAPIHandler):
    """As JupyterHub has it, but for what was true when a deletion began.

    JupyterHub tells the authenticator of a deletion at its end, after servers were stopped. Somebody who was
    removed before is deleted only for the Hub to forget them; whoever lets them come again meanwhile is
    later, and has the last word.
    """

    async def delete(self, user_name: str) -> None:
        """Delete somebody."""
        caller = self.current_user
        by_controller = isinstance(caller, orm.Service) and caller.name == SERVICE
        kept = only_forgets.set(by_controller or await self.authenticator.is_removed(user_name))
        try:
            await super().delete(user_name)
        finally:
            only_forgets.reset(kept)
