"""One's servers as a page shows them: what each holds, until when, and what its GPUs did in the last hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.allocator.places import LineView
from gpuspawner.controller.cardstate import fresh_sample
from gpuspawner.controller.links import Links
from gpuspawner.core.culling import Keepable
from gpuspawner.core.extension import STEP, Extension
from gpuspawner.core.idleness import Signal, Verdict
from gpuspawner.core.model import DeviceRecord, Lease, LeaseState, Message, Sample
from gpuspawner.core.words import mark

from .plot import Plot, Timed, Window, draw, mean, thin, window_before

SHOWN = timedelta(hours=1)
"""How far back the plots go."""
_POINTS = 120
"""The most in one plot."""
_ROW = timedelta(minutes=5)
"""Of the table behind the plots."""
NEW = timedelta(days=1)
"""A message is new for so long, and stands above everything else."""
_MOST_NEW = 3
_GIB = 1024**3
_ENDING = Extension(STEP, None, mark("Its end has come."))


@dataclass(frozen=True, slots=True)
class UseRow:
    """A line of the table behind the plots."""

    since: datetime
    percent: int | None
    """Mean utilisation; None is unknown."""
    memory_bytes: int | None
    """Most memory in use; None is unknown."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a GPU did in a session."""

    use: Plot
    """Utilisation in %."""
    memory: Plot | None
    """Memory in GiB; None while it is not known how much there is."""
    rows: tuple[UseRow, ...]


@dataclass(frozen=True, slots=True)
class HeldCard:
    """A GPU that a session holds."""

    uuid: str
    model: str | None
    """None while the card is not listed."""
    memory_bytes: int | None
    """Installed."""
    percent: int | None
    """Utilisation now; None while the sensor is silent."""
    used_bytes: int | None
    """Memory in use now; None while the sensor is silent."""
    did: Drawn


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a session's idleness."""

    verdict: Verdict
    keepable: Keepable
    finishes: bool
    """Whether its person asked that it ends as soon as nothing runs in it any more."""


@dataclass(frozen=True, slots=True)
class Idleness:
    """Whether something is done in a session, as it was judged last, and what follows."""

    step: str
    """``keep``, ``warn`` or ``stop``."""
    at: datetime | None
    """When it is warned (keep) or stopped (warn) if nothing changes; None for never."""
    reason: str
    signals: tuple[Signal, ...]
    """What was seen."""
    acted_on: bool
    """Whether sessions are warned and stopped here, and not only reported."""
    keepable: Keepable
    """What asking to keep it would come to."""
    keep: str
    """Where *Keep* leads."""
    finishes: bool
    """Whether it ends as soon as nothing runs in it any more, as its person asked."""
    finish: str
    """Where *Finish and release* leads, and its withdrawal."""


@dataclass(frozen=True, slots=True)
class ServerCard:
    """A session."""

    id: str
    server: str
    """Name; empty for the default server."""
    state: str
    """``starting``, ``running`` or ``ending``."""
    image: str
    cards: tuple[HeldCard, ...]
    since: datetime
    ends_at: datetime | None
    end_reason: str
    courses: tuple[str, ...]
    """Whose teachers may extend it."""
    open: str
    idle: Idleness | None
    """None where nobody has looked into it yet."""
    extension: Extension
    """What *Extend* would come to."""
    extend: str
    """Where *Extend* leads."""
    stop: str
    """Where *Stop* leads."""
    csv: str


@dataclass(frozen=True, slots=True)
class Note:
    """A message."""

    at: datetime
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Over:
    """A session that is over."""

    lease: Lease
    told: str | None
    """What became of it, where its person did not wish for it."""
    again: str | None
    """What asks for the same again; None where it is not known what was asked for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that is over, of a server that does not run."""

    server: str
    at: datetime
    reason: str
    """Why, in a few words."""
    told: str | None
    """The same in sentences, where its person did not wish for it."""
    again: str | None
    """Where *Start again with the same choices* leads."""


@dataclass(frozen=True, slots=True)
class ServersPage:
    """The page."""

    servers: tuple[ServerCard, ...]
    news: tuple[Note, ...]
    """Messages of the last day, of which a few, newest first."""
    messages: tuple[Note, ...]
    """The others, newest first."""
    ended: tuple[Ended, ...]
    places: int
    """Of one's own in line."""
    queue: str
    start: str


def plot_window(now: datetime) -> Window:
    """What the plots show at this moment."""
    return window_before(now, SHOWN, _POINTS)


