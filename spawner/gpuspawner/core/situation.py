"""Everything that a decision about the line rests on, and the devices in a form that is quick to ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .budget import Held
from .claims import EVERYBODY, Drain, Holder, Pin, Standing, Terms, Ticket
from .drains import find_drain, find_pin
from .fitting import names_of, profile_of, suits
from .model import Device, DeviceRecord, Health, Lease, LeaseState, SpawnRequest
from .occurrences import Occurrence
from .placement import STALE_AFTER, why_not_grantable

Mask = int
"""A set of devices: bit n is the n-th of the inventory."""
_ALL: Mask = -1


@dataclass(frozen=True, slots=True)
class Situation:
    """What is there at one moment. The order of devices is that of the inventory."""

    now: datetime
    inventory: Sequence[DeviceRecord]
    leases: Sequence[Lease]
    """All live ones."""
    tickets: Sequence[Ticket] = ()
    """Those that wait; offers have leases."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """What people have used lately."""
    drains: Sequence[Drain] = ()
    pins: Sequence[Pin] = ()
    occurrences: Sequence[Occurrence] = ()
    """Of reservations, from now on, that still have seats."""
    held: Mapping[str, Held] = field(default_factory=dict)
    """What people have held in the days that count for their GPU-hours, where somebody has a budget."""
    stale_after: timedelta = STALE_AFTER
    """Age from which a report on a device is no longer believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """What some of those who wait want alike, so that it is looked at once for all of them."""

    gpus: int
    """How many devices."""
    models: Mapping[str, Mask]
    """By model, the devices that they could ever be given, free or not."""
    reach: Mask
    """All of these."""
    kept: Mask
    """The devices that are kept for them, whatever their kind."""
    open: Mask
    """Of :attr:`reach`, what is not kept for somebody else."""


