"""Who asks, and what they may do: the Hub's word, made into a value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub.services.auth import HubOAuth

from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.policy.settings import SERVICE, Settings

READ = "custom:gpu:read"
MANAGE = "custom:gpu:manage"
RESERVE = "custom:gpu:reserve"
KEYS = "custom:gpu:keys"
"""To add and remove one's own keys for SSH, which open one's servers."""
SSH = "custom:gpu:ssh"
"""To reach the gateway of SSH through port 443; of a token that has this alone."""
SESSION = "custom:gpu:session"
"""Of a server's own token, which has it for that server: the one scope of ours that it has."""
ADMIN_MARK = "admin-ui"
"""The hub's administrators have it, whose role JupyterHub lets nobody add to: it stands for all of ours."""
CACHE_SECONDS = 30
"""How long a login or a right that was withdrawn may still work; JupyterHub's own default is 300 s."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or a program."""

    person: str | None
    """The hub's user name; None for a service, which is nobody's even where it is named like somebody."""
    actor: str
    """The name in the audit trail."""
    groups: frozenset[str]
    scopes: frozenset[str]
    server: str | None = None
    """The name of the server whose own token this is; None for everybody else."""

    @property
    def as_actor(self) -> Actor:
        """Who they are, where it must be told apart from who has the same name elsewhere."""
        return Actor(self.actor, ActorKind.SERVICE if self.person is None else ActorKind.PERSON)

    def may(self, scope: str) -> bool:
        """Whether they have a scope, without any limit to it."""
        return scope in self.scopes

    @property
    def manages(self) -> bool:
        """Whether they may see and change what is others'."""
        return self.may(MANAGE)


def read_caller(model: Mapping[str, Any]) -> Caller:
    """What the Hub says of somebody, as a value."""
    scopes = frozenset(model.get("scopes") or ())
    if ADMIN_MARK in scopes:
        scopes |= {READ, MANAGE, RESERVE, KEYS}
    name, is_person = str(model["name"]), model.get("kind", "user") == "user"
    server = _find_server(name, scopes) if is_person else None
    # Everybody has this scope without a limit, for else their servers could not be given it.
    scopes = scopes - {SESSION} if server is None else scopes | {SESSION}
    return Caller(
        person=name if is_person else None,
        actor=name if is_person else f"service {name}",
        groups=frozenset(str(group) for group in model.get("groups") or ()),
        scopes=scopes,
        server=server,
    )


def _find_server(person: str, scopes: Collection[str]) -> str | None:
    """The server of a person that a token has the scope for; None for none, or for several."""
    of_person = f"{SESSION}!server={person}/"
    found = [scope.removeprefix(of_person) for scope in scopes if scope.startswith(of_person)]
    return found[0] if len(found) == 1 and SESSION not in scopes else None


def make_auth(settings: Settings, token: str) -> HubOAuth:
    """Logins by the Hub, for people and for tokens.

    Nothing is taken from JUPYTERHUB_… variables: the controller is an external service.
    """
    return HubOAuth(
        api_url=settings.hub_api_url,
        api_token=token,
        base_url=settings.service_url,
        hub_host="",
        hub_prefix=f"{settings.base_url}hub/",
        oauth_client_id=f"service-{SERVICE}",
        # As the hub has it, which names itself in full where servers have names of their own.
        oauth_redirect_uri=f"{settings.network.subdomain_host or ''}{settings.service_url}oauth_callback",
        access_scopes={f"access:services!service={SERVICE}"},
        cache_max_age=CACHE_SECONDS,
    )