def view_servers(
    view: LineView,
    person: str | None,
    links: Links,
    *,
    did: Mapping[str, Drawn],
    messages: Sequence[Message],
    over: Sequence[Over],
    extensions: Mapping[str, Extension],
    verdicts: Mapping[str, Judged],
    acts: bool,
) -> ServersPage:
    """Make the page of a person.

    Args:
        view: The line, the cards and who holds them.
        person: Whose page it is; None for a service, which has nothing.
        links: Where things are.
        did: By UUID, what the devices did while the person held them.
        messages: To the person, newest first.
        over: Sessions of theirs that are over, of servers that do not run.
        extensions: By lease, what extending it would come to.
        verdicts: By lease, how it was judged last, and what can be asked for.
        acts: Whether idle sessions are stopped here, and not only reported.
    """
    records = {record.device.uuid: record for record in view.situation.inventory}
    fresh = [one for one in messages if view.at - one.at < NEW][:_MOST_NEW]
    servers = tuple(
        _show_server(
            lease,
            view,
            records,
            links,
            did=did,
            extension=extensions.get(lease.id, _ENDING),
            idle=_show_idleness(lease, verdicts.get(lease.id), links, acts=acts),
        )
        for lease in view.situation.leases
        if is_session(lease, person)
    )
    return ServersPage(
        servers=servers,
        news=tuple(map(_show_note, fresh)),
        messages=tuple(map(_show_note, messages[len(fresh) :])),
        ended=tuple(_show_ended(one, links) for one in over),
        places=sum(place.ticket.owner == person for place in view.places),
        queue=links.queue,
        start=links.spawn(),
    )


def is_session(lease: Lease, person: str | None) -> bool:
    """Whether a live lease is a person's session; an offer is a place in line, and what is stuck is ours."""
    waits = lease.claim_by is not None
    return lease.owner == person and not waits and lease.state is not LeaseState.QUARANTINED


def _show_server(
    lease: Lease,
    view: LineView,
    records: Mapping[str, DeviceRecord],
    links: Links,
    *,
    did: Mapping[str, Drawn],
    extension: Extension,
    idle: Idleness | None,
) -> ServerCard:
    running = lease.state is LeaseState.ACTIVE
    cards = () if lease.state.ending else lease.devices
    return ServerCard(
        id=lease.id,
        server=lease.server,
        state="ending" if lease.state.ending else "running" if running else "starting",
        image=lease.image,
        cards=tuple(_show_card(uuid, view, records.get(uuid), did[uuid]) for uuid in cards),
        since=lease.created_at,
        ends_at=lease.ends_at,
        end_reason=lease.end_reason,
        courses=lease.party.courses,
        open=links.server(lease) if running else links.pending(lease),
        idle=idle if running else None,
        extension=extension,
        extend=links.below("servers", lease.id, "extend"),
        stop=links.below("servers", lease.id, "stop"),
        csv=links.below("servers", lease.id, "use.csv"),
    )


def _show_idleness(lease: Lease, judged: Judged | None, links: Links, *, acts: bool) -> Idleness | None:
    if judged is None:
        return None
    verdict, below = judged.verdict, links.below("servers", lease.id)
    return Idleness(
        step=verdict.step.value,
        at=verdict.at,
        reason=verdict.reason,
        signals=verdict.signals,
        acted_on=acts,
        keepable=judged.keepable,
        keep=f"{below}/keep",
        finishes=judged.finishes,
        finish=f"{below}/finish",
    )


def draw_use(
    samples: Sequence[Sample], window: Window, *, memory_bytes: int | None, begin: datetime
) -> Drawn:
    """Draw what a GPU did.

    Args:
        samples: What was measured in the window.
        window: From :func:`plot_window`.
        memory_bytes: Installed; None while that is not known.
        begin: Of the session.
    """
    use: list[Timed] = [(one.at, one.utilization_percent) for one in samples if one.at < window.until]
    memory: list[Timed] = [(one.at, one.memory_used_bytes) for one in samples if one.at < window.until]
    in_gib = [(at, None if value is None else value / _GIB) for at, value in memory]
    return Drawn(
        use=draw(thin(use, window, mean), window, 100.0),
        memory=draw(thin(in_gib, window, max), window, memory_bytes / _GIB) if memory_bytes else None,
        rows=_list_rows(use, memory, window, begin),
    )


def _show_card(uuid: str, view: LineView, record: DeviceRecord | None, did: Drawn) -> HeldCard:
    stale_after = view.situation.stale_after
    now = fresh_sample(record, now=view.at, stale_after=stale_after) if record else None
    return HeldCard(
        uuid=uuid,
        model=record.device.model if record else None,
        memory_bytes=record.device.memory_bytes if record else None,
        percent=now.utilization_percent if now else None,
        used_bytes=now.memory_used_bytes if now else None,
        did=did,
    )


def _list_rows(
    use: Sequence[Timed], memory: Sequence[Timed], window: Window, begin: datetime
) -> tuple[UseRow, ...]:
    """In steps of five minutes by the clock, newest first; none from before the session."""
    steps = window_before(window.until + _ROW - timedelta.resolution, SHOWN, SHOWN // _ROW)
    pairs = zip(thin(use, steps, mean), thin(memory, steps, max), strict=True)
    rows = [
        UseRow(at, None if percent is None else round(percent), None if used is None else round(used))
        for (at, percent), (_, used) in pairs
        if at + _ROW > begin
    ]
    return tuple(reversed(rows))


def _show_note(message: Message) -> Note:
    return Note(message.at, message.actor, message.text)


def _show_ended(over: Over, links: Links) -> Ended:
    lease = over.lease
    again = links.again(lease.owner, lease.server, over.again) if over.again else None
    return Ended(lease.server, lease.ended_at or lease.state_since, lease.reason, over.told, again)
