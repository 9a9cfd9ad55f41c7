"""The values of sharing: places in line, reservations, what is kept or taken out of use, what was used.

As in :mod:`gpuspawner.core.model`, times are timezone-aware UTC datetimes, amounts of memory are bytes, and
``None`` means *unknown* or *none*, as each field says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from .model import NO_PARTY, Party, SpawnRequest

EVERYBODY = "default"
"""Name of the group that everybody is in."""


class TicketState(StrEnum):
    """The life of a place in line."""

    WAITING = "waiting"
    """In the line."""
    OFFERED = "offered"
    """Its turn has come: a lease is reserved, and its person has until ``claim_by``."""
    CLAIMED = "claimed"
    """Its person has the server. An end."""
    ENDED = "ended"
    """Left, replaced, not claimed twice, or no longer possible; the reason says which. An end."""

    @property
    def live(self) -> bool:
        """Whether it still has a place."""
        return self in (TicketState.WAITING, TicketState.OFFERED)


class Holder(NamedTuple):
    """Whom something is set aside for."""

    kind: str
    """``person``, ``group`` or ``course``."""
    name: str

    def has(self, person: str, party: Party) -> bool:
        """Whether a person of this party belongs to it."""
        if self.kind == "person":
            return self.name == person
        if self.kind == "group" and self.name == EVERYBODY:
            return True
        return self.name in (party.groups if self.kind == "group" else party.courses)

    def __str__(self) -> str:
        return self.name if self.kind == "person" else f"{self.kind} `{self.name}`"


class ActorKind(StrEnum):
    """Where somebody acts. The same name means somebody else in each place."""

    PERSON = "person"
    """The hub: the name is that of its user."""
    SERVICE = "service"
    """The hub: a program with a token of its own."""
    SHELL = "shell"
    """The host's command line: the name is that of a Unix user, who administers this."""
    UNKNOWN = "unknown"
    """It was not written down."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something."""

    name: str
    """As the audit trail has it."""
    kind: ActorKind

    def is_person(self, person: str | None) -> bool:
        """Whether it is this user of the hub, for certain."""
        return person is not None and self.kind is ActorKind.PERSON and self.name == person


@dataclass(frozen=True, slots=True)
class Terms:
    """What the line needs to know of a person's allowance; written anew when the policy changes."""

    cards: frozenset[str] | None = None
    """Models and UUIDs that may be used; None for all."""
    slices: frozenset[str] | None = None
    """MIG profiles that may be used; None for all."""
    longest: timedelta | None = None
    """Longest session; None for no limit."""
    weight: float = 1.0
    """Twice the weight may have used twice as much for the same place."""
    shares: tuple[tuple[Holder, float], ...] = ()
    """Guaranteed shares that the person is one of: whose, and what part of all devices from 0 to 1."""
    gpus_per_person: int | None = None
    """Devices in all servers of the person together."""
    gpu_hours: float | None = None
    """GPU-hours that the person may hold in seven days; None for no limit."""
    seats: tuple[tuple[str, int], ...] = ()
    """Courses that the session is one of, and how many may work in each at once."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in line: what is wanted for one server, since when."""

    id: str
    host: str
    owner: str
    server: str
    """The hub's server name; empty for the default server. A server has one live ticket at most."""
    request: SpawnRequest
    image: str
    """Image reference that will run."""
    asked_at: datetime
    """When it was first asked for; never changes."""
    queued_at: datetime
    """What the order by arrival goes by; later than ``asked_at`` after a return to the end of the line."""
    state: TicketState
    state_since: datetime
    reason: str
    """Why it is in this state, for people."""
    terms: Terms = Terms()
    party: Party = NO_PARTY
    lease_id: str | None = None
    """While it is offered: the lease that is reserved for it."""
    claim_by: datetime | None = None
    """While it is offered: until when its person may take it."""
    returns: int = 0
    """How often it was offered and not claimed."""
    failures: int = 0
    """How often its server did not come up."""
    not_before: datetime | None = None
    """After a failure: when it may be offered something again."""
    switch_at: datetime | None = None
    """While it is offered: when its person took it before its server was started. It is started then, also in
    place of one that runs."""


@dataclass(frozen=True, slots=True)
class Drain:
    """An administrator takes a device out of use."""

    device: str
    reason: str
    actor: str
    since: datetime
    until: datetime | None = None
    """When it comes back by itself; None when somebody must undrain it."""
    now: bool = False
    """Whether sessions on it are ended; otherwise they go on, and none begins."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An administrator keeps a device for somebody."""

    device: str
    holder: Holder
    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """Who may hold how many devices, and when."""

    id: str
    host: str
    title: str
    holder: Holder
    devices: int
    """How many."""
    start: datetime
    """First start."""
    length: timedelta
    zone: str
    """IANA name of the time zone in which it recurs: 14:00 stays 14:00 when the clocks change."""
    actor: Actor
    """Who made it."""
    made_at: datetime
    users: tuple[str, ...] = ()
    """The people of the holder who may use it; empty for all of them."""
    cards: frozenset[str] = frozenset()
    """Models and UUIDs among which the devices are; empty for any."""
    pool: str = ""
    """Name of the pool that ``cards`` came from, for people."""
    rule: str = ""
    """RFC 5545 recurrence rule, such as ``FREQ=WEEKLY;COUNT=10``; empty for once."""
    left_out: tuple[datetime, ...] = ()
    """Starts that do not take place."""
    lead: timedelta = timedelta(0)
    """So long before each start the devices are kept free."""
    ended_at: datetime | None = None
    """When it was cancelled; occurrences that began before are history."""

    def admits(self, person: str, party: Party) -> bool:
        """Whether somebody may use it."""
        return self.holder.has(person, party) and (not self.users or person in self.users)


@dataclass(frozen=True, slots=True)
class SeatReturn:
    """Seats of one occurrence that nobody used in time, and that are everybody's again."""

    reservation_id: str
    start: datetime
    seats: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What a person has used lately, less and less of it as it grows old (core/shares.py)."""

    gpu_seconds: float
    at: datetime
    """For when it was computed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one lease used of one device on one UTC day."""

    lease_id: str
    device: str
    day: date
    owner: str
    server: str
    image: str
    model: str
    party: Party
    held_seconds: float = 0
    sampled_seconds: float = 0
    """Of the held time, what samples cover."""
    active_seconds: float = 0
    """Of the sampled time, that in which some kernel ran."""
    peak_memory_bytes: int | None = None
    energy_joules: float | None = None
