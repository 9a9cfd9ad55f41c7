"""What a trace is: who wanted how many GPUs when, and in which parts of that time the GPUs worked.

Time inside the simulation is a whole number of milliseconds. Whole numbers keep every comparison exact, so
that "at the same moment" means the same moment; a minute of a trace is :data:`MINUTE` of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpuspawner.core.errors import GpuSpawnerError

MINUTE = 60_000
"""Milliseconds."""


class TraceError(GpuSpawnerError):
    """A trace cannot be used; the text names file, line, column and fix."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session as it was recorded."""

    session: str
    """Its name, unique in the trace."""
    user: str
    """Whose it was; empty when that is not known."""
    start: int
    """Milliseconds, on any clock that all rows share."""
    stop: int
    max_gpus: int
    """How many GPUs it held from start to stop."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One piece of work inside a session, a cell that ran, say."""

    session: str
    start: int
    """Milliseconds, on the clock of the sessions."""
    duration: int
    """Milliseconds."""
    gpus: int
    """How many GPUs it used; 0 for work without them."""
    gpu_util_percent: float | None = None
    """Mean utilisation of those GPUs; None when it was not recorded."""


@dataclass(frozen=True, slots=True)
class Work:
    """A stretch of a session without a pause in its GPU work; events that overlap or touch are one."""

    start: int
    """Milliseconds after the session's start."""
    end: int
    gpu_time: int
    """GPU-milliseconds in use: fewer GPUs may be used than are held."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session as the simulation plays it."""

    name: str
    user: str
    """Whose it is; a session of nobody is a user of its own."""
    start: int
    """Milliseconds after the start of the trace."""
    length: int
    """Milliseconds from start to stop, as long as it need not wait."""
    gpus: int
    """How many it wants at once; it has all of them or none."""
    work: tuple[Work, ...]
    """In order, within the length, with pauses between."""
    computed: float | None = 0.0
    """GPU-milliseconds weighted with the recorded utilisation; None when that is not known of all its
    work."""

    @property
    def busy(self) -> int:
        """Milliseconds in which its GPUs work."""
        return sum(piece.end - piece.start for piece in self.work)

    @property
    def gpu_work(self) -> int:
        """GPU-milliseconds of work."""
        return sum(piece.gpu_time for piece in self.work)


@dataclass(frozen=True, slots=True)
class Trace:
    """Sessions in the order of their starts; the first starts at 0."""

    sessions: tuple[Session, ...]
    notes: tuple[str, ...] = ()
    """What was put right on the way in, for people."""

    @property
    def span(self) -> int:
        """Milliseconds from the first start to the last stop, if nobody waits."""
        return max((s.start + s.length for s in self.sessions), default=0)

    @property
    def mean_held(self) -> float:
        """How many GPUs are held on average if every session holds its own from start to stop."""
        held = sum(s.gpus * s.length for s in self.sessions)
        return held / self.span if self.span else 0.0


def build_trace(
    sessions: Sequence[SessionRow], events: Iterable[EventRow], notes: Sequence[str] = ()
) -> Trace:
    """Put rows together that fit: each event lies within its session and uses no more GPUs than that has."""
    origin = min((row.start for row in sessions), default=0)
    mine: dict[str, list[EventRow]] = {row.session: [] for row in sessions}
    for event in events:
        if event.gpus and event.duration:
            mine[event.session].append(event)
    found = []
    for row in sorted(sessions, key=lambda r: (r.start, r.session)):
        own = mine[row.session]
        session = Session(
            name=row.session,
            user=row.user or f"session {row.session}",
            start=row.start - origin,
            length=row.stop - row.start,
            gpus=row.max_gpus,
            work=_merge(own, row),
            computed=_weigh(own, row),
        )
        found.append(session)
    return Trace(tuple(found), tuple(notes))


def _merge(events: Sequence[EventRow], row: SessionRow) -> tuple[Work, ...]:
    """Events as stretches of work. Together they use no more GPUs than the session has: they share them."""
    edges = [(e.start - row.start, 0, e.gpus) for e in events]
    # At one moment beginnings come before ends, so that events that touch are one stretch.
    edges += [(e.start + e.duration - row.start, 1, -e.gpus) for e in events]
    found: list[Work] = []
    began = last = gpu_time = wanted = 0
    for moment, _, change in sorted(edges):
        if wanted == 0:
            began, gpu_time = moment, 0
        gpu_time += min(wanted, row.max_gpus) * (moment - last)
        wanted, last = wanted + change, moment
        if wanted == 0:
            found.append(Work(began, moment, gpu_time))
    return tuple(found)


def _weigh(events: Sequence[EventRow], row: SessionRow) -> float | None:
    """GPU-milliseconds weighted with utilisation; None when that of an event is not known.

    Events that together want more GPUs than there are share them, and each GPU computes as much as the events
    do in the mean.
    """
    edges: list[tuple[int, int, float]] = []
    for event in events:
        if event.gpu_util_percent is None:
            return None
        busy, begin = event.gpus * event.gpu_util_percent / 100, event.start
        edges += [(begin, event.gpus, busy), (begin + event.duration, -event.gpus, -busy)]
    computed = computing = 0.0
    wanted = last = 0
    for moment, change, busier in sorted(edges):
        computed += computing * min(1, row.max_gpus / wanted) * (moment - last) if wanted else 0
        wanted, computing, last = wanted + change, computing + busier, moment
    return computed
