"""GitHub, and GitHub Enterprise: plain OAuth 2.0, with teams for groups."""

from __future__ import annotations

from typing import Any

from oauthenticator.github import GitHubOAuthenticator
from tornado.httpclient import HTTPClientError

from .recognised import Recognised


class GitHubLogin(Recognised, GitHubOAuthenticator):
    """A login by GitHub. Groups are teams, as ``organisation:team``."""

    user_auth_state_key = "github_user"
    emails_are_checked = True

    async def complete(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Add somebody's teams, where GitHub lets this hub see them."""
        try:
            return await super().complete(auth_model)
        except HTTPClientError as error:
            if error.code not in (403, 404):
                raise
            self.log.warning("GitHub does not let this hub see anybody's teams: status %s", error.code)
            return auth_model

    def find_groups(self, state: dict[str, Any]) -> object:
        """The teams, by the names that their addresses have; None where GitHub did not say."""
        teams = state.get("teams")
        if not isinstance(teams, list):
            return None
        return [f"{one['organization']['login']}:{one['slug']}" for one in teams]
