"""The section ``login`` of the settings file: by which service people log in, and who may."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from gpuspawner.core.accounts import LOCAL

from .platforms import Platform, require_distinct
from .safeurls import require_safe_url
from .units import read_duration
from .yamlfile import STRICT

Provider = Literal["oidc", "github", "gitlab", "google", "cilogon", "lti", "local"]

PUBLIC = {
    "github": "https://github.com",
    "gitlab": "https://gitlab.com",
    "google": "https://accounts.google.com",
    "cilogon": "https://cilogon.org",
}
"""Services at which anybody in the world can have an account, and where they are."""
TITLES = {
    "oidc": "your institution",
    "github": "GitHub",
    "gitlab": "GitLab",
    "google": "Google",
    "cilogon": "CILogon",
}
NAMES = {"oidc": "preferred_username", "github": "login", "gitlab": "preferred_username", "google": "email"}
"""The claim that people are called by."""
SCOPES = {
    "oidc": ("openid", "profile", "email"),
    "github": ("read:user", "read:org"),
    "gitlab": ("openid", "profile", "email"),
    "google": ("openid", "profile", "email"),
    "cilogon": ("openid", "profile", "email", "org.cilogon.userinfo"),
}
_SERVICES = frozenset(SCOPES)
_ONLY = {
    "issuer": _SERVICES,
    "client_id": _SERVICES,
    "client_secret_file": _SERVICES,
    "extra_scopes": _SERVICES,
    "groups_claim": _SERVICES - {"github"},
    "username_claim": _SERVICES | {"lti"},
    "callback_url": _SERVICES | {"lti"},
    "title": _SERVICES,
    "platforms": frozenset({"lti"}),
}
"""Which providers have a use for a key."""


class Allow(BaseModel):
    """Who may log in: whom ``groups`` or ``users`` name, out of ``domains`` or ``idps`` if said."""

    model_config = STRICT

    everybody: Annotated[
        bool,
        Field(
            description="Everybody who has an account there. Refused where anybody in the world can have one."
        ),
    ] = False
    groups: Annotated[
        frozenset[str],
        Field(
            description="Members of these groups, as the service names them; at GitHub `organisation:team`."
        ),
    ] = frozenset()
    users: Annotated[frozenset[str], Field(description="These people, by their names here.")] = frozenset()
    domains: Annotated[
        frozenset[str], Field(description="Google only: nobody but people of these Workspace domains.")
    ] = frozenset()
    idps: Annotated[
        frozenset[str],
        Field(
            description="CILogon only, needed there: nobody but people of these institutions (entity IDs)."
        ),
    ] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether nobody is let in."""
        return not (self.everybody or self.groups or self.users or self.domains or self.idps)


class Admins(BaseModel):
    """Who administers the hub, and so may log in. Who is not named here administers nothing after a login."""

    model_config = STRICT

    groups: Annotated[frozenset[str], Field(description="Members of these groups.")] = frozenset()
    users: Annotated[frozenset[str], Field(description="These people, by their names here.")] = frozenset()


