"""The cards of a host as the administrators' board shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuspawner.controller.cardstate import by_device, fresh_sample, name_card_state
from gpuspawner.controller.links import Links
from gpuspawner.core.claims import Drain, Pin
from gpuspawner.core.culling import Watch
from gpuspawner.core.drains import find_drain, find_pin, is_over
from gpuspawner.core.idleness import LOOK_HOLDS_FOR
from gpuspawner.core.model import DeviceRecord, Health, Lease, LeaseState
from gpuspawner.core.situation import Situation
from gpuspawner.core.words import mark

GIB = 1024**3
IDLE_FROM = timedelta(minutes=5)
"""A session whose GPUs do nothing for less than this is not called idle."""


@dataclass(frozen=True, slots=True)
class ActionLink:
    """Where the page of an action is, which says what it will do before it is done."""

    label: str
    """Marked for translation."""
    href: str


@dataclass(frozen=True, slots=True)
class DrainNote:
    """A card is out of use."""

    reason: str
    actor: str
    since: datetime
    until: datetime | None
    """When it comes back by itself; None: somebody undrains it."""


@dataclass(frozen=True, slots=True)
class PinNote:
    """A card is kept for somebody."""

    kind: str
    """``person``, ``group`` or ``course``."""
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Use:
    """Whether a session's GPUs are used."""

    known: bool
    """False where nobody has looked, or something could not be seen."""
    deaf_since: datetime | None
    """Since when its server has not answered while its GPUs do nothing; None where that is not so."""
    idle_since: datetime | None
    """When they were last used, where that is a while ago; None while they are."""


@dataclass(frozen=True, slots=True)
class HeldBy:
    """The session that has a card."""

    lease_id: str
    owner: str
    server: str
    """Name; empty for the default server."""
    since: datetime
    ends_at: datetime | None
    use: Use


@dataclass(frozen=True, slots=True)
class CardRow:
    """A card, or a slice of one. What the sensor does not say is None."""

    uuid: str
    model: str
    index: int | None
    state: str
    """One of :data:`~gpuspawner.controller.cardstate.CARD_STATES`."""
    health: str
    """``ok``, ``faulty`` or ``unknown``."""
    trouble: str
    """Why somebody must look after it, in the words of who found out; empty where nothing is wrong."""
    stranger: bool
    """Whether the trouble is somebody on it whom no lease explains."""
    silent_since: datetime | None
    """The last report, where that is too old to be believed."""
    utilization_percent: int | None
    memory_used_gib: float | None
    """To 0.1 GiB: what is below that changes at every look, and tells nobody anything."""
    memory_gib: float
    temperature_celsius: int | None
    power_watts: int | None
    held_by: HeldBy | None
    drain: DrainNote | None
    pin: PinNote | None
    actions: tuple[ActionLink, ...]

    @property
    def needs_you(self) -> bool:
        """Whether an administrator should look after it."""
        return bool(self.trouble) or self.silent_since is not None


@dataclass(frozen=True, slots=True)
class CardGroup:
    """A whole card; or one that is divided, with its slices."""

    uuid: str
    card: CardRow | None
    """None for a divided card: the driver tells of its slices only."""
    slices: tuple[CardRow, ...]
    actions: tuple[ActionLink, ...]
    """Of a divided card; what is done to it is done to all its slices."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What is known beside the cards, by card."""

    situation: Situation
    holders: Mapping[str, Lease]
    drains: Mapping[str, Drain]
    pins: Mapping[str, Pin]
    watches: Mapping[str, Watch]
    links: Links


def view_cards(situation: Situation, links: Links, watches: Mapping[str, Watch]) -> tuple[CardGroup, ...]:
    """The cards in the order of the inventory, slices together below theirs.

    Args:
        situation: The moment.
        links: Where things are.
        watches: What is known of sessions, by the lease's id.
    """
    around = _Around(
        situation,
        by_device(situation.leases),
        {drain.device: drain for drain in situation.drains},
        {pin.device: pin for pin in situation.pins},
        watches,
        links,
    )
    rows: dict[str, CardRow] = {}
    slices: dict[str, list[CardRow]] = {}
    for record in situation.inventory:
        row = _show_card(record, around)
        if record.device.parent is None:
            rows[row.uuid] = row
            slices.setdefault(row.uuid, [])
        else:
            slices.setdefault(record.device.parent, []).append(row)
    return tuple(
        CardGroup(
            uuid,
            rows.get(uuid),
            tuple(below),
            () if uuid in rows else _list_actions(uuid, around, held=_any_runs(below, around), fault=False),
        )
        for uuid, below in slices.items()
    )


