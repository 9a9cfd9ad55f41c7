"""What to do about leases, containers and cards that do not agree.

:func:`plan_reconcile` is one pure function over everything that was seen. The order of seeing matters and is
the caller's duty: leases first, containers next, cards last. Then a container that is absent was absent
*after* its lease was read, and a card that is empty was empty *after* the container was gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import Container, ContainerState, DeviceReading, Lease, LeaseState, Outcome
from .words import mark

TOOK_TOO_LONG = mark("the start took too long")

MEBIBYTE = 1024 * 1024
BASELINE_MARGIN_BYTES = 256 * MEBIBYTE
"""How far above its baseline an empty card's memory may be: drivers keep a little for themselves."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that was seen, in the order of the fields."""

    leases: Sequence[Lease]
    """All live leases."""
    ended_leases: frozenset[str]
    """Ids, among those that containers name, of leases that the ledger knows and that are released."""
    dead_claimants: frozenset[str]
    """Runs of the hub that are certainly over."""
    containers: Sequence[Container] | None
    """Every container of ours; None when the Engine could not tell."""
    listed_at: datetime
    """When the containers were listed."""
    readings: Mapping[str, DeviceReading]
    """By UUID; a device that is missing here is unknown."""
    baselines: Mapping[str, int]
    """Idle memory by UUID, in bytes."""
    now: datetime


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take before it is acted on."""

    hub_settles: timedelta = timedelta(seconds=30)
    """A living hub has this long to end the container of a lease that it let go of."""
    start_takes: timedelta = timedelta(minutes=5)
    """A reservation without a container is given up after this, whatever the hub says."""
    proof_takes: timedelta = timedelta(seconds=60)
    """A release that is not proved by then is quarantined."""
    offer_outlasts: timedelta = timedelta(minutes=2)
    """What is reserved for a turn in the line is given up so long after its time, if nobody else does it."""


@dataclass(frozen=True, slots=True)
class Activate:
    """The container runs, whether or not the hub lived to say so: the lease is active."""

    lease: Lease
    container: Container


@dataclass(frozen=True, slots=True)
class Collect:
    """The container has ended: keep how, remove it, and go on with the release."""

    lease: Lease
    container: Container
    reason: str


@dataclass(frozen=True, slots=True)
class StopContainer:
    """The container runs although its lease is over: end it and remove it."""

    container: Container
    lease_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RequestRelease:
    """Nothing holds the lease any more: begin its release."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """Proved free."""

    lease: Lease
    evidence: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Not proved in time: keep the devices out of use, and say why."""

    lease: Lease
    evidence: str


Action = Activate | Collect | StopContainer | RequestRelease | Release | Quarantine


def plan_reconcile(world: World, patience: Patience) -> tuple[Action, ...]:
    """Decide what to do about every lease and every container of ours.

    Without a list of containers nothing is decided: a silent Engine proves nothing.
    """
    if world.containers is None:
        return tuple(_overdue(world, patience))
    by_lease = _most_alive(world.containers)
    actions: list[Action] = []
    for lease in world.leases:
        container = by_lease.get(lease.id)
        action = (
            _plan_without(lease, world, patience)
            if container is None
            else _plan_with(lease, container, world, patience)
        )
        if action is not None:
            actions.append(action)
    actions.extend(
        StopContainer(c, c.lease_id, mark("its lease has ended"))
        for c in world.containers
        if c.lease_id in world.ended_leases and c.state is not ContainerState.REMOVING
    )
    return tuple(actions)


def _overdue(world: World, patience: Patience) -> Iterator[Action]:
    for lease in world.leases:
        if lease.state is LeaseState.RELEASING and world.now - lease.state_since > patience.proof_takes:
            yield Quarantine(lease, mark("the Docker Engine does not say whether the container is gone"))


def _most_alive(containers: Sequence[Container]) -> dict[str, Container]:
    """Index by lease; of several that name one lease, the one that may hold its devices speaks for it."""
    order = (ContainerState.RUNNING, ContainerState.REMOVING, ContainerState.CREATED, ContainerState.EXITED)
    found: dict[str, Container] = {}
    for container in sorted(containers, key=lambda c: order.index(c.state)):
        if container.lease_id:
            found.setdefault(container.lease_id, container)
    return found


