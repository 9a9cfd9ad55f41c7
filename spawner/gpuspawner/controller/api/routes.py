"""What a route is, and what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from gpuspawner.controller.identity import READ, Caller
from gpuspawner.controller.services import Services
from gpuspawner.core.errors import GpuSpawnerError, SettingsError
from gpuspawner.core.roster import Role

MOST_BODY = 256 * 1024
"""Bytes of a body, unless a route says otherwise."""
ICAL = "text/calendar; charset=utf-8"
PARAMETER = re.compile(r"\{(\w+)\}")


class Forbidden(GpuSpawnerError):
    """Who asks may see it, and may not do this to it."""


@dataclass(frozen=True)
class Call:
    """One request, checked; what it asks for is still to be judged, by the policy at one moment."""

    services: Services
    caller: Caller
    path: Mapping[str, str]
    query: Any = None
    """An instance of the route's model."""
    body: Any = None
    """An instance of the route's model."""

    @cached_property
    def roles(self) -> Mapping[str, Role]:
        """What the caller is in courses, by course; nothing where the policy is broken."""
        person = self.caller.person
        try:
            return self.services.policies.roles_of(person) if person is not None else {}
        except SettingsError:
            return {}


@dataclass(frozen=True)
class Route:
    """One operation. The handler, the document and the page on the API are made of these.

    It is called in a thread, and may block.
    """

    method: str
    path: str
    """Below ``/services/gpu/api``, with parameters in braces."""
    operation: str
    """Its id in the document."""
    summary: str
    call: Callable[[Call], BaseModel | str | Mapping[str, Any]]
    answer: type[BaseModel] | None
    """None for what is not a model: a calendar, the document."""
    scope: str = READ
    body: type[BaseModel] | None = None
    body_needed: bool = True
    query: type[BaseModel] | None = None
    status: int = 200
    media: str = "application/json"
    conflicts: bool = False
    """Whether it may be refused with 409."""
    most_body: int = MOST_BODY
    """Bytes."""
    slow: bool = False
    """Whether it can keep a processor busy for long: few are done at a time, the rest may get 429."""

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters."""
        return tuple(PARAMETER.findall(self.path))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What matches the path."""
        return re.compile(
            PARAMETER.sub(
                r"(?P<\1>[^/]{1,200})", re.escape(self.path).replace(r"\{", "{").replace(r"\}", "}")
            )
        )
