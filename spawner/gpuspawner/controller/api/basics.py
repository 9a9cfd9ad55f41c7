"""What all models of the API are made of."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from gpuspawner.controller.views.periods import FIRST, LAST
from gpuspawner.core.words import mark

SERVER_NAME = r"^[^/\x00-\x1f\x7f]{0,255}$"
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _as_utc(value: datetime) -> datetime:
    if not datetime(2000, 1, 1, tzinfo=UTC) < value < _LATEST:
        raise ValueError(mark("write a time between the years 2000 and 9000"))
    return value.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_as_utc)]
Day = Annotated[date, Field(ge=FIRST, le=LAST)]
"""A UTC day that somebody asks for, so far from the calendar's ends that one can reckon with it."""
Reason = Annotated[str, Field(min_length=1, max_length=500, description="Why; people read it.")]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class Body(BaseModel):
    """What somebody sends: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class ConflictInfo(Answer):
    """A time at which a reservation cannot have its devices."""

    start: Annotated[Time, Field(description="Which occurrence of the new one.")]
    at: Annotated[Time, Field(description="From when they are missing.")]
    left: Annotated[int, Field(description="How many it could have.")]
    reservations: Annotated[list[str], Field(description="Ids of those that have the rest.")]


class ErrorDetail(Answer):
    """What went wrong."""

    kind: Annotated[str, Field(description="A fixed word, for programs.")]
    message: Annotated[str, Field(description="A sentence that names the thing and the fix, for people.")]
    conflicts: Annotated[
        list[ConflictInfo], Field(description="What a reservation collides with, 20 times at most.")
    ] = []


class Error(Answer):
    """The answer to everything that is not done."""

    error: ErrorDetail


class Done(Answer):
    """It is done."""

    done: Literal[True] = True


class HolderInfo(Answer):
    """Whom something is set aside for."""

    kind: Literal["person", "group", "course"]
    name: str


class HolderBody(Body):
    """Whom something is set aside for."""

    kind: Literal["person", "group", "course"]
    name: Name
