"""What the API takes and gives, as pydantic models: the document, the checks and the answers come from these.

Times are ISO 8601 with an offset, amounts of memory are bytes, lengths of time are seconds. ``null`` is
unknown, or that there is none.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field

from gpuspawner.passport.model import Passport

from .basics import Answer, Body, Day, HolderBody, HolderInfo, Reason, Time

# -- who asks -----------------------------------------------------------------------------------------------


class LimitInfo(Answer):
    """One limit of a person, and the rule of the policy that gives it."""

    name: str
    value: Annotated[
        int | float | list[str] | None,
        Field(description="A number, bytes, or seconds; or what may be used; null is no limit."),
    ]
    rule: str


class BudgetInfo(Answer):
    """How a person stands with their GPU-hours in seven days."""

    limit_hours: Annotated[float | None, Field(description="null is no limit.")]
    rule: str
    used_hours: float
    left_hours: float | None
    back_on: Annotated[date | None, Field(description="The UTC day on which the first hours come back.")]
    ends_at: Annotated[
        Time | None, Field(description="When the sessions that run will have used it up; null: never.")
    ]


class Me(Answer):
    """Who asks, what they may do and use here, and what they have."""

    name: str
    kind: Literal["person", "service"]
    groups: list[str]
    scopes: Annotated[list[str], Field(description="Of those that the controller knows.")]
    teaches: Annotated[list[str], Field(description="Courses, by name.")]
    assists: Annotated[list[str], Field(description="Courses, by name.")]
    allowance: Annotated[
        list[LimitInfo] | None, Field(description="null for a service, and while the policy cannot be read.")
    ]
    budget: Annotated[
        BudgetInfo | None, Field(description="null for a service, and while the policy cannot be read.")
    ]
    places: Annotated[list[str], Field(description="Ids of one's places in line.")]
    sessions: Annotated[list[str], Field(description="Ids of one's sessions.")]


# -- cards --------------------------------------------------------------------------------------------------


class DrainInfo(Answer):
    """Why a card is out of use."""

    reason: str
    actor: str
    since: Time
    until: Time | None
    now: Annotated[bool, Field(description="Whether sessions on it are ended.")]


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


# -- images -------------------------------------------------------------------------------------------------


class ImageSummary(Answer):
    """An image that can be chosen."""

    name: str
    reference: str
    default: Annotated[bool, Field(description="Whether a start takes it where no other is chosen.")]
    candidate: Annotated[bool, Field(description="Only those can choose it whose policy names it.")]
    until: Annotated[date | None, Field(description="Last day of a frozen one.")]
    digest: Annotated[str | None, Field(description="Its id, `sha256:…`; null: it is not here.")]
    problem: Annotated[str, Field(description="Why it has no passport, for people; empty: it has one.")]
    barred: Annotated[str | None, Field(description="Why who asks may not use it, for people.")]
    minimum_driver: Annotated[str | None, Field(description="null: any driver will do, or it is not known.")]
    compute_capabilities: Annotated[
        list[str],
        Field(description="It has code for: `8.0`, `9.0a` (this alone), `12.0+PTX` (and later); empty: any."),
    ]
    validated_on: Annotated[list[str], Field(description="Architectures: `sm_80`, `cpu-avx2`.")]
    not_validated_on: Annotated[list[str], Field(description="Of those that are here.")]
    does_not_run_on: Annotated[list[str], Field(description="Models of GPUs that are here.")]


class ImageInfo(ImageSummary):
    """An image with all that is known of it."""

    passport: Annotated[Passport | None, Field(description="null: it has none.")]


class Images(Answer):
    """The images, in the order of the settings."""

    images: list[ImageSummary]


# -- sessions -----------------------------------------------------------------------------------------------


class Session(Answer):
    """Who holds what."""

    id: str
    owner: str
    server: str
    state: Literal["reserved", "active", "releasing", "quarantined", "released"]
    reason: str
    devices: Annotated[list[str], Field(description="UUIDs.")]
    image: Annotated[str, Field(description="Reference that was chosen.")]
    digest: Annotated[
        str | None,
        Field(description="Id of the image that runs, `sha256:…`; null: not started, or not known."),
    ]
    courses: list[str]
    created_at: Time
    ends_at: Time | None
    end_reason: str


class Sessions(Answer):
    """Sessions that hold something, as far as who asks may see them."""

    at: Time
    sessions: list[Session]


class StopBody(ReasonBody):
    """End a session."""

    grace_seconds: Annotated[
        int,
        Field(strict=True, ge=0, le=86400, description="How long it goes on, to be saved in; 0: at once."),
    ] = 0


class ExtendBody(Body):
    """Let a session go on."""

    until: Time
    reason: Reason


class OwnExtension(Answer):
    """What extending one's own session by one step would come to."""

    until: Annotated[Time | None, Field(description="Its new end; null: it cannot be extended.")]
    why_not: Annotated[str, Field(description="Why it cannot, for people; empty where it can.")]


