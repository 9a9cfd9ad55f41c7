"""What the audit trail says of reservations."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from gpuspawner.adapters.ledger import LedgerUnit
from gpuspawner.core.claims import Actor, ActorKind, Reservation, SeatReturn
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.model import Event
from gpuspawner.core.recurrence import HORIZON
from gpuspawner.core.reservations import Occurrence, describe_when, expand
from gpuspawner.core.words import mark
from gpuspawner.policy.reservations import to_json

CONTROLLER = Actor("controller", ActorKind.SERVICE)


def tell(
    now: datetime,
    kind: str,
    reason: str,
    *,
    actor: Actor,
    about: Reservation,
    data: dict[str, object] | None = None,
) -> Event:
    """What somebody did with a reservation, and where they acted."""
    said = {"reservation": about.id, **(data or {}), "acted_as": actor.kind.value}
    return Event(now, kind, reason, actor.name, data=said)


def store(unit: LedgerUnit, new: Reservation, now: datetime, actor: Actor) -> tuple[Reservation, bool]:
    """Keep a reservation, in place of one of the same id: it then stays that of who made it.

    Returns:
        As it was stored, and whether there was one before.

    Raises:
        InvalidRequest: There is one of that id on another host.
    """
    old = unit.reservation(new.id)
    if old is not None and old.host != new.host:
        raise InvalidRequest(f"Reservation {new.id} is one of host {old.host}; import it there.")
    if old is not None and old.ended_at is None:
        new = replace(new, made_at=old.made_at, actor=old.actor)
    unit.put_reservation(new)
    kind = "reservation.made" if old is None else "reservation.changed"
    first = expand(new, now, new.start + HORIZON)[0]
    when = describe_when(first, ZoneInfo(new.zone))
    reason = mark(f"{new.devices} GPUs for {new.holder}, first {when}")
    unit.add_event(tell(now, kind, reason, actor=actor, about=new, data=to_json(new)))
    return new, old is not None


def tell_return(given_back: SeatReturn, before: Occurrence) -> Event:
    """That seats are everybody's again."""
    seats = given_back.seats - (before.reservation.devices - before.seats)
    reason = mark(
        f"{seats} {'GPU' if seats == 1 else 'GPUs'} of {before.reservation.devices} that are reserved for "
        f"{before.reservation.holder} ({before.title}) were not used, and are everybody's again"
    )
    data: dict[str, object] = {"start": given_back.start.isoformat(), "seats": given_back.seats}
    return tell(
        given_back.at, "reservation.returned", reason, actor=CONTROLLER, about=before.reservation, data=data
    )
