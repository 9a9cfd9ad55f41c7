"""The use cases of an administrator's word on cards: drain, keep for somebody, clear a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Drain, Holder, Pin
from gpuspawner.core.drains import (
    WITHOUT_CARD,
    choose_end,
    describe_time,
    find_card_family,
    find_family,
    is_over,
    why_drained,
    why_kept,
)
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import DeviceRecord, Event, Lease
from gpuspawner.core.undo import tell_drain, tell_end, tell_pin
from gpuspawner.core.words import mark

from .clock import utc_now

MOST_CHARACTERS = 500
"""Of a reason."""
MOST_IN_A_NAME = 255
LONGEST_DRAIN = timedelta(days=3650)
"""A later end is a slip of the hand."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The outcome of :meth:`Cards.drain`."""

    record: Drain
    """The drain as it is now."""
    before: Drain | None
    """The one that it replaces; None when the device was in use until now."""
    leases: tuple[Lease, ...]
    """Who holds the device or a slice of it, with the ends that they have now."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """The outcome of :meth:`Cards.pin`."""

    record: Pin
    before: Pin | None
    """The one that it replaces."""
    leases: tuple[Lease, ...]
    """Sessions on it that go on although it is not kept for their person."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """One device whose standing fault was cleared."""

    device: str
    fault: str


class Cards:
    """What an administrator may say of the cards of one host.

    A device is named by its UUID. Also one that is not listed at the moment can be drained, so that it does
    not come back into use by itself. What is said of a card holds for its slices. ``cpu-only`` stands for
    servers without a device: those can be drained too.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices these are.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger = ledger
        self._host = host
        self._clock = clock

    # -- drain ----------------------------------------------------------------------------------------------

    def drain(
        self, device: str, *, reason: str, actor: str, until: datetime | None = None, now: bool = False
    ) -> Drained:
        """Take a device out of use; one that is drained already is drained as it is said now.

        Args:
            device: Its UUID; a card's holds for all its slices.
            reason: Why, for people.
            actor: Who decides.
            until: When it comes back by itself; None when somebody must undrain it.
            now: Whether sessions on it end, after a short grace; otherwise they go on, and none begins.

        Raises:
            InvalidRequest: The device is not known, or something that was said makes no sense.
            LedgerError: The ledger cannot be used.
        """
        present = self._clock()
        reason = _require_words(reason)
        _require_future(until, present)
        with self._ledger.write() as unit:
            records = _known_devices(unit, self._host)
            if device != WITHOUT_CARD:
                _require_known(device, records)
            before = _standing_drain(unit, self._host, device, present)
            drain = Drain(device, reason, actor, before.since if before else present, until, now)
            unit.put_drain(self._host, drain)
            leases = self._leases_on(unit, device, records)
            after = tuple(_end_soon(lease, drain, present) for lease in leases) if now else leases
            ends = [(old, new) for old, new in zip(leases, after, strict=True) if new != old]
            data: dict[str, object] = {
                "until": until.isoformat() if until else None,
                "now": now,
                "before": why_drained(before, present) if before else None,
                "leases": [lease.id for lease in leases],
                "undo": {"drain": tell_drain(before), "ends": [tell_end(*one) for one in ends]},
            }
            told = Event(
                present, "device.drained", why_drained(drain, present), actor, device=device, data=data
            )
            unit.add_event(told)
            for old, new in ends:
                unit.update_lease(new)
                unit.add_event(_end_set(old, new, drain, present))
            leases = after
        return Drained(drain, before, leases)

    def undrain(self, device: str, *, reason: str, actor: str) -> Drain:
        """Give a device back into use; sessions that were told to end still end.

        Returns:
            The drain that is over.

        Raises:
            InvalidRequest: It is not drained, or its card is and not it.
            LedgerError: The ledger cannot be used.
        """
        now, reason = self._clock(), _require_words(reason)
        with self._ledger.write() as unit:
            drain = _standing_drain(unit, self._host, device, now)
            if drain is None:
                parent = _parent_of(device, _known_devices(unit, self._host))
                of_card = _standing_drain(unit, self._host, parent, now) if parent else None
                if of_card:
                    raise InvalidRequest(
                        f"{device} is not drained, but its card {parent} is; undrain that; "
                        "nothing was changed."
                    )
                raise InvalidRequest(f"{device} is not drained; nothing was changed.")
            unit.remove_drain(self._host, device)
            event = _undrained(drain, now, reason, actor)
            event.data["undo"] = {"drain": tell_drain(drain)}
            unit.add_event(event)
        return drain

    def expire_drains(self) -> tuple[Drain, ...]:
        """Remove the drains whose time is over, each with a line in the audit trail. Raises: LedgerError."""
        now = self._clock()
        with self._ledger.read() as unit:
            if not any(is_over(drain, now) for drain in unit.drains(self._host)):
                return ()
        with self._ledger.write() as unit:
            over = tuple(drain for drain in unit.drains(self._host) if is_over(drain, now))
            for drain in over:
                unit.remove_drain(self._host, drain.device)
                unit.add_event(_undrained(drain, now, mark("its time is over"), "system"))
        return over

    # -- keep for somebody ----------------------------------------------------------------------------------

    def pin(self, device: str, holder: Holder, *, reason: str, actor: str) -> Pinned:
        """Keep a device for somebody, in place of whom it was kept for; sessions on it go on.

        Raises:
            InvalidRequest: The device is not known, or something that was said makes no sense.
            LedgerError: The ledger cannot be used.
        """
        now, reason = self._clock(), _require_words(reason)
        holder = _require_holder(holder)
        with self._ledger.write() as unit:
            records = _known_devices(unit, self._host)
            _require_known(device, records)
            before = _standing_pin(unit, self._host, device)
            pin = Pin(device, holder, reason, actor, now)
            unit.put_pin(self._host, pin)
            held = self._leases_on(unit, device, records)
            leases = tuple(lease for lease in held if not holder.has(lease.owner, lease.party))
            data: dict[str, object] = {
                "kind": holder.kind,
                "name": holder.name,
                "before": why_kept(before) if before else None,
                "undo": {"pin": tell_pin(before)},
            }
            unit.add_event(Event(now, "device.pinned", why_kept(pin), actor, device=device, data=data))
        return Pinned(pin, before, leases)

    def unpin(self, device: str, *, reason: str, actor: str) -> Pin:
        """Keep a device for nobody any more.

        Returns:
            The pin that is over.

        Raises:
            InvalidRequest: It is kept for nobody, or its card is kept and not it.
            LedgerError: The ledger cannot be used.
        """
        now, reason = self._clock(), _require_words(reason)
        with self._ledger.write() as unit:
            pin = _standing_pin(unit, self._host, device)
            if pin is None:
                parent = _parent_of(device, _known_devices(unit, self._host))
                of_card = _standing_pin(unit, self._host, parent) if parent else None
                if of_card:
                    raise InvalidRequest(
                        f"{device} is kept for nobody, but its card {parent} is kept for {of_card.holder}; "
                        "nothing was changed."
                    )
                raise InvalidRequest(f"{device} is kept for nobody; nothing was changed.")
            unit.remove_pin(self._host, device)
            data: dict[str, object] = {"was": why_kept(pin), "undo": {"pin": tell_pin(pin)}}
            unit.add_event(Event(now, "device.unpinned", reason, actor, device=device, data=data))
        return pin

    # -- a fault that stands --------------------------------------------------------------------------------

    def clear_fault(self, device: str, *, reason: str, actor: str) -> tuple[Cleared, ...]:
        """Forget the standing fault of a physical card, on every part of it that has it.

        The agent judges it anew at its next look: what the driver still reports comes back.

        Raises:
            InvalidRequest: The device is not known, or has no standing fault.
            LedgerError: The ledger cannot be used.
        """
        now, reason = self._clock(), _require_words(reason)
        cleared = []
        with self._ledger.write() as unit:
            records = _known_devices(unit, self._host)
            _require_known(device, records)
            family = find_card_family(device, records)
            for record in records:
                uuid, fault = record.device.uuid, record.standing_fault
                if uuid not in family or fault is None:
                    continue
                unit.clear_fault(self._host, uuid)
                unit.add_event(_cleared(record, fault, now, reason, actor))
                cleared.append(Cleared(uuid, fault))
            if not cleared:
                raise InvalidRequest(_nothing_to_clear(device, records))
        return tuple(cleared)

    def _leases_on(
        self, unit: LedgerUnit, device: str, records: tuple[DeviceRecord, ...]
    ) -> tuple[Lease, ...]:
        if device == WITHOUT_CARD:
            return tuple(lease for lease in unit.live_leases(self._host) if not lease.devices)
        family = find_family(device, records)
        return tuple(lease for lease in unit.live_leases(self._host) if family & set(lease.devices))


