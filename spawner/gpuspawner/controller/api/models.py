"""What the API takes and gives, as pydantic models: the document, the checks and the answers come from these.

Times are ISO 8601 with an offset, amounts of memory are bytes, lengths of time are seconds. ``null`` is
unknown, or that there is none.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from gpuspawner.policy.options import UserOptions

SERVER_NAME = r"^[^/\x00-\x1f\x7f]{0,255}$"
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def _as_utc(value: datetime) -> datetime:
    if not datetime(2000, 1, 1, tzinfo=UTC) < value < _LATEST:
        raise ValueError("write a time between the years 2000 and 9000")
    return value.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_as_utc)]
Reason = Annotated[str, Field(min_length=1, max_length=500, description="Why; people read it.")]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class Body(BaseModel):
    """What somebody sends: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class ErrorDetail(Answer):
    """What went wrong."""

    kind: Annotated[str, Field(description="A fixed word, for programs.")]
    message: Annotated[str, Field(description="A sentence that names the thing and the fix, for people.")]


class Error(Answer):
    """The answer to everything that is not done."""

    error: ErrorDetail


class Done(Answer):
    """It is done."""

    done: Literal[True] = True


# -- who asks -----------------------------------------------------------------------------------------------


class Me(Answer):
    """Who asks, and what they may do here."""

    name: str
    kind: Literal["person", "service"]
    groups: list[str]
    scopes: Annotated[list[str], Field(description="Of those that the controller knows.")]
    teaches: Annotated[list[str], Field(description="Courses, by name.")]


# -- cards --------------------------------------------------------------------------------------------------


class DrainInfo(Answer):
    """Why a card is out of use."""

    reason: str
    actor: str
    since: Time
    until: Time | None
    now: Annotated[bool, Field(description="Whether sessions on it are ended.")]


class HolderInfo(Answer):
    """Whom something is set aside for."""

    kind: Literal["person", "group", "course"]
    name: str


class PinInfo(Answer):
    """Whom a card is kept for."""

    holder: HolderInfo
    reason: str
    actor: str
    since: Time


class Card(Answer):
    """A GPU, or a MIG instance of one."""

    uuid: str
    model: str
    index: int | None
    parent: Annotated[str | None, Field(description="UUID of the whole card, for a MIG instance.")]
    memory_bytes: int
    compute_capability: Annotated[str | None, Field(description="Such as `8.0`.")]
    state: Annotated[
        Literal["free", "held", "releasing", "quarantined", "occupied", "drained", "faulty", "unknown"],
        Field(description="What it is doing."),
    ]
    health: Literal["ok", "faulty", "unknown"]
    health_reason: str
    seen_at: Time
    utilization_percent: int | None
    memory_used_bytes: int | None
    temperature_celsius: int | None
    power_milliwatts: int | None
    drain: DrainInfo | None
    pin: PinInfo | None
    mine: Annotated[bool, Field(description="Whether who asks holds it.")]
    lease_id: Annotated[str | None, Field(description="Only of sessions that who asks may see.")]
    holder: Annotated[str | None, Field(description="Only of sessions that who asks may see.")]


class Cards(Answer):
    """All cards of the host."""

    host: str
    at: Time
    cards: list[Card]


class DrainBody(Body):
    """Take a card out of use."""

    reason: Reason
    until: Annotated[
        Time | None, Field(description="When it comes back by itself; null: somebody undrains it.")
    ] = None
    now: Annotated[bool, Field(strict=True, description="End the sessions on it, rather than waiting.")] = (
        False
    )


class ReasonBody(Body):
    """Why."""

    reason: Reason


class AssignBody(Body):
    """Keep a card for somebody, or for nobody."""

    holder: Annotated[HolderBody | None, Field(description="null: for nobody any more.")]
    reason: Reason


class HolderBody(Body):
    """Whom something is set aside for."""

    kind: Literal["person", "group", "course"]
    name: Name


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
    asked_at: Time
    queued_at: Time
    claim_by: Time | None
    position: Annotated[
        int | None, Field(description="1 is the first; 0: its turn has come; null: it has ended.")
    ]
    ahead: int | None
    estimate: EstimateInfo | None
    ends_at: Annotated[Time | None, Field(description="For an offer: when the session would end.")]


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


# -- sessions -----------------------------------------------------------------------------------------------


class Session(Answer):
    """Who holds what."""

    id: str
    owner: str
    server: str
    state: Literal["reserved", "active", "releasing", "quarantined", "released"]
    reason: str
    devices: Annotated[list[str], Field(description="UUIDs.")]
    image: str
    courses: list[str]
    created_at: Time
    ends_at: Time | None
    end_reason: str


class Sessions(Answer):
    """Sessions that hold something, as far as who asks may see them."""

    at: Time
    sessions: list[Session]


class ExtendBody(Body):
    """Let a session go on."""

    until: Time
    reason: Reason


