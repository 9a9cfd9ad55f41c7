"""What the API takes and gives of the line and of reservations, as pydantic models."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from gpuspawner.policy.options import UserOptions

from .basics import Answer, Body, Day, Name, Reason, Time

SERVER_NAME = r"^[^/\x00-\x1f\x7f]{0,255}$"

# -- the line -----------------------------------------------------------------------------------------------


class EstimateInfo(Answer):
    """When a turn may come."""

    earliest: Time
    latest: Annotated[Time | None, Field(description="null: it cannot be bounded.")]
    basis: str


class Place(Answer):
    """A place in line."""

    id: str
    owner: str
    server: str
    state: Literal["waiting", "offered", "claimed", "ended"]
    reason: str
    gpus: int
    model: str | None
    image: str | None
    courses: Annotated[list[str], Field(description="The course that it counts for now; none, or one.")]
    slice_bytes: Annotated[int | None, Field(description="A slice of at least this memory, not a whole GPU.")]
    memory_bytes: Annotated[int | None, Field(description="Least memory of each GPU.")]
    compute_capability: Annotated[str | None, Field(description="Least one of each GPU, such as `8.0`.")]
    session_seconds: Annotated[float | None, Field(description="How long it is to be; null: as allowed.")]
    shorten: Annotated[bool, Field(description="Whether a session that must end earlier is taken.")]
    asked_at: Time
    queued_at: Annotated[Time, Field(description="What the order by arrival goes by.")]
    returns: Annotated[int, Field(description="How often it was offered and not claimed.")]
    claim_by: Time | None
    position: Annotated[
        int | None, Field(description="1 is the first; 0: its turn has come; null: it has ended.")
    ]
    ahead: int | None
    estimate: EstimateInfo | None
    ends_at: Annotated[Time | None, Field(description="For an offer: when the session would end.")]
    starting: Annotated[bool, Field(description="For an offer: whether its server starts or runs.")]
    switch_possible: Annotated[
        bool, Field(description="For an offer: whether the server runs without it; a claim restarts it.")
    ]
    claimed_at: Annotated[
        Time | None, Field(description="For an offer: when it was claimed before its server ran.")
    ]


class Queue(Answer):
    """The line: everybody's places for who manages it, else one's own."""

    at: Time
    length: Annotated[int, Field(description="Places in all.")]
    places: list[Place]


class AskBody(Body):
    """Ask for a server, and wait in line for it."""

    server: Annotated[
        str, Field(pattern=SERVER_NAME, description="Name of the server; empty for the default one.")
    ] = ""
    options: UserOptions


class ChangeBody(Body):
    """Ask for something else in the same place."""

    options: UserOptions


class LeaveBody(Body):
    """Why somebody else's place is given up; not needed for one's own."""

    reason: Reason | None = None


# -- reservations -------------------------------------------------------------------------------------------


class ReservationInfo(Answer):
    """Who may hold how many devices, and when; with the keys of what is sent, and a few more."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    id: str
    title: str
    person: Annotated[str | None, Field(description="Empty where it is somebody who is not named to you.")]
    group: str | None
    course: str | None
    users: Annotated[list[str], Field(description="Those of them who may use it; [] is all, or not told.")]
    devices: int
    models: list[str]
    pool: str | None
    cards: list[str]
    start: Annotated[AwareDatetime, Field(description="In its time zone.")]
    length: str
    zone: str
    rule: str
    left_out: Annotated[list[AwareDatetime], Field(alias="except")]
    lead: str
    actor: Annotated[str, Field(description="Who made it; empty where you may not know.")]
    actor_kind: Annotated[
        Literal["person", "service", "shell", "unknown"] | None,
        Field(
            description="Where `actor` is a name: of the hub's people or services, or on the host's command "
            "line; `unknown`: it was made before that was written down. null where you may not know."
        ),
    ]
    made_at: Time
    mine: Annotated[bool, Field(description="Whether who asks can change it.")]
    warnings: Annotated[list[str], Field(description="What may stand in its way: it was made nevertheless.")]


class OccurrenceInfo(Answer):
    """A time at which a reservation takes place."""

    reservation: Annotated[str, Field(description="Its id.")]
    title: str
    start: Time
    end: Time
    held_from: Annotated[Time, Field(description="From when the devices are kept free.")]
    devices: int
    seats: Annotated[int, Field(description="Of the devices, those that were not given back.")]


class Reservations(Answer):
    """Reservations that stand, and when they take place."""

    at: Time
    since: date
    until: date
    reservations: list[ReservationInfo]
    occurrences: list[OccurrenceInfo]


class ReservationsQuery(Body):
    """Of which days what takes place is listed."""

    since: Annotated[Day | None, Field(description="First day, UTC; today unless given.")] = None
    until: Annotated[Day | None, Field(description="Last day; two weeks later unless given.")] = None


class CalendarInfo(Answer):
    """A calendar that can be read by a secret address."""

    person: str
    made_at: Annotated[Time, Field(description="When the address was made, or renewed.")]
    read_at: Annotated[
        Time | None, Field(description="When it was last read, to within a minute; null: not yet.")
    ]


class Calendars(Answer):
    """Whose calendars have a secret address."""

    at: Time
    calendars: list[CalendarInfo]


class Imported(Answer):
    """What became of a calendar."""

    reservations: list[ReservationInfo]
    changed: Annotated[list[str], Field(description="Ids of those that were there before.")]


class ImportBody(Body):
    """An iCalendar document, and what holds for events that do not say it."""

    calendar: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200_000,
            description="RFC 5545. The rest is for events that do not say it.",
        ),
    ]
    person: Annotated[Name | None, Field(description="Who it is for: a user name; or group, or course.")] = (
        None
    )
    group: Annotated[Name | None, Field(description="Who it is for: a group of the policy.")] = None
    course: Annotated[Name | None, Field(description="Who it is for: a course of the policy.")] = None
    devices: Annotated[int | None, Field(strict=True, ge=1, description="How many GPUs or slices.")] = None
    models: Annotated[
        list[Name], Field(default_factory=list, max_length=1000, description="Full names of models.")
    ]
    pool: Annotated[Name | None, Field(description="A pool of the policy to choose from.")] = None
    cards: Annotated[
        list[Name], Field(default_factory=list, max_length=1000, description="UUIDs to choose from.")
    ]
    lead: Annotated[str | None, Field(max_length=40, description="Such as 10 min.")] = None
    zone: Annotated[Name | None, Field(description="Time zone of times that name none.")] = None
