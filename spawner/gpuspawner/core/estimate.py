"""When a turn in the line may come: a range with what it rests on, or honestly none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .line import Wait
from .model import Lease, LeaseState
from .situation import Board, Mask, Situation
from .words import describe_duration, mark

FEWEST_SESSIONS = 5
"""From fewer past sessions nothing is concluded."""
LOOK_BACK = timedelta(days=28)
"""Past sessions of this age or younger count."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a turn may come."""

    earliest: datetime
    latest: datetime | None
    """None when it cannot be bounded."""
    basis: str
    """What it rests on, in words."""


@dataclass(frozen=True, slots=True)
class _Typical:
    """How long sessions lasted lately, in seconds."""

    short: float
    usual: float
    long: float
    count: int


def estimate_turns(
    situation: Situation, waits: Sequence[Wait], past_seconds: Sequence[float]
) -> tuple[Estimate | None, ...]:
    """Estimate for each of the waiting tickets, in the order of the line.

    The devices that a ticket could use come free one after the other: by the announced end of who holds
    them at the latest, and by how long sessions lasted lately. It needs as many of them as those before it,
    who want any of the same devices, and it together.

    Args:
        situation: What is there.
        waits: The line, in order.
        past_seconds: How long sessions with GPUs lasted that ended lately.
    """
    board = Board(situation)
    typical = _summarise(past_seconds)
    ahead: dict[Mask, int] = {}
    known: dict[Mask, tuple[list[datetime], list[datetime | None]]] = {}
    found = []
    for wait in waits:
        want = board.want(wait.ticket)
        reach, gpus = want.reach, want.gpus
        needed = gpus + sum(count for mask, count in ahead.items() if mask & reach)
        ahead[reach] = ahead.get(reach, 0) + gpus
        if reach not in known:
            known[reach] = _free_times(board, reach, typical)
        found.append(_estimate(*known[reach], needed, typical, situation.now))
    return tuple(found)


def _summarise(past_seconds: Sequence[float]) -> _Typical | None:
    if len(past_seconds) < FEWEST_SESSIONS:
        return None
    ordered = sorted(past_seconds)

    def at(part: float) -> float:
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    return _Typical(at(0.25), at(0.5), at(0.9), len(ordered))


def _free_times(
    board: Board, reach: Mask, typical: _Typical | None
) -> tuple[list[datetime], list[datetime | None]]:
    """When each device in reach comes free: at the earliest, and at the latest; both in order."""
    now = board.situation.now
    soon = [now] * (reach & board.free).bit_count()
    late: list[datetime | None] = list(soon)
    for lease in board.situation.leases:
        if lease.state is LeaseState.QUARANTINED:
            continue
        early, last = _lease_times(lease, typical, now)
        for uuid in lease.devices:
            if reach & board.bits.get(uuid, 0):
                soon.append(early)
                late.append(last)
    return sorted(soon), sorted(late, key=lambda one: (one is None, one or now))


def _lease_times(lease: Lease, typical: _Typical | None, now: datetime) -> tuple[datetime, datetime | None]:
    if lease.state is LeaseState.RELEASING:
        return now, now
    early, last = now, lease.ends_at
    if typical is not None:
        early = max(now, lease.created_at + timedelta(seconds=typical.short))
        by_custom = lease.created_at + timedelta(seconds=typical.long)
        if last is None and by_custom > now:
            last = by_custom
    return (early if last is None else min(early, last)), last


def _estimate(
    soon: list[datetime],
    late: list[datetime | None],
    needed: int,
    typical: _Typical | None,
    now: datetime,
) -> Estimate | None:
    if not soon:
        return None
    rounds, place = divmod(needed - 1, len(soon))
    latest = late[place]
    if typical is None and (latest is None or rounds):
        return None
    earliest = soon[place]
    if rounds and typical is not None:
        earliest += timedelta(seconds=rounds * typical.short)
        latest = None if latest is None else latest + timedelta(seconds=rounds * typical.long)
    if typical is None:
        basis = mark("the announced ends of the sessions that run")
    else:
        days = describe_duration(LOOK_BACK)
        basis = mark(f"the last {typical.count} sessions of {days}, and the announced ends of those that run")
    return Estimate(max(earliest, now), latest, basis)