class Board:
    """The devices of a situation as bits, so that a thousand tickets can be tried in milliseconds."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.records = situation.inventory
        self.bits = {record.device.uuid: 1 << n for n, record in enumerate(self.records)}
        held = {uuid for lease in situation.leases for uuid in lease.devices}
        busy = held | _relatives(self.records, held)
        self.held: Mask = self.mask(busy)
        """In leases, the slices of a card that is held and the card of a slice included."""
        self.free: Mask = 0
        """What could be given out now to somebody."""
        self.serving: list[DeviceRecord] = []
        """What is well and not drained, held or not: reservations can only count on these."""
        self.lost: Mask = self.mask(_list_stuck(situation.leases))
        """What nobody can count on to come free: it takes an administrator, or a repair."""
        for record in self.records:
            device = record.device
            drain = find_drain(device, situation.drains, situation.now) if situation.drains else None
            if (drain is not None and drain.until is None) or self._is_lost(record):
                self.lost |= self.bits[device.uuid]
            if drain is not None:
                continue
            if record.health is Health.OK and record.occupied_by is None:
                self.serving.append(record)
            if not why_not_grantable(record, busy, now=situation.now, stale_after=situation.stale_after):
                self.free |= self.bits[device.uuid]
        self._index_devices()
        self._stocks: list[dict[str, Mask]] = []
        """By model, the devices that are right for some requests."""
        self._wants: dict[object, Want] = {}
        self._stock_of: dict[object, int] = {}
        self._rights_of: dict[object, Mask] = {}
        self._kept_persons: dict[str, Mask] = {}
        self._kept_groups: dict[str, Mask] = {}
        self._kept_courses: dict[str, Mask] = {}
        self._kept_for_all: Mask = 0
        self._kept_for_nobody: Mask = _ALL
        if situation.pins:
            self._find_kept(situation.pins)
        self.ends = self._find_ends()

    def _find_kept(self, pins: Sequence[Pin]) -> None:
        """Find out which devices are kept for whom."""
        kept = {"person": self._kept_persons, "group": self._kept_groups, "course": self._kept_courses}
        for record in self.records:
            pin = find_pin(record.device, pins)
            if pin is not None:
                of_kind, bit = kept[pin.holder.kind], self.bits[record.device.uuid]
                of_kind[pin.holder.name] = of_kind.get(pin.holder.name, 0) | bit
                self._kept_for_nobody &= ~bit
        self._kept_for_all = self._kept_groups.get(EVERYBODY, 0)

    def _index_devices(self) -> None:
        """Put the devices together that only their names tell apart, and find them by what allows them."""
        alike: dict[object, tuple[Device, Mask]] = {}
        self._named: dict[str, Mask] = {}
        self._profiles: dict[str, Mask] = {}
        self._whole: Mask = 0
        for record in self.records:
            device, bit = record.device, self.bits[record.device.uuid]
            whole = device.parent is None
            kind = (device.model, device.memory_bytes, device.compute_capability, device.driver, whole)
            first, mask = alike.get(kind, (device, 0))
            alike[kind] = (first, mask | bit)
            for name in names_of(device):
                self._named[name] = self._named.get(name, 0) | bit
            if device.parent is None:
                self._whole |= bit
            else:
                profile = profile_of(device)
                self._profiles[profile] = self._profiles.get(profile, 0) | bit
        self._alike = list(alike.values())

    def _find_ends(self) -> dict[str, datetime | None]:
        """When each device that is held comes free at the latest; None where nobody can say.

        What is being released may be free at any moment, so it counts as free now.
        """
        ends: dict[str, datetime | None] = {}
        for lease in self.situation.leases:
            end = self.situation.now if lease.state is LeaseState.RELEASING else lease.ends_at
            if lease.state is LeaseState.QUARANTINED:
                end = None
            for uuid in lease.devices:
                ends[uuid] = end
        for record in self.records if self.situation.drains else ():
            drain = find_drain(record.device, self.situation.drains, self.situation.now)
            uuid = record.device.uuid
            if drain is not None and drain.until is not None:
                end = ends.get(uuid, drain.until)
                ends[uuid] = end and max(end, drain.until)
        return ends

    def _is_lost(self, record: DeviceRecord) -> bool:
        """Whether a device is out of service, and not only silent for a moment."""
        silent = self.situation.now - record.seen_at > self.situation.stale_after
        sick = record.health is Health.FAULTY or (record.health is Health.UNKNOWN and silent)
        return sick or record.occupied_by is not None

    def want(self, ticket: Ticket) -> Want:
        """What a ticket wants; the same value for all that want the same."""
        request, terms = ticket.request, ticket.terms
        least = (request.memory_bytes, request.compute_capability, request.needs)
        kind = (request.model, request.slice_bytes, least)
        stock = self._stock_of.get(kind)
        if stock is None:
            stock = self._stock_of[kind] = self._find_stock(request)
        allowed = (terms.cards, terms.slices)
        rights = self._rights_of.get(allowed)
        if rights is None:
            rights = self._rights_of[allowed] = self._find_rights(terms)
        # Other wishes and other terms often come to the same devices.
        key = (request.gpus, stock, rights, self._kept_for(ticket))
        found = self._wants.get(key)
        if found is None:
            found = self._wants[key] = self._make_want(*key)
        return found

    def _make_want(self, gpus: int, stock: int, rights: Mask, kept: Mask) -> Want:
        some = {model: mask & rights for model, mask in self._stocks[stock].items()}
        models = {model: mask for model, mask in some.items() if mask}
        reach = union(models.values())
        return Want(gpus, models, reach, kept, reach & (self._kept_for_nobody | kept))

    def _find_stock(self, request: SpawnRequest) -> int:
        """Which of the stocks has the devices that are right for a request; the same for the same devices."""
        stock: dict[str, Mask] = {}
        for device, mask in self._alike:
            if suits(device, request):
                stock[device.model] = stock.get(device.model, 0) | mask
        if stock not in self._stocks:
            self._stocks.append(stock)
        return self._stocks.index(stock)

    def _find_rights(self, terms: Terms) -> Mask:
        """The devices that may be used on these terms."""
        found = _ALL
        if terms.cards is not None:
            found = union(self._named.get(name, 0) for name in terms.cards)
        if terms.slices is not None:
            found &= union(self._profiles.get(name, 0) for name in terms.slices) | self._whole
        return found

    def open_to(self, ticket: Ticket) -> Mask:
        """All devices but those that are kept for somebody else."""
        return self._kept_for_nobody | self._kept_for(ticket)

    def _kept_for(self, ticket: Ticket) -> Mask:
        """The devices that are kept for this ticket's person."""
        if self._kept_for_nobody == _ALL:
            return 0
        found, party = self._kept_for_all, ticket.party
        if self._kept_persons:
            found |= self._kept_persons.get(ticket.owner, 0)
        if self._kept_groups and not self._kept_groups.keys().isdisjoint(party.groups):
            found |= union(self._kept_groups.get(name, 0) for name in party.groups)
        if self._kept_courses and not self._kept_courses.keys().isdisjoint(party.courses):
            found |= union(self._kept_courses.get(name, 0) for name in party.courses)
        return found

    def devices(self, mask: Mask) -> list[Device]:
        """The devices of a set, in the order of the inventory."""
        found = []
        while mask:
            lowest = mask & -mask
            found.append(self.records[lowest.bit_length() - 1].device)
            mask ^= lowest
        return found

    def uuids(self, mask: Mask) -> list[str]:
        """The names of a set, in the order of the inventory."""
        return [device.uuid for device in self.devices(mask)]

    def mask(self, uuids: Iterable[str]) -> Mask:
        """The set of these devices."""
        found = 0
        for uuid in uuids:
            found |= self.bits.get(uuid, 0)
        return found


