"""What the API gives to a server that asks for its own session, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .basics import Answer, Time
from .models import Signal


class InsideGpu(Answer):
    """A GPU of one's own session, now."""

    uuid: str
    model: Annotated[str | None, Field(description="null while the card is not listed.")]
    memory_bytes: Annotated[int | None, Field(description="Installed; null while the card is not listed.")]
    at: Annotated[Time | None, Field(description="When it was measured; null: the sensor is silent.")]
    utilization_percent: int | None
    memory_used_bytes: int | None


class InsideStop(Answer):
    """What stops a session first, as things are."""

    at: Time
    cause: Annotated[Literal["end", "idle"], Field(description="An end that was set; or nothing is done.")]
    reason: Annotated[str, Field(description="For people.")]
    warned: Annotated[
        int | None,
        Field(description="Minutes before it of the last warning; 0: it is under way; null: none yet."),
    ]


class InsideView(Answer):
    """A session, asked for by its own server."""

    at: Annotated[Time, Field(description="The present.")]
    server: str
    gpus: list[InsideGpu]
    stop: Annotated[InsideStop | None, Field(description="null: nothing stops it, as things are.")]
    ending: Annotated[bool, Field(description="Whether it is being stopped already.")]
    reason: Annotated[str, Field(description="How its idleness was judged last, for people; empty: not yet.")]
    signals: list[Signal]
    acted_on: Annotated[bool, Field(description="Whether idle sessions are stopped here, or only reported.")]
    kept_until: Annotated[Time | None, Field(description="Until when it is kept whatever is done in it.")]
    finish: Annotated[bool, Field(description="Whether it ends as soon as nothing runs in it any more.")]
