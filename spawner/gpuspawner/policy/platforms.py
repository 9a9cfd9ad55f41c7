"""Course platforms from which people come by LTI 1.3, as an administrator writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from .safeurls import require_safe_url
from .yamlfile import STRICT


def _as_text(value: object) -> object:
    """YAML takes an id of digits for a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _or_empty(value: object) -> object:
    return {} if value is None else value


Id = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=255)]
CourseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Platform(BaseModel):
    """One registration of this hub at a course platform, such as Moodle, Canvas, Open edX or Blackboard."""

    model_config = STRICT

    issuer: Annotated[
        str, Field(description="Platform ID, or issuer, to the letter, such as https://moodle.example.org.")
    ]
    client_id: Annotated[Id, Field(description="What the platform knows this hub as.")]
    authorization_url: Annotated[
        str, Field(description="Its authentication request URL, or OIDC authorization endpoint.")
    ]
    keys_url: Annotated[str, Field(description="Its public keyset URL, or JWKS endpoint.")]
    deployments: Annotated[
        dict[Id, Annotated[dict[Id, CourseName], BeforeValidator(_or_empty)]],
        Field(
            min_length=1,
            description="By deployment ID, its courses: by context ID, the name of the course here.",
        ),
    ]

    @model_validator(mode="after")
    def _require_safe(self) -> Self:
        for key in ("issuer", "authorization_url", "keys_url"):
            require_safe_url(key, getattr(self, key))
        return self


def require_distinct(platforms: Sequence[Platform]) -> None:
    """Check that each registration is there once. Raises: ValueError."""
    known = Counter((one.issuer, one.client_id) for one in platforms)
    for (issuer, client), number in known.items():
        if number > 1:
            raise ValueError(
                f"platforms has {issuer} with the client_id {client!r} twice; put its deployments together"
            )