class OwnExtendBody(Body):
    """Let one's own session go on by one step."""

    until: Annotated[
        Time | None, Field(description="The end that one was shown: nothing is done if it is another now.")
    ] = None


class Signal(Answer):
    """One thing that was looked at."""

    what: str
    source: Annotated[str, Field(description="Who said so.")]
    at: Annotated[Time | None, Field(description="When; null: never.")]
    says: str


class Idleness(Answer):
    """Whether something is done in one's own session, as it was judged last."""

    step: Annotated[
        Literal["keep", "warn", "stop"] | None, Field(description="null: nobody has looked into it yet.")
    ]
    at: Annotated[
        Time | None, Field(description="When it is warned (keep) or stopped (warn) if nothing changes.")
    ]
    reason: Annotated[str, Field(description="For people.")]
    signals: list[Signal]
    acted_on: Annotated[bool, Field(description="Whether idle sessions are stopped here, or only reported.")]
    kept_until: Annotated[Time | None, Field(description="Until when it is kept whatever is done in it.")]
    finish: Annotated[bool, Field(description="Whether it ends as soon as nothing runs in it any more.")]
    can_be_kept_until: Annotated[Time | None, Field(description="What keeping it now would come to.")]
    why_not: Annotated[str, Field(description="Why it cannot be kept, for people; empty where it can.")]


class Kept(Answer):
    """One's own session is kept."""

    until: Time


class FinishBody(Body):
    """Let one's own session end by itself as soon as nothing runs in it any more, or not."""

    finish: bool


class MessageBody(Body):
    """Tell the person of a session something."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


# -- accounts -----------------------------------------------------------------------------------------------


class UsageQuery(Body):
    """Which accounts."""

    by: Annotated[
        Literal["user", "group", "course", "image", "model", "device", "day"],
        Field(description="One row for each."),
    ] = "user"
    since: Annotated[Day | None, Field(description="First day; a week ago unless given.")] = None
    until: Annotated[Day | None, Field(description="Last day; today unless given.")] = None


class UsageLine(Answer):
    """What was used; hours are GPU-hours, and an hour of a MIG instance is one too."""

    key: Annotated[str, Field(description="Person, group, …; empty for what belongs to none.")]
    about: Annotated[str, Field(description="Whose server a lease was, which model a device is; else empty.")]
    sessions: int
    held_hours: float
    sampled_hours: Annotated[float, Field(description="Of the held ones, those that samples cover.")]
    active_hours: Annotated[float | None, Field(description="Of the sampled ones; null when none were.")]
    wasted_hours: float | None
    peak_memory_bytes: int | None
    energy_kwh: float | None


class Usage(Answer):
    """A report: everybody's for who manages, else one's own."""

    by: str
    since: date
    until: date
    rows: list[UsageLine]
    total: Annotated[UsageLine, Field(description="Everything once, also what counts for several groups.")]


class EventsQuery(Body):
    """Which lines of the audit trail."""

    kind: Annotated[str, Field(max_length=100, description="What the kind begins with.")] = ""
    person: Annotated[str, Field(max_length=255, description="Who decided, or whom it concerned.")] = ""
    card: Annotated[
        str, Field(max_length=100, description="What the UUID begins with, of a GPU that it was about.")
    ] = ""
    text: Annotated[str, Field(max_length=500, description="What stands in the reason.")] = ""
    since: Annotated[Day | None, Field(description="First UTC day.")] = None
    until: Annotated[Day | None, Field(description="Last UTC day.")] = None
    before: Annotated[
        int | None, Field(ge=0, lt=2**63, description="Older than the line of this id: the next page.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class EventInfo(Answer):
    """A line of the audit trail."""

    id: Annotated[int, Field(description="Rises with every line.")]
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