def list_units(groups: Sequence[CardGroup]) -> list[CardRow]:
    """What can be given out one by one: whole cards, and the slices of divided ones."""
    return [row for group in groups for row in (group.slices or ((group.card,) if group.card else ()))]


def _show_card(record: DeviceRecord, around: _Around) -> CardRow:
    device, now, stale_after = record.device, around.situation.now, around.situation.stale_after
    lease = around.holders.get(device.uuid)
    names = [name for name in (device.uuid, device.parent) if name]
    drain = find_drain(device, [around.drains[n] for n in names if n in around.drains], now)
    pin = find_pin(device, [around.pins[n] for n in names if n in around.pins])
    sample = fresh_sample(record, now=now, stale_after=stale_after)
    used, power = (sample.memory_used_bytes, sample.power_milliwatts) if sample else (None, None)
    silent = now - record.seen_at > stale_after
    return CardRow(
        uuid=device.uuid,
        model=device.model,
        index=device.index,
        state=name_card_state(record, lease, drain, now=now, stale_after=stale_after),
        health=Health.UNKNOWN.value if silent else record.health.value,
        trouble=_find_trouble(record, lease),
        stranger=record.occupied_by is not None,
        silent_since=record.seen_at if silent else None,
        utilization_percent=sample.utilization_percent if sample else None,
        memory_used_gib=None if used is None else round(used / GIB, 1),
        memory_gib=round(device.memory_bytes / GIB, 1),
        temperature_celsius=sample.temperature_celsius if sample else None,
        power_watts=None if power is None else round(power / 1000),
        held_by=_show_holder(lease, around) if lease else None,
        drain=DrainNote(drain.reason, drain.actor, drain.since, drain.until) if drain else None,
        pin=PinNote(pin.holder.kind, pin.holder.name, pin.reason) if pin else None,
        actions=_list_actions(
            device.uuid,
            around,
            held=lease is not None and not lease.state.ending,
            fault=record.standing_fault is not None,
        ),
    )


def _find_trouble(record: DeviceRecord, lease: Lease | None) -> str:
    """Why somebody must look after a card, the graver first."""
    if record.occupied_by is not None:
        return record.occupied_by
    if lease is not None and lease.state is LeaseState.QUARANTINED:
        return lease.reason
    if record.health is Health.OK:
        return ""
    return record.health_reason or record.health.value


def _show_holder(lease: Lease, around: _Around) -> HeldBy:
    use = find_use(around.watches.get(lease.id), around.situation.now)
    return HeldBy(lease.id, lease.owner, lease.server, lease.created_at, lease.ends_at, use)


def find_use(watch: Watch | None, now: datetime) -> Use:
    """Whether a session's GPUs are used, as far as it was looked into."""
    activity = watch.activity if watch else None
    if (
        activity is None
        or activity.unknown
        or activity.look is None
        or now - activity.look.at > LOOK_HOLDS_FOR
    ):
        return Use(known=False, deaf_since=watch.deaf_since if watch else None, idle_since=None)
    since = activity.gpu_active_at
    return Use(known=True, deaf_since=None, idle_since=since if now - since >= IDLE_FROM else None)


def _any_runs(slices: Sequence[CardRow], around: _Around) -> bool:
    leases = (around.holders.get(row.uuid) for row in slices)
    return any(lease is not None and not lease.state.ending for lease in leases)


def _list_actions(uuid: str, around: _Around, *, held: bool, fault: bool) -> tuple[ActionLink, ...]:
    drain = around.drains.get(uuid)
    names: list[tuple[str, str]] = []
    if drain is None or is_over(drain, around.situation.now):
        names.append((mark("Drain"), "drain"))
    else:
        names.append((mark("Undrain"), "undrain"))
        if held:
            names.append((mark("End sessions"), "drain-now"))
    names.append((mark("Assign"), "keep"))
    if uuid in around.pins:
        names.append((mark("Unassign"), "release"))
    if fault:
        names.append((mark("Clear fault"), "clear"))
    return tuple(ActionLink(label, link_action(around.links, name, uuid)) for label, name in names)


def link_action(links: Links, name: str, what: str) -> str:
    """Where the page of an action is.

    Args:
        links: Where things are.
        name: Of the action.
        what: The id of what it is done to.
    """
    return links.below("board", "do", name, what)


def find_silence(inventory: Sequence[DeviceRecord], now: datetime, stale_after: timedelta) -> datetime | None:
    """When the agent last reported anything, where that is too long ago for every card; None else."""
    newest = max((record.seen_at for record in inventory), default=now)
    return newest if now - newest > stale_after else None