class MessageBody(Body):
    """Tell the person of a session something."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


# -- reservations -------------------------------------------------------------------------------------------


class ReservationInfo(Answer):
    """Who may hold how many devices, and when."""

    id: str
    title: str
    holder: HolderInfo
    devices: int
    start: Time
    length_seconds: float
    zone: str
    rule: str
    left_out: Annotated[list[Time], Field(description="Starts that do not take place.")]
    lead_seconds: float
    users: list[str]
    pool: str
    cards: list[str]
    actor: str


class ReservationMade(Answer):
    """A reservation that was made or changed."""

    reservation: ReservationInfo
    warnings: Annotated[list[str], Field(description="What may stand in its way.")]


class Reservations(Answer):
    """Reservations that stand."""

    at: Time
    reservations: list[ReservationInfo]


class ReservationsMade(Answer):
    """Reservations that were made or changed."""

    made: list[ReservationMade]


Moment = Annotated[str, Field(max_length=40, description="ISO 8601, in the time zone or with an offset.")]
Length = Annotated[str, Field(max_length=40, description="Such as `8 h` or `1 h 30 min`.")]


class ReservationFields(Body):
    """Fields of a reservation; what they mean is judged where reservations are made."""

    title: Annotated[str | None, Field(max_length=200, description="What it is for; all can read it.")] = None
    person: Annotated[Name | None, Field(description="Who it is for; or group, or course.")] = None
    group: Annotated[Name | None, Field(description="Who it is for: a group of the policy.")] = None
    course: Annotated[Name | None, Field(description="Who it is for: a course of the policy.")] = None
    users: Annotated[
        list[Name] | None, Field(max_length=1000, description="Those of them who may use it; none is all.")
    ] = None
    devices: Annotated[int | None, Field(strict=True, ge=1, le=1000, description="How many.")] = None
    models: Annotated[list[Name] | None, Field(max_length=1000, description="Models to choose from.")] = None
    pool: Annotated[str | None, Field(max_length=200, description="Pool to choose from.")] = None
    cards: Annotated[list[Name] | None, Field(max_length=1000, description="UUIDs to choose from.")] = None
    start: Annotated[Moment | None, Field(description="First start.")] = None
    end: Annotated[Moment | None, Field(description="Its end; or give the length.")] = None
    length: Length | None = None
    zone: Annotated[str | None, Field(max_length=64, description="IANA zone in which it recurs.")] = None
    rule: Annotated[
        str | None, Field(max_length=500, description="RFC 5545, such as `FREQ=WEEKLY;COUNT=10`.")
    ] = None
    left_out: Annotated[
        list[Moment] | None,
        Field(alias="except", max_length=1000, description="Days or starts that do not take place."),
    ] = None
    lead: Annotated[Length | None, Field(description="So long before, the devices are kept free.")] = None

    def fields(self) -> dict[str, Any]:
        """What was sent, by the names that it was sent under."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class ReservationBody(ReservationFields):
    """Reserve devices."""

    title: Annotated[str, Field(min_length=1, max_length=200, description="What it is for; all can read it.")]
    devices: Annotated[int, Field(strict=True, ge=1, le=1000, description="How many.")]
    start: Annotated[Moment, Field(description="First start.")]


class ImportBody(Body):
    """An iCalendar document."""

    calendar: Annotated[str, Field(min_length=1, max_length=200_000)]
    defaults: Annotated[
        ReservationFields, Field(description="For events that do not say them themselves.")
    ] = ReservationFields()


# -- accounts -----------------------------------------------------------------------------------------------


class UsageQuery(Body):
    """Which accounts."""

    by: Annotated[
        Literal["user", "group", "course", "image", "model", "device", "day", "lease"],
        Field(description="One row for each."),
    ] = "user"
    since: Annotated[date | None, Field(description="First day; a week ago unless given.")] = None
    until: Annotated[date | None, Field(description="Last day; today unless given.")] = None


class UsageLine(Answer):
    """What was used."""

    key: Annotated[str, Field(description="What `by` says; empty for what belongs to none.")]
    about: Annotated[str, Field(description="Whose a lease was, which model a device is.")]
    held_hours: float
    sampled_hours: Annotated[float, Field(description="Of the held hours, what samples cover.")]
    active_hours: Annotated[float | None, Field(description="Of the sampled ones, with a kernel running.")]
    peak_memory_bytes: int | None
    energy_kwh: float | None
    sessions: int


class Usage(Answer):
    """A report: everybody's for who manages, else one's own."""

    by: str
    since: date
    until: date
    rows: list[UsageLine]


class EventsQuery(Body):
    """Which lines of the audit trail."""

    kind: Annotated[str, Field(max_length=100, description="What the kind begins with.")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EventInfo(Answer):
    """A line of the audit trail."""

    at: Time
    kind: str
    reason: str
    actor: str
    lease_id: str | None
    device: str | None
    data: dict[str, Any]


class Events(Answer):
    """The audit trail, newest first."""

    events: list[EventInfo]


class MessageInfo(Answer):
    """What somebody, or the system, told a person."""

    at: Time
    text: str
    actor: str
    lease_id: str | None


class Messages(Answer):
    """One's own messages, newest first."""

    messages: list[MessageInfo]


AssignBody.model_rebuild()