# -- what is there ------------------------------------------------------------------------------------------


def _known_devices(unit: LedgerUnit, host: str) -> tuple[DeviceRecord, ...]:
    return (*unit.inventory(host), *unit.absent_devices(host))


def _standing_drain(unit: LedgerUnit, host: str, device: str, now: datetime) -> Drain | None:
    return next((d for d in unit.drains(host) if d.device == device and not is_over(d, now)), None)


def _standing_pin(unit: LedgerUnit, host: str, device: str) -> Pin | None:
    return next((pin for pin in unit.pins(host) if pin.device == device), None)


def _parent_of(device: str, records: tuple[DeviceRecord, ...]) -> str | None:
    return next((r.device.parent for r in records if r.device.uuid == device), None)


def _nothing_to_clear(device: str, records: tuple[DeviceRecord, ...]) -> str:
    record = next((r for r in records if r.device.uuid == device), None)
    why = ""
    if record and record.health_reason:
        why = mark(f" It is {record.health.value}: {record.health_reason}.")
    return mark(f"{device} has no standing fault; nothing was changed.{why}")


# -- what is written ----------------------------------------------------------------------------------------


def _end_soon(lease: Lease, drain: Drain, now: datetime) -> Lease:
    """A session on a device that is drained now, with its end; the controller ends it then."""
    end = choose_end(lease, drain, now)
    return lease if end is None else replace(lease, ends_at=end[0], end_reason=end[1])


