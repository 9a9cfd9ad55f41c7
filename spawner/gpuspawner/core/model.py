"""The values that every part of gpuspawner talks in.

All times are timezone-aware UTC datetimes, all amounts of memory are bytes.
``None`` means *unknown*: never zero, never idle, never free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from .faults import Fault


class Health(StrEnum):
    """What is known of a device's condition."""

    OK = "ok"
    """The device answers and reports no fault."""
    FAULTY = "faulty"
    """The device or its driver reports a fault that makes it unfit for work."""
    UNKNOWN = "unknown"
    """The device did not answer; nothing may be concluded."""


class LeaseState(StrEnum):
    """The life of a lease; the legal steps are in :mod:`gpuspawner.core.lifecycle`."""

    RESERVED = "reserved"
    """Devices are held for a start that is under way; there may be no container yet."""
    ACTIVE = "active"
    """The container was seen running."""
    RELEASING = "releasing"
    """The hub or the agent asked for release; the devices are not yet proved free."""
    QUARANTINED = "quarantined"
    """Release could not be proved in time; the devices stay held, with the evidence."""
    RELEASED = "released"
    """Proved free. The only state in which the devices are not held."""

    @property
    def live(self) -> bool:
        """Whether a lease in this state holds its devices."""
        return self is not LeaseState.RELEASED

    @property
    def ending(self) -> bool:
        """Whether its person has already let go of it."""
        return self not in (LeaseState.RESERVED, LeaseState.ACTIVE)


class ContainerState(StrEnum):
    """Docker's word for a container, reduced to what matters for a lease."""

    CREATED = "created"
    """Made and not started: holds no device."""
    RUNNING = "running"
    """Running, paused or restarting: holds its devices."""
    EXITED = "exited"
    """Ended (Docker's *exited* and *dead*): holds no device any more."""
    REMOVING = "removing"
    """Being removed; not yet gone."""


class HomeKind(StrEnum):
    """Where a home lives."""

    VOLUME = "volume"
    """A named Docker volume; ``source`` is its name."""
    BIND = "bind"
    """A directory of the host; ``source`` is its absolute path."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a MIG instance of one, as NVML describes it."""

    host: str
    """Name of the host it is in."""
    uuid: str
    """``GPU-…`` or ``MIG-…``: the only name that is never reused."""
    model: str
    """Product name, for people: ``NVIDIA A100-SXM4-40GB``."""
    memory_bytes: int
    """Installed memory."""
    index: int | None = None
    """NVML's index now; it may change at a boot. For display only."""
    compute_capability: tuple[int, int] | None = None
    """(major, minor), as in sm_80 = (8, 0)."""
    parent: str | None = None
    """UUID of the whole GPU, for a MIG instance."""
    driver: str | None = None
    """Version of the driver that runs it, such as ``580.82.07``."""
    links: tuple[tuple[str, int], ...] = ()
    """How near other whole GPUs are, as (UUID, nearness); a larger number is nearer (core/topology.py)."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a context on a device."""

    pid: int
    """Process id in the host's namespace."""
    memory_bytes: int | None = None
    """Device memory it holds."""
    container_id: str | None = None
    """Full id of the container it runs in; None when it runs on the host itself or is not known."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look at a device showed; every part may be unknown."""

    at: datetime
    """When the look began."""
    utilization_percent: int | None = None
    """Share of the last sample period in which a kernel ran, 0 to 100 %."""
    memory_used_bytes: int | None = None
    """Memory in use, without what the driver reserves for itself."""
    temperature_celsius: int | None = None
    """Core temperature."""
    power_milliwatts: int | None = None
    """Power draw."""
    processes: tuple[GpuProcess, ...] | None = None
    """Compute processes; an empty tuple means *certainly none*."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """The outcome of asking one device, the failure to answer included."""

    uuid: str
    device: Device | None = None
    """Its description, if it could be read at this look."""
    sample: Sample | None = None
    error: str | None = None
    """Why something could not be read, in words."""
    lost: bool = False
    """The driver says that the card has fallen off the bus."""
    xids: tuple[int, ...] = ()
    """XID codes raised since the last look."""
    recovery_action: int | None = None
    """NVML field 230: 0 none, 1 reset, 2 reboot, 3 drain peers, 4 drain and reset."""


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device as the ledger knows it: what it is, and what was last learned of it."""

    device: Device
    health: Health
    health_reason: str
    """Why it is not OK; empty when it is."""
    seen_at: datetime
    """When it last answered, or was last looked at in vain if it never did."""
    occupied_by: str | None = None
    """Who uses it without a lease, in words; None when nobody does."""
    standing_fault: str | None = None
    """A fault that stays until an administrator clears it."""
    baseline_bytes: int | None = None
    """Least memory it was seen to use with no process on it."""
    sample: Sample | None = None
    """The newest sample."""
    fault: Fault | None = None
    """Why it is out of service, with the evidence; None when it is well."""


