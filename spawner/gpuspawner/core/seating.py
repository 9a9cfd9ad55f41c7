"""What reservations mean for one session: a seat of theirs, or a time by which it must have ended."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from .model import DeviceRecord, Lease, LeaseState, Party
from .occurrences import Key, Occurrence, describe_holding, may_serve
from .seats import by_start, count_filled, count_spare, count_used, fill_seat


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Seats that an occurrence may lack because sessions under way are not cut for it."""

    occurrence: Occurrence
    missing: int
    leases: tuple[Lease, ...]
    """The sessions that may still run on its devices then."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """A time at which something begins or ends, as if nothing more were given out until then.

    What a session takes can be missed for the first time when an occurrence begins; and also when one ends of
    which the session filled a seat, or when a device becomes free that could have that seat instead.
    """

    at: datetime
    occurrences: Mapping[int, Occurrence]
    """Those that keep devices then, by the bit of their reservation."""
    bits: int
    demand: Mapping[int, int]
    supply: Mapping[int, int]
    """Devices by the reservations that they can serve then."""
    filled: int
    """Seats that can be had."""
    spare: int
    """So many devices, whichever, can be taken without a seat fewer."""


@dataclass(frozen=True, slots=True)
class _Role:
    """What a device that is held comes to at any moment; most devices have the same few."""

    profile: int
    """The reservations that the device can serve."""
    admitted: int
    """Reservations that its person may use; none when that person has let go of it."""
    seat: Key | None
    """The occurrence of which the session was granted a seat."""


@dataclass(frozen=True, slots=True)
class _Holding:
    """A lease that may still hold its devices later."""

    lease: Lease
    until: datetime | None
    """From when on it holds them no more; None where nobody can say. Now counts as held, whatever this is."""
    roles: tuple[_Role, ...]
    """Of its devices that are in service."""

    def seat_in(self, reservations: int) -> bool:
        """Whether it has a seat of its own, or could fill one of these reservations."""
        roles = self.roles
        return any(role.seat or role.profile & role.admitted & reservations for role in roles)

    def lasts(self, at: datetime) -> bool:
        """Whether it holds its devices at a time after now."""
        return self.until is None or self.until > at


def _find_lost(moment: _Moment, profiles: Sequence[int], admitted: int) -> list[int]:
    """The classes of devices that would be missed then; none when every seat is filled without them."""
    taken = (profile & moment.bits for profile in profiles)
    lost = [mask for mask in taken if mask & ~admitted]
    if not lost:
        return []
    supply = Counter(moment.supply)
    for mask in lost:
        supply[mask] -= 1
        supply[mask & admitted] += 1
    return lost if count_filled(supply, moment.demand) < moment.filled else []


@dataclass(slots=True)
class _Looked:
    """How far the moments were looked at for devices of one kind and a person of one kind."""

    count: int = 0
    found: tuple[_Moment, list[int], int] | None = None


class Calendar:
    """The reservations as one decision sees them.

    A session counts for a reservation if it was granted a seat of it, or if its person may use it and the
    session still runs when it takes place: the session then needs not end, and fills one seat for each device
    of it that the reservation could have. So a group that already holds what it has reserved gets no more.

    Rule for all others: no session is given devices that would leave fewer seats to the reservations, at any
    time, than they could have without it.

    Args:
        devices: The devices that are in service, held ones included, in order.
        leases: All live leases.
        occurrences: From :func:`~gpuspawner.core.occurrences.open_occurrences`, from now until as late as any
            session of this decision may last. What lies behind that is not looked at.
        now: The present.
    """

    def __init__(
        self,
        devices: Sequence[DeviceRecord],
        leases: Sequence[Lease],
        occurrences: Sequence[Occurrence],
        now: datetime,
    ) -> None:
        self._devices, self._leases, self._now = devices, leases, now
        self._occurrences = [one for one in occurrences if one.end > now]
        self._on = sorted((one for one in self._occurrences if one.on(now)), key=lambda one: one.end)
        self._tight: dict[int, list[_Moment]] = {}
        self._looked: dict[tuple[tuple[int, ...], int], _Looked] = {}
        self._admitted: dict[tuple[str, Party], int] = {}
        self._moments: list[_Moment] = []
        self._used: Counter[Key] = Counter()
        self._reservations = {one.reservation_id: one.reservation for one in self._occurrences}
        self._bits = {name: 1 << n for n, name in enumerate(self._reservations)}
        self._profiles: dict[str, int] = {}
        if not self._occurrences:
            return
        by_cards: dict[frozenset[str], int] = {}
        for name, reservation in self._reservations.items():
            by_cards[reservation.cards] = by_cards.get(reservation.cards, 0) | self._bits[name]
        self._profiles = {
            record.device.uuid: sum(
                bits for cards, bits in by_cards.items() if may_serve(record.device, cards)
            )
            for record in devices
        }
        self._classes = Counter(self._profiles.values())
        self._held = [self._describe(lease) for lease in leases if lease.devices]
        on = {self._bits[one.reservation_id] for one in self._on}
        self._concerned = [held.lease for held in self._held if held.seat_in(sum(on))]
        self._used = self._count_used()
        self._moments = list(self._list_moments())

    def taking(self, lease: Lease) -> Calendar:
        """The calendar after one more lease was granted in the same decision."""
        grown = copy(self)
        grown._leases = [*self._leases, lease]
        if self._occurrences and lease.devices:
            new = grown._describe(lease)
            grown._held = [*self._held, new]
            grown._concerned = [*self._concerned, lease]
            grown._used = grown._count_used() if lease.reservation else self._count_used_with(lease)
            grown._tight, grown._looked = {}, {}
            grown._moments = [
                grown._with_holding(moment, new) if moment.at == self._now or new.lasts(moment.at) else moment
                for moment in self._moments
            ]
            grown._add_moment(new.until)
        return grown

    def used(self, occurrence: Occurrence) -> int:
        """Seats of an occurrence that is on that are in use now."""
        return self._used[occurrence.key]

    def seat_for(self, person: str, party: Party, free: Iterable[str], count: int) -> Occurrence | None:
        """The occurrence that is on, has seats left for this person, and devices for them; the first to end.

        Args:
            person: Who wants the devices.
            party: Their groups and courses.
            free: UUIDs that could be given out now, and would be right for the request.
            count: How many are wanted.
        """
        usable = list(free) if self._on else []
        for one in self._on:
            room = count <= one.seats - self._used[one.key]
            if room and one.reservation.admits(person, party) and len(self.serving(one, usable)) >= count:
                return one
        return None

    def serving(self, occurrence: Occurrence, uuids: Iterable[str]) -> tuple[str, ...]:
        """Those of the devices that can be a seat of an occurrence."""
        bit = self._bits.get(occurrence.reservation_id, 0)
        return tuple(uuid for uuid in uuids if self._profiles.get(uuid, 0) & bit)

    def limit(
        self, uuids: Sequence[str], person: str, party: Party, *, until: datetime | None = None
    ) -> tuple[datetime | None, str]:
        """By when a session must have ended if it takes exactly these devices now, and why.

        Args:
            uuids: Devices that are free now.
            person: Who wants them.
            party: Their groups and courses.
            until: When the session ends anyhow; what is later is not looked at.

        Returns:
            (None, "") when nothing limits it. A time that is not in the future: it cannot have them now.
        """
        found = self._find_limit(uuids, person, party, until)
        return (None, "") if found is None else (found[0].at, self._explain(*found))

    def find_next_end(self, at: datetime | None) -> datetime | None:
        """When the first of those that keep devices at a time ends; None when none does."""
        ends = (one.end for one in self._occurrences if at is not None and one.held_from <= at < one.end)
        return min(ends, default=None)

    def _find_limit(
        self, uuids: Sequence[str], person: str, party: Party, until: datetime | None
    ) -> tuple[_Moment, list[int], int] | None:
        """The moment, the classes of the devices that would be missed then, and what the person may use.

        Of those who wait many want the same, for longer or shorter: each moment is looked at once for all.
        """
        profiles = tuple(self._profiles.get(uuid, 0) for uuid in uuids)
        admitted = self._admit(person, party) if any(profiles) else 0
        looked = self._looked.setdefault((profiles, admitted), _Looked())
        moments = self._list_tight(len(uuids))
        while looked.found is None and looked.count < len(moments):
            moment = moments[looked.count]
            if until is not None and moment.at >= until:
                return None
            looked.count += 1
            lost = _find_lost(moment, profiles, admitted)
            if lost:
                looked.found = (moment, lost, admitted)
        found = looked.found
        return None if found is None or (until is not None and found[0].at >= until) else found

    def choose_widest(
        self, free: Sequence[str], count: int, person: str, party: Party, *, until: datetime | None = None
    ) -> tuple[str, ...]:
        """Those of the free devices, at least ``count``, of which each by itself can be kept longest.

        So a session is put where no reservation is, if there is such a place. All that was given if there are
        fewer than ``count``. What several of them together come to is for :meth:`limit` to say.
        """
        if not self._moments:
            return tuple(free)
        limits: dict[int, datetime | None] = {}
        for uuid in free:
            profile = self._profiles.get(uuid, 0)
            if profile not in limits:
                found = self._find_limit([uuid], person, party, until)
                limits[profile] = found[0].at if found else None
        ends = [limits[self._profiles.get(uuid, 0)] for uuid in free]
        for bar in [None, *sorted({end for end in ends if end is not None}, reverse=True)]:
            chosen = [
                uuid
                for uuid, end in zip(free, ends, strict=True)
                if end is None or (bar is not None and end >= bar)
            ]
            if len(chosen) >= count:
                return tuple(chosen)
        return tuple(free)

    def find_shortfall(self, key: Key) -> Shortfall | None:
        """Seats that an occurrence may lack when it begins because of sessions under way, if any."""
        for moment in self._moments:
            found = [(bit, one) for bit, one in moment.occurrences.items() if one.key == key]
            if not found:
                continue
            ((bit, occurrence),) = found
            others = {other: seats for other, seats in moment.demand.items() if other != bit}
            missing = occurrence.seats - (moment.filled - count_filled(moment.supply, others))
            leases = tuple(
                holding.lease
                for holding in self._held
                if (moment.at == self._now or holding.lasts(moment.at))
                and any(
                    role.profile & bit and not self._serves(role, moment.occurrences) & bit
                    for role in holding.roles
                )
            )
            return Shortfall(occurrence, missing, leases) if missing and leases else None
        return None

    # -- how it is worked out -------------------------------------------------------------------------------

    def _describe(self, lease: Lease) -> _Holding:
        admitted = 0 if lease.state.ending else self._admit(lease.owner, lease.party)
        seat = None if lease.state.ending else lease.reservation
        until = self._now if lease.state.ending else lease.ends_at
        return _Holding(
            lease,
            None if lease.state is LeaseState.QUARANTINED else until,
            tuple(
                _Role(self._profiles[uuid], admitted, seat)
                for uuid in lease.devices
                if uuid in self._profiles
            ),
        )

    def _admit(self, person: str, party: Party) -> int:
        known = self._admitted.get((person, party))
        if known is None:
            names = (name for name, one in self._reservations.items() if one.admits(person, party))
            known = self._admitted[person, party] = sum(self._bits[name] for name in names)
        return known

    def _count_used(self) -> Counter[Key]:
        """Seats in use now. A session without a seat of its own counts for the first that has room for it."""
        return count_used(self._on, self._concerned, self._bits, self._profiles)

    def _count_used_with(self, lease: Lease) -> Counter[Key]:
        """The same after one more session, which was granted no seat: it comes after all others."""
        used = Counter(self._used)
        fill_seat(used, by_start(self._on), lease, self._bits, self._profiles)
        return used

    def _list_moments(self) -> Iterator[_Moment]:
        coming = deque(sorted(self._occurrences, key=lambda one: one.held_from))
        begins = {max(one.held_from, self._now) for one in coming}
        ends = {one.end for one in coming}
        freed = {one.ends_at for one in self._leases if one.ends_at is not None and one.ends_at > self._now}
        held = Counter(role for holding in self._held for role in holding.roles)
        leaving = deque(sorted((h for h in self._held if h.until), key=lambda h: h.until or self._now))
        here: list[Occurrence] = []
        for at in sorted(begins | ends | freed):
            here = [one for one in here if one.end > at]
            while coming and coming[0].held_from <= at:
                here.append(coming.popleft())
            while leaving and at > self._now and not leaving[0].lasts(at):
                held.subtract(leaving.popleft().roles)
            # One reservation alone does not lack anything because a device more becomes free.
            if len(here) > (at not in begins and at not in ends):
                yield self._make_moment(at, here, held)

    def _add_moment(self, at: datetime | None) -> None:
        """Look at a time at which something is freed too, where several reservations then take place."""
        if at is None or at <= self._now or any(moment.at == at for moment in self._moments):
            return
        here = [one for one in self._occurrences if one.held_from <= at < one.end]
        if len(here) > 1:
            here.sort(key=lambda one: one.held_from)
            held = Counter(role for holding in self._held if holding.lasts(at) for role in holding.roles)
            self._moments = sorted([*self._moments, self._make_moment(at, here, held)], key=lambda m: m.at)

    def _make_moment(self, at: datetime, here: Sequence[Occurrence], held: Mapping[_Role, int]) -> _Moment:
        occurrences = {self._bits[one.reservation_id]: one for one in here}
        bits = sum(occurrences)
        supply: Counter[int] = Counter()
        for profile, count in self._classes.items():
            supply[profile & bits] += count
        return self._fill(at, occurrences, supply, held)

    def _with_holding(self, moment: _Moment, new: _Holding) -> _Moment:
        return self._fill(moment.at, moment.occurrences, Counter(moment.supply), Counter(new.roles))

    def _fill(
        self,
        at: datetime,
        occurrences: Mapping[int, Occurrence],
        supply: Counter[int],
        taken: Mapping[_Role, int],
    ) -> _Moment:
        """A moment at which so many devices of these roles are held beside those that ``supply`` counts."""
        bits = sum(occurrences)
        for role, count in taken.items():
            supply[role.profile & bits] -= count
            supply[role.profile & self._serves(role, occurrences)] += count
        del supply[0]
        demand = {bit: one.seats for bit, one in occurrences.items()}
        filled = count_filled(supply, demand)
        return _Moment(at, occurrences, bits, demand, supply, filled, count_spare(supply, demand))

    @staticmethod
    def _serves(role: _Role, occurrences: Mapping[int, Occurrence]) -> int:
        """The reservations of which a device that is held fills a seat, or could fill one."""
        if role.seat is not None:
            for bit, one in occurrences.items():
                if one.key == role.seat:
                    return bit
        return role.admitted & sum(occurrences)

    def _list_tight(self, count: int) -> list[_Moment]:
        if count not in self._tight:
            self._tight[count] = [moment for moment in self._moments if moment.spare < count]
        return self._tight[count]

    def _explain(self, moment: _Moment, lost: Sequence[int], admitted: int) -> str:
        touched = [
            one
            for bit, one in moment.occurrences.items()
            if bit & ~admitted and any(mask & bit for mask in lost)
        ]
        return describe_holding(min(touched, key=lambda one: one.held_from < moment.at), self._now)