class Login(BaseModel):
    """How people log in (docs/login.md)."""

    model_config = STRICT

    provider: Annotated[
        Provider,
        Field(
            description="`oidc`: Keycloak, Entra, Shibboleth's bridge and all that speak OpenID Connect; "
            "`lti`: course platforms, by LTI 1.3; `local`: accounts with a password here."
        ),
    ]
    issuer: Annotated[
        str | None,
        Field(description="Address of the service; needed for `oidc`, else that of the public one."),
    ] = None
    client_id: Annotated[
        str | None, Field(min_length=1, description="What the service knows this hub as; not for lti, local.")
    ] = None
    client_secret_file: Annotated[
        Path | None,
        Field(description="File, readable by the hub only, that holds the secret that goes with it."),
    ] = None
    platforms: Annotated[
        list[Platform], Field(description="LTI only, needed there: the course platforms.")
    ] = []
    title: Annotated[
        str | None, Field(min_length=1, max_length=60, description="Said on the button: *Sign in with …*.")
    ] = None
    username_claim: Annotated[
        str | None, Field(min_length=1, description="Claim that a person's name is made from.")
    ] = None
    groups_claim: Annotated[str, Field(min_length=1, description="Claim that names a person's groups.")] = (
        "groups"
    )
    extra_scopes: Annotated[
        tuple[str, ...], Field(description="Scopes to ask for beside the usual ones, such as `groups`.")
    ] = ()
    callback_url: Annotated[
        str | None,
        Field(description="Where the service sends people back to; guessed from their request unless set."),
    ] = None
    allow: Allow = Allow()
    admins: Admins = Admins()
    stay: Annotated[
        timedelta,
        BeforeValidator(read_duration),
        Field(ge=timedelta(minutes=5), le=timedelta(days=14)),
        Field(description="How long a browser stays logged in."),
    ] = timedelta(hours=12)
    refresh: Annotated[
        timedelta,
        BeforeValidator(read_duration),
        Field(ge=timedelta(minutes=1), le=timedelta(days=1)),
        Field(description="How often the service is asked again about somebody: groups, administrators."),
    ] = timedelta(minutes=5)

    @property
    def url(self) -> str:
        """Address of the service, without a slash at its end."""
        return (self.issuer or PUBLIC.get(self.provider, "")).rstrip("/")

    @property
    def services(self) -> frozenset[str]:
        """The providers of all subjects that people can log in by."""
        if self.provider == "local":
            return frozenset({LOCAL})
        return frozenset(one.issuer for one in self.platforms) or frozenset({self.url})

    @property
    def by_service(self) -> bool:
        """Whether people come by a service of OpenID Connect or OAuth."""
        return self.provider in _SERVICES

    @property
    def public(self) -> bool:
        """Whether anybody in the world can have an account there."""
        return self.url != "" and PUBLIC.get(self.provider) == self.url

    @property
    def scopes(self) -> list[str]:
        """What is asked for."""
        return [
            *SCOPES[self.provider],
            *(one for one in self.extra_scopes if one not in SCOPES[self.provider]),
        ]

    @property
    def name_claim(self) -> str:
        """The claim that a person's name is made from."""
        return self.username_claim or NAMES.get(self.provider, "email")

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        self._require_keys()
        if self.url:
            require_safe_url("issuer", self.url)
        if self.callback_url:
            require_safe_url("callback_url", self.callback_url)
        if self.allow.empty:
            raise ValueError(
                "nobody is allowed to log in. Under allow, name groups or users, or say everybody: true"
            )
        if self.allow.everybody and self.public:
            raise ValueError(
                f"anybody in the world can have an account at {self.url}, so everybody is too many. "
                "Name groups, users, domains or idps under allow"
            )
        for rule, provider in (("domains", "google"), ("idps", "cilogon")):
            if getattr(self.allow, rule) and self.provider != provider:
                raise ValueError(f"allow.{rule} is for the provider {provider} only; name groups or users")
        if self.provider == "cilogon" and not self.allow.idps:
            raise ValueError(
                "allow.idps is missing: at CILogon any institution may claim any name and any group. Say "
                "whose people may come"
            )
        require_distinct(self.platforms)
        self._require_subjects()
        return self

    def _require_subjects(self) -> None:
        """At a course platform people can change what they are called, so no right may follow from that."""
        named = [key for key in ("allow", "admins") if getattr(self, key).users]
        if self.provider != "lti" or not named:
            return
        if self.username_claim != "sub":
            raise ValueError(
                f"{named[0]}.users names people by what they are called, which they may be able to change at "
                "the course platform. Name groups, such as course:NAME:teachers; or set username_claim: sub, "
                "and name people by that"
            )
        if len({one.issuer for one in self.platforms}) > 1:
            raise ValueError(
                f"{named[0]}.users names people by their sub, which somebody else may have at another of the "
                "platforms. Name groups, such as course:NAME:teachers"
            )

    def _require_keys(self) -> None:
        """What each provider needs, and what it has no use for."""
        if self.by_service and not self.url:
            raise ValueError(
                "issuer is missing: the address of the service, such as https://login.example.org/realms/x"
            )
        for key, what, needed in (
            ("client_id", "what the service knows this hub as", self.by_service),
            ("client_secret_file", "a file with the secret that goes with client_id", self.by_service),
            ("platforms", "the course platforms, see docs/login.md", self.provider == "lti"),
        ):
            if needed and not getattr(self, key):
                raise ValueError(f"{key} is missing: {what}")
        for key, providers in _ONLY.items():
            if key in self.model_fields_set and self.provider not in providers:
                raise ValueError(f"{key} says nothing with the provider {self.provider}; remove it")