def _plan_with(lease: Lease, container: Container, world: World, patience: Patience) -> Action | None:
    waited = world.now - lease.state_since
    hub_is_over = lease.claimant in world.dead_claimants
    if lease.state is LeaseState.RELEASING and waited > patience.proof_takes:
        return Quarantine(lease, mark(f"its container {container.name!r} is still {container.state.value}"))
    late = lease.state is LeaseState.RESERVED and waited > patience.start_takes
    starting = lease.state is LeaseState.RESERVED and not hub_is_over and not late
    left_to_us = lease.state.ending and (
        hub_is_over or lease.state is LeaseState.QUARANTINED or waited > patience.hub_settles
    )
    match container.state:
        case ContainerState.RUNNING if lease.state is LeaseState.RESERVED:
            return Activate(lease, container)
        case ContainerState.RUNNING if left_to_us:
            return StopContainer(container, lease.id, lease.reason)
        case ContainerState.EXITED if not starting:
            return Collect(lease, container, _describe_end(lease, container.outcome))
        case ContainerState.CREATED if lease.state is LeaseState.RESERVED and hub_is_over:
            return Collect(lease, container, mark("the hub stopped before the server was started"))
        case ContainerState.CREATED if lease.state is LeaseState.ACTIVE and hub_is_over:
            # The check of an image makes several under one lease; nobody is left who would start this one.
            return Collect(
                lease, container, mark("what checked an image ended before its container was started")
            )
        case ContainerState.CREATED if late:
            return Collect(lease, container, TOOK_TOO_LONG)
        case ContainerState.CREATED if left_to_us:
            return Collect(lease, container, lease.reason)
    return None


def _describe_end(lease: Lease, outcome: Outcome | None) -> str:
    if lease.state.ending:
        return lease.reason
    if outcome is not None and outcome.oom_killed:
        return mark("memory ran out")
    if outcome is not None and outcome.exit_code is not None:
        return mark(f"the server ended by itself with exit code {outcome.exit_code}")
    return mark("the server ended by itself")


def _plan_without(lease: Lease, world: World, patience: Patience) -> Action | None:
    match lease.state:
        case LeaseState.RESERVED | LeaseState.ACTIVE if lease.outcome is not None:
            # It was collected, and the agent ended before it could write the last step.
            return RequestRelease(lease, _describe_end(lease, lease.outcome))
        case LeaseState.RESERVED if lease.claim_by is not None:
            # No hub has taken it up yet: it waits for its person, and the controller keeps the time.
            if world.now > lease.claim_by + patience.offer_outlasts:
                return RequestRelease(lease, mark("it was not claimed in time"))
        case LeaseState.RESERVED if lease.claimant in world.dead_claimants:
            return RequestRelease(lease, mark("the hub stopped before the server was created"))
        case LeaseState.RESERVED if world.now - lease.state_since > patience.start_takes:
            return RequestRelease(lease, TOOK_TOO_LONG)
        case LeaseState.ACTIVE:
            return RequestRelease(lease, mark("the container was removed by somebody else"))
        case LeaseState.RELEASING | LeaseState.QUARANTINED:
            return _prove(lease, world, patience)
    return None


def _prove(lease: Lease, world: World, patience: Patience) -> Action | None:
    doubts = [d for uuid in lease.devices if (d := why_not_free(uuid, world)) is not None]
    if not doubts:
        shown = ", ".join(lease.devices)
        evidence = mark(
            f"no container at {world.listed_at:%H:%M:%S} UTC, then no process and idle memory on: "
            f"{shown or 'no device'}"
        )
        return Release(lease, evidence)
    return _quarantine_if_overdue(lease, "; ".join(doubts), world, patience)


def _quarantine_if_overdue(lease: Lease, doubt: str, world: World, patience: Patience) -> Action | None:
    if lease.state is LeaseState.RELEASING and world.now - lease.state_since > patience.proof_takes:
        return Quarantine(lease, doubt)
    return None


def why_not_free(uuid: str, world: World) -> str | None:
    """Say what speaks against the device being free, or None when it is proved free."""
    reading = world.readings.get(uuid)
    sample = reading.sample if reading else None
    if reading is None or sample is None:
        why = reading.error if reading else None
        return mark(f"{uuid}: no sample ({why or 'it did not answer'})")
    if sample.at < world.listed_at:
        return mark(f"{uuid}: the sample is older than the list of containers")
    if sample.processes is None:
        return mark(f"{uuid}: its processes are not known")
    if sample.processes:
        pids = ", ".join(str(p.pid) for p in sample.processes)
        return mark(f"{uuid}: process {pids} is still on it")
    if sample.memory_used_bytes is None:
        return mark(f"{uuid}: its memory use is not known")
    baseline = world.baselines.get(uuid)
    if baseline is None:
        return mark(f"{uuid}: its idle memory is not known")
    if sample.memory_used_bytes > baseline + BASELINE_MARGIN_BYTES:
        return mark(
            f"{uuid}: {sample.memory_used_bytes // MEBIBYTE} MiB still in use with no process, "
            f"{baseline // MEBIBYTE} MiB when idle"
        )
    return None