def union(masks: Iterable[Mask]) -> Mask:
    """All of these devices together."""
    found = 0
    for mask in masks:
        found |= mask
    return found


def list_within_reach(situation: Situation) -> Sequence[Occurrence]:
    """What takes place before the latest end that any session of this decision may have."""
    longest = {ticket.terms.longest for ticket in situation.tickets}
    ends = [situation.now + one for one in longest if one is not None]
    if len(ends) < len(longest):
        return situation.occurrences
    latest = max(ends, default=situation.now)
    return [one for one in situation.occurrences if one.held_from < latest]


def find_unavailable(situation: Situation, ticket: Ticket) -> frozenset[str]:
    """UUIDs of the devices that this ticket could not be given now."""
    board = Board(situation)
    usable = board.free & board.open_to(ticket)
    return frozenset(uuid for uuid, bit in board.bits.items() if not usable & bit)


def count_shares(leases: Iterable[Lease], shares: Iterable[Holder]) -> Counter[Holder]:
    """How many devices the people of each guaranteed share hold."""
    wanted = set(shares)
    found: Counter[Holder] = Counter()
    for lease in leases:
        if lease.devices and not lease.state.ending:
            for holder in wanted:
                if holder.has(lease.owner, lease.party):
                    found[holder] += len(lease.devices)
    return found


def count_seats(leases: Iterable[Lease]) -> Counter[str]:
    """How many sessions each course has."""
    return Counter(course for lease in leases if not lease.state.ending for course in lease.party.courses)


def count_held(leases: Iterable[Lease]) -> Counter[str]:
    """How many devices each person holds; what is being released is not theirs any more."""
    found: Counter[str] = Counter()
    for lease in leases:
        if not lease.state.ending:
            found[lease.owner] += len(lease.devices)
    return found


def _list_stuck(leases: Sequence[Lease]) -> set[str]:
    """Devices whose release could not be proved."""
    return {uuid for one in leases if one.state is LeaseState.QUARANTINED for uuid in one.devices}


def _relatives(records: Sequence[DeviceRecord], held: set[str]) -> set[str]:
    """A whole card of which a slice is held, and the slices of a card that is held.

    Neither happens while the driver lists either the card or its slices; a change of the layout under a
    lease that lives on is the exception.
    """
    parents = {r.device.parent for r in records if r.device.uuid in held and r.device.parent}
    return {r.device.uuid for r in records if r.device.uuid in parents or r.device.parent in held}
