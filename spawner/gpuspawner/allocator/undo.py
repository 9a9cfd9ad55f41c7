"""The use case of taking back what was decided, as long as it stands as it was decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.audit import EventSearch
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.model import Event, Message
from gpuspawner.core.undo import (
    DRAIN_KINDS,
    PIN_KINDS,
    Around,
    GivenBack,
    Limits,
    Undoing,
    can_ever,
    plan_undo,
    tell_drain,
    tell_end,
    tell_pin,
)
from gpuspawner.core.words import mark, read_text

from .clock import utc_now
from .line import Line

_MOST_OF_ONE_DEED = 1000


class Undo:
    """Takes back decisions on the cards and sessions of one host.

    Args:
        ledger: Where everything is kept.
        host: The host.
        line: Says until when sessions could go on.
        clock: Says the present.
    """

    def __init__(
        self, ledger: Ledger, host: str, line: Line, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._ledger, self._host, self._line, self._clock = ledger, host, line, clock

    def plan(self, event_id: int) -> Undoing:
        """What taking back an event would come to. Raises: NotFound, LedgerError."""
        limits = self._find_limits(event_id)
        with self._ledger.read() as unit:
            return self._plan(unit, event_id, limits)

    def plan_all(self, events: Iterable[Event]) -> dict[int, Undoing]:
        """By id, what taking back events would come to that could be; reservations are not looked at.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        some = [event for event in events if can_ever(event) and event.id is not None]
        if not some:
            return {}
        with self._ledger.read() as unit:
            around = self._look_around(unit, some, {})
        return {event.id: plan_undo(event, around) for event in some if event.id is not None}

    def last_event_id(self) -> int:
        """The id of the newest event. Raises: LedgerError."""
        with self._ledger.read() as unit:
            return unit.last_event_id()

    def find_deed(self, actor: str, after: int) -> Event | None:
        """What somebody has decided since an event that could be taken back; the first of it.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        with self._ledger.read() as unit:
            found = unit.find_events(EventSearch(actor=actor, after=after), _MOST_OF_ONE_DEED)
        return next((event for event in reversed(found) if can_ever(event)), None)

    def undo(self, event_id: int, *, reason: str, actor: str) -> Undoing:
        """Take an event back; that is an event too, and can be taken back itself.

        Raises:
            NotFound: There is no such event.
            Conflict: It cannot be taken back, or not any more.
            InvalidRequest: There is no reason.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        why, limits = read_text(reason, "A reason"), self._find_limits(event_id)
        with self._ledger.write() as unit:
            found = self._plan(unit, event_id, limits)
            if found.why_not:
                raise Conflict(found.why_not)
            told = Event(self._clock(), "", why, actor, data={"undoes": event_id})
            undo = found.event.data["undo"]
            if isinstance(undo, dict) and "drain" in undo:
                self._put_drain(unit, found, told)
            elif isinstance(undo, dict) and "pin" in undo:
                self._put_pin(unit, found, told)
            for one in found.ends:
                self._give_back(unit, one, told)
        return found

    # -- parts ----------------------------------------------------------------------------------------------

    def _plan(self, unit: LedgerUnit, event_id: int, limits: Limits) -> Undoing:
        event = unit.event(event_id)
        if event is None:
            raise NotFound("There is no such line in the audit trail.")
        return plan_undo(event, self._look_around(unit, [event], limits))

    def _look_around(self, unit: LedgerUnit, events: Iterable[Event], limits: Limits) -> Around:
        ids = [event.id for event in events if event.id is not None]
        devices = {event.device for event in events if event.device is not None}
        newer: Mapping[tuple[str, ...], Mapping[str, int]] = {
            kinds: unit.newest_about(devices, kinds, min(ids)) if devices else {}
            for kinds in (DRAIN_KINDS, PIN_KINDS)
        }
        return Around(
            now=self._clock(),
            drains=unit.drains(self._host),
            leases={lease.id: lease for lease in unit.live_leases(self._host)},
            newer=newer,
            limits=limits,
        )

    def _find_limits(self, event_id: int) -> Limits:
        """Until when the sessions could go on that would get back a later end."""
        with self._ledger.read() as unit:
            found = self._plan(unit, event_id, {})
        later = [one.lease for one in found.ends if one.goes_on]
        return self._line.latest_ends(later) if later else {}

    def _put_drain(self, unit: LedgerUnit, found: Undoing, told: Event) -> None:
        standing = next((one for one in unit.drains(self._host) if one.device == found.device), None)
        if found.drain is None:
            unit.remove_drain(self._host, found.device)
        else:
            unit.put_drain(self._host, found.drain)
        kind = DRAIN_KINDS[found.drain is None]
        undo = {"drain": tell_drain(standing)}
        unit.add_event(replace(told, kind=kind, device=found.device, data={**told.data, "undo": undo}))

    def _put_pin(self, unit: LedgerUnit, found: Undoing, told: Event) -> None:
        standing = next((one for one in unit.pins(self._host) if one.device == found.device), None)
        if found.pin is None:
            unit.remove_pin(self._host, found.device)
        else:
            unit.put_pin(self._host, found.pin)
        kind = PIN_KINDS[found.pin is None]
        undo = {"pin": tell_pin(standing)}
        unit.add_event(replace(told, kind=kind, device=found.device, data={**told.data, "undo": undo}))

    def _give_back(self, unit: LedgerUnit, one: GivenBack, told: Event) -> None:
        lease, actor = one.lease, told.actor
        changed = replace(lease, ends_at=one.ends_at, end_reason=one.end_reason, warned=None)
        unit.update_lease(changed)
        kind = "session.extended" if one.goes_on else "session.shortened"
        undo = {"ends": [tell_end(lease, changed)]}
        unit.add_event(replace(told, kind=kind, lease_id=lease.id, data={**told.data, "undo": undo}))
        if actor != lease.owner:
            why = told.reason
            text = mark(f"{actor} took back the end that was set for your session, which has none now: {why}")
            if one.ends_at:
                text = mark(
                    f"{actor} took back the end that was set for your session: it ends at "
                    f"{one.ends_at:%Y-%m-%d %H:%M} UTC as before: {why}"
                )
            unit.add_message(Message(told.at, lease.owner, text, actor, lease.id))