@dataclass(frozen=True, slots=True)
class ImageNeeds:
    """What an image needs of a GPU and its driver; made of its passport."""

    image: str
    """Name in the image catalogue, for people."""
    minimum_driver: str | None = None
    """The oldest driver that it runs with, such as ``525`` or ``525.60.13``; None: any, it brings no CUDA."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities that there is code for, such as ``8.0``; empty: it brings no code for GPUs."""


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """A validated wish for a server; made only by :mod:`gpuspawner.policy.options`."""

    gpus: int
    """How many devices; 0 is a server without a GPU, and 1 for a slice."""
    model: str | None = None
    """Exact product name, or None for any."""
    image: str | None = None
    """Name in the image catalogue, or None for the default."""
    slice_bytes: int | None = None
    """A MIG instance of at least this memory is wanted; None for whole GPUs, or one named as model."""
    memory_bytes: int | None = None
    """Least memory of each device."""
    compute_capability: tuple[int, int] | None = None
    """Least compute capability of each device, as (major, minor)."""
    needs: ImageNeeds | None = None
    """What its image needs of each device; None when any will do, or when that is not known."""
    session: timedelta | None = None
    """How long the person wants to work at most; None for as long as they may."""
    shorten: bool = False
    """Whether a session that must end earlier is taken, rather than waiting for a longer one."""
    wait: bool = True
    """Whether a place in line is taken when the devices are not free."""
    notebooks: str | None = None
    """Course whose notebooks are pulled and opened, or None."""
    course: str | None = None
    """The one course that it is for; empty for none, None where that was not said."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container ended, kept after it is removed."""

    exit_code: int | None = None
    oom_killed: bool = False
    """The kernel ended it because its memory limit was reached."""
    memory_limit_bytes: int | None = None
    """The limit it ran under; None when there was none or it is not known."""
    finished_at: datetime | None = None
    log_tail: str = ""
    """The last lines that it printed."""
    error: str = ""
    """Docker's own error text."""


class Party(NamedTuple):
    """Whom a session counts for, beside its person; as it was when it was asked for."""

    groups: tuple[str, ...] = ()
    """The person's groups that the policy knows, in order."""
    courses: tuple[str, ...] = ()
    """The course that it is for: it takes one of its seats, and its teachers may see it. A session has one at
    most; what somebody belongs to without one may be several."""


NO_PARTY = Party()
"""Of somebody who is in no group of the policy, with an image of no course."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds which devices. One is made for every server, also for one without a GPU."""

    id: str
    host: str
    owner: str
    """The person, by the hub's user name."""
    server: str
    """The hub's server name; empty for a person's default server."""
    devices: tuple[str, ...]
    """UUIDs, in the order in which they were chosen."""
    state: LeaseState
    reason: str
    """Why it is in this state, for people."""
    claimant: str
    """The run of the hub that reserved it (see adapters/runlock.py)."""
    created_at: datetime
    state_since: datetime
    image: str = ""
    """Image reference that it was reserved for."""
    digest: str | None = None
    """The id of the image that it runs, ``sha256:…``; None when it was not yet looked up."""
    container_id: str | None = None
    outcome: Outcome | None = None
    """How its container ended, once that is known."""
    evidence: str = ""
    """Why a release was proved or a quarantine imposed."""
    party: Party = NO_PARTY
    """Whom its use counts for, beside its owner."""
    ends_at: datetime | None = None
    """When the session must end, announced from its start; None when it need not."""
    end_reason: str = ""
    """Why it must end then, for people."""
    ended_at: datetime | None = None
    """When its person let go of it, or it ended by itself: what is held later is not theirs."""
    ticket_id: str | None = None
    """The place in line that it was granted for."""
    claim_by: datetime | None = None
    """While it waits for its server's start by the controller: until when that may take."""
    reservation: tuple[str, datetime] | None = None
    """The reservation, and the start of its occurrence, that it takes a seat of."""
    warned: int | None = None
    """Minutes before ``ends_at`` of the last warning that was given."""
    accounted_at: datetime | None = None
    """Until when its use is in the accounts; None for not at all yet."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the Engine lists it."""

    id: str
    name: str
    state: ContainerState
    lease_id: str | None = None
    """From our label; None for a container that is not ours."""
    owner: str | None = None
    devices: tuple[str, ...] = ()
    """UUIDs it was given by CDI, or by our label. ``("all",)`` when it may use every card."""
    outcome: Outcome | None = None
    """For an ended one: exit code and OOM flag; the log tail is fetched apart."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a person's files are. Never derived from a user name."""

    owner: str
    kind: HomeKind
    source: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit trail: every decision carries its reason."""

    at: datetime
    kind: str
    """What happened, as a short fixed word such as ``lease.granted``."""
    reason: str
    """Why, for people."""
    actor: str = "system"
    """Who decided: a user name, ``hub`` or ``agent``."""
    lease_id: str | None = None
    device: str | None = None
    data: dict[str, object] = field(default_factory=dict)
    """Evidence, JSON-able."""
    id: int | None = field(default=None, compare=False)
    """Its number in the trail, once it is there."""


@dataclass(frozen=True, slots=True)
class Message:
    """What an administrator, a teacher or the system tells a person about a session."""

    at: datetime
    owner: str
    """Whom it is for."""
    text: str
    actor: str
    lease_id: str | None = None
