"""The use cases around reservations: gather, let core decide, apply, in one transaction each.

Who may do what is decided by the caller. Every method may block on the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.claims import Actor, Reservation, SeatReturn
from gpuspawner.core.errors import Conflict, InvalidRequest
from gpuspawner.core.model import DeviceRecord
from gpuspawner.core.occurrences import LONGEST
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import (
    PATIENCE,
    Occurrence,
    count_losing,
    describe_when,
    expand,
    open_occurrences,
    plan_returns,
)
from gpuspawner.core.words import mark
from gpuspawner.policy.ical import from_ical
from gpuspawner.policy.reservations import (
    PolicyNames,
    ReservationBody,
    find_version,
    make_reservation,
)

from .bookevents import CONTROLLER, store, tell, tell_return
from .clock import utc_now
from .made import Made, Preview
from .room import find_warnings, gather, require_room


class Reservations:
    """Makes, changes and ends reservations.

    Args:
        ledger: Where everything is kept.
        host: The host whose devices are reserved.
        clock: Says the present.
    """

    def __init__(self, ledger: Ledger, host: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.ledger = ledger
        self._host = host
        self._clock = clock

    def standing(self) -> tuple[Reservation, ...]:
        """Every reservation that was neither cancelled nor closed, by start. Raises: LedgerError."""
        with self.ledger.read() as unit:
            return unit.reservations(self._host)

    def find(self, reservation_id: str) -> Reservation | None:
        """One reservation of this host, cancelled or not. Raises: LedgerError."""
        with self.ledger.read() as unit:
            found = unit.reservation(reservation_id)
        return found if found and found.host == self._host else None

    def list(self, since: datetime, until: datetime, *, empty: bool = False) -> tuple[Occurrence, ...]:
        """What takes place in that time, with the seats that are left of each. Raises: LedgerError.

        Args:
            since: From when.
            until: Until when.
            empty: Whether that is listed too of which every seat was given back.
        """
        return self.survey(since, until, empty=empty)[1]

    def survey(
        self, since: datetime, until: datetime, *, empty: bool = False
    ) -> tuple[tuple[Reservation, ...], tuple[Occurrence, ...]]:
        """What :meth:`standing` and :meth:`list` say, at one moment. Raises: LedgerError."""
        with self.ledger.read() as unit:
            known = unit.reservations(self._host, ended=since < self._clock())
            returns = unit.seat_returns(self._host, since - LONGEST)
        standing = tuple(one for one in known if one.ended_at is None)
        return standing, open_occurrences(known, returns, since, until, empty=empty)

    def make(
        self,
        body: ReservationBody,
        *,
        actor: Actor,
        names: PolicyNames | None = None,
        zone: str = "UTC",
        people: bool = True,
    ) -> Made:
        """Make a reservation.

        Args:
            body: What was sent.
            actor: Who reserves.
            names: What the policy has names for.
            zone: The time zone where none was sent.
            people: Whether warnings and conflicts name persons who have a session or something reserved.

        Raises:
            InvalidRequest: What was sent makes no sense.
            ReservationConflict: It collides with others, or wants more than there is; nothing was changed.
            LedgerError: The ledger cannot be used; nothing was changed.
        """
        wanted = [(secrets.token_hex(8), body)]
        return self._put_all(wanted, actor=actor, names=names, zone=zone, people=people)[0]

    def change(
        self,
        reservation_id: str,
        body: ReservationBody,
        *,
        actor: Actor,
        names: PolicyNames | None = None,
        zone: str = "UTC",
        people: bool = True,
        seen: str = "",
    ) -> Made:
        """Put another reservation in the place of one that stands; otherwise like :meth:`make`.

        It stays that of who made it. Sessions that have a seat of an occurrence keep it as long as the
        occurrence begins at the same time.

        Args:
            seen: The version of it that the actor was shown; empty where whatever stands is to be changed.

        Raises:
            Conflict: It is another one than was shown; nothing was changed.
        """
        wanted = [(reservation_id, body)]
        return self._put_all(
            wanted, actor=actor, names=names, zone=zone, people=people, standing_only=True, seen=seen
        )[0]

    def preview(
        self,
        body: ReservationBody,
        *,
        actor: Actor,
        names: PolicyNames | None = None,
        people: bool = True,
        replaces: str = "",
    ) -> Preview:
        """Say what :meth:`make`, or :meth:`change`, would do now; nothing is changed.

        Args:
            body: What was sent.
            actor: Who would reserve.
            names: What the policy has names for.
            people: As for :meth:`make`.
            replaces: Id of the reservation in whose place it would come; empty for a new one.

        Raises:
            InvalidRequest: What was sent makes no sense.
            ReservationConflict: It collides with others, or wants more than there is.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        new = make_reservation(
            body, reservation_id=replaces or "new", host=self._host, actor=actor, now=now, names=names
        )
        with self.ledger.read() as unit:
            known, leases = gather(unit, self._host, {new.id}, now), unit.live_leases(self._host)
            old = unit.reservation(replaces) if replaces else None
        taken = require_room([new], known, now, people=people)
        ahead = expand(new, now, new.start + HORIZON + LONGEST)
        warnings = find_warnings(ahead[0], taken, known.inventory, leases, now, people=people)
        return Preview(new, ahead, warnings, old, count_losing(replaces, ahead, leases))

    def import_ical(
        self,
        data: bytes,
        defaults: Mapping[str, object],
        *,
        actor: Actor,
        names: PolicyNames | None = None,
        people: bool = True,
    ) -> tuple[Made, ...]:
        """Make or change a reservation for each event of a calendar: all of them, or none.

        An event that was imported before, or exported from here, changes its reservation.

        Args:
            data: The calendar.
            defaults: Fields for events that do not say them; see :func:`gpuspawner.policy.ical.from_ical`.
            actor: Who reserves.
            names: What the policy has names for.
            people: As for :meth:`make`.

        Raises:
            InvalidRequest: An event makes no sense; it is named.
            ReservationConflict: An event collides with others.
            LedgerError: The ledger cannot be used.
        """
        events = [(one.reservation_id, one.body) for one in from_ical(data, defaults)]
        return self._put_all(events, actor=actor, names=names, zone="UTC", people=people, several=True)

    def cancel(self, reservation_id: str, *, actor: Actor, reason: str, seen: str = "") -> Reservation:
        """End a reservation. What is on ends now; sessions that have a seat go on as they are.

        Raises:
            InvalidRequest: There is none of that id, or it was cancelled before.
            Conflict: As for :meth:`change`.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            ended = replace(self._require(unit, reservation_id, seen), ended_at=now)
            unit.put_reservation(ended)
            unit.add_event(tell(now, "reservation.cancelled", reason, actor=actor, about=ended))
        return ended

    def leave_out(
        self, reservation_id: str, start: datetime, *, actor: Actor, reason: str, seen: str = ""
    ) -> Reservation:
        """Let one occurrence not take place.

        Raises:
            InvalidRequest: There is no such reservation, or nothing of it starts then, or it is over.
            Conflict: As for :meth:`change`.
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.write() as unit:
            old = self._require(unit, reservation_id, seen)
            ahead = expand(old, now, old.start + HORIZON)
            if start not in {one.start for one in ahead}:
                zone = ZoneInfo(old.zone)
                why = mark(f"the next is {describe_when(ahead[0], zone)}") if ahead else mark("all are over")
                raise InvalidRequest(
                    f"Nothing of reservation {old.id} starts at {start.astimezone(zone).isoformat()} "
                    f"and is still ahead; {why}."
                )
            changed = replace(old, left_out=tuple(sorted({*old.left_out, start})))
            unit.put_reservation(changed)
            data: dict[str, object] = {"left_out": start.isoformat()}
            unit.add_event(tell(now, "reservation.changed", reason, actor=actor, about=changed, data=data))
        return changed

    def return_unused(self, patience: timedelta = PATIENCE) -> tuple[SeatReturn, ...]:
        """Give back to all what nobody uses of the reservations that are on. Raises: LedgerError."""
        now = self._clock()
        with self.ledger.read() as unit:
            if not self._plan_returns(unit, now, patience):
                return ()
        # Looked at again: the plan is carried out in the transaction in which it is made.
        with self.ledger.write() as unit:
            planned = self._plan_returns(unit, now, patience)
            for one, before in planned:
                unit.put_seat_return(one)
                unit.add_event(tell_return(one, before))
        return tuple(one for one, _ in planned)

    def close_past(self) -> tuple[Reservation, ...]:
        """Close the reservations of which nothing is ahead, so that no decision reads them any more.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        now = self._clock()
        with self.ledger.read() as unit:
            if not any(_is_over(one, now) for one in unit.reservations(self._host)):
                return ()
        with self.ledger.write() as unit:
            over = [one for one in unit.reservations(self._host) if _is_over(one, now)]
            closed = tuple(replace(one, ended_at=now) for one in over)
            for one in closed:
                unit.put_reservation(one)
                why = mark("nothing of it is ahead")
                unit.add_event(tell(now, "reservation.closed", why, actor=CONTROLLER, about=one))
        return closed

    def _plan_returns(
        self, unit: LedgerUnit, now: datetime, patience: timedelta
    ) -> tuple[tuple[SeatReturn, Occurrence], ...]:
        standing = unit.reservations(self._host)
        returns = unit.seat_returns(self._host, now - LONGEST)
        on = {one.key: one for one in open_occurrences(standing, returns, now, now + timedelta.resolution)}
        if not on:
            return ()
        leases = (*unit.live_leases(self._host), *unit.seats_left_since(self._host, now - patience))
        planned = plan_returns(on.values(), leases, unit.inventory(self._host), now, patience)
        return tuple((one, on[one.reservation_id, one.start]) for one in planned)

    def _put_all(
        self,
        wanted: Iterable[tuple[str, ReservationBody]],
        *,
        actor: Actor,
        names: PolicyNames | None,
        zone: str,
        people: bool,
        standing_only: bool = False,
        seen: str = "",
        several: bool = False,
    ) -> tuple[Made, ...]:
        now = self._clock()
        new = []
        for name, body in wanted:
            try:
                made = make_reservation(
                    body, reservation_id=name, host=self._host, actor=actor, now=now, names=names, zone=zone
                )
            except InvalidRequest as error:
                if not several:
                    raise
                raise InvalidRequest(f"Event {body.title!r}: {error}") from None
            new.append(made)
        replaced = {one.id for one in new}
        with self.ledger.read() as unit:
            known = gather(unit, self._host, replaced, now)
        # Many occurrences take seconds to compare: nobody else shall wait for that.
        taken = require_room(new, known, now, people=people)
        with self.ledger.write() as unit:
            if standing_only:
                for one in new:
                    self._require(unit, one.id, seen)
            found = gather(unit, self._host, replaced, now)
            if found != known:
                taken = require_room(new, found, now, people=people)
            return tuple(
                self._put(unit, one, taken, found.inventory, now, actor=actor, people=people) for one in new
            )

    def _put(
        self,
        unit: LedgerUnit,
        new: Reservation,
        taken: Sequence[Occurrence],
        inventory: tuple[DeviceRecord, ...],
        now: datetime,
        *,
        actor: Actor,
        people: bool,
    ) -> Made:
        new, replaced = store(unit, new, now, actor)
        first = expand(new, now, new.start + HORIZON)[0]
        warnings = find_warnings(first, taken, inventory, unit.live_leases(self._host), now, people=people)
        return Made(new, warnings, replaced=replaced)

    def _require(self, unit: LedgerUnit, reservation_id: str, seen: str) -> Reservation:
        found = unit.reservation(reservation_id)
        if found is None or found.host != self._host:
            raise InvalidRequest(f"There is no reservation {reservation_id[:40]!r} on {self._host}.")
        if found.ended_at is not None:
            raise InvalidRequest(f"Reservation {found.id} was cancelled already; nothing was changed.")
        if seen and find_version(found) != seen:
            raise Conflict(
                "Somebody has changed this reservation since you were shown it. Look again; nothing was done."
            )
        return found


def _is_over(one: Reservation, now: datetime) -> bool:
    return one.start + one.length <= now and not expand(one, now, one.start + HORIZON + LONGEST)