def _end_set(old: Lease, new: Lease, drain: Drain, now: datetime) -> Event:
    ends_at, why = new.ends_at or now, new.end_reason
    text = mark(f"it ends at {describe_time(ends_at, now)}: {why}")
    data: dict[str, object] = {"ends_at": ends_at.isoformat(), "undo": {"ends": [tell_end(old, new)]}}
    return Event(now, "lease.end_set", text, drain.actor, old.id, drain.device, data)


def _undrained(drain: Drain, now: datetime, reason: str, actor: str) -> Event:
    data: dict[str, object] = {"was": why_drained(drain, now), "since": drain.since.isoformat()}
    return Event(now, "device.undrained", reason, actor, device=drain.device, data=data)


def _cleared(record: DeviceRecord, fault: str, now: datetime, reason: str, actor: str) -> Event:
    data: dict[str, object] = {"fault": fault}
    if record.fault is not None:
        data |= {"evidence": record.fault.evidence, "since": record.fault.since.isoformat()}
    return Event(now, "device.cleared", reason, actor, device=record.device.uuid, data=data)


# -- what people say ----------------------------------------------------------------------------------------


def _require_known(device: str, records: tuple[DeviceRecord, ...]) -> None:
    """Refuse what is neither a device nor the card of one."""
    if not any(device in (r.device.uuid, r.device.parent) for r in records):
        known = ", ".join(r.device.uuid for r in records)
        raise InvalidRequest(f"There is no card {device!r} on this host; there are: {known or 'none'}.")


def _require_words(reason: str) -> str:
    text = " ".join(reason.split())
    if not text:
        raise InvalidRequest("Give a reason: it is what others will read of this.")
    if len(text) > MOST_CHARACTERS or not text.isprintable():
        raise InvalidRequest(f"Give a reason of at most {MOST_CHARACTERS} printable characters.")
    return text


def _require_future(until: datetime | None, now: datetime) -> None:
    if until is None:
        return
    if until.tzinfo is None:
        raise InvalidRequest(f"{until} has no time zone; write it as 2030-05-17T18:00+02:00.")
    if not now < until <= now + LONGEST_DRAIN:
        raise InvalidRequest(
            f"{describe_time(until, now)} is {'over' if until <= now else 'more than 10 years ahead'}; "
            "give a later or nearer end, or none."
        )


def _require_holder(holder: Holder) -> Holder:
    name = holder.name.strip()
    if holder.kind not in ("person", "group", "course"):
        raise InvalidRequest(
            f"A card is kept for a person, a group or a course, and not for a {holder.kind!r}."
        )
    if not name or len(name) > MOST_IN_A_NAME or not name.isprintable():
        raise InvalidRequest(f"Name the {holder.kind} that the card is kept for.")
    return Holder(holder.kind, name)
