"""What the audit trail says of reservations."""

from __future__ import annotations

from datetime import datetime

from gpuspawner.core.claims import Actor, ActorKind, Reservation, SeatReturn
from gpuspawner.core.model import Event
from gpuspawner.core.reservations import Occurrence

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


def tell_return(given_back: SeatReturn, before: Occurrence) -> Event:
    """That seats are everybody's again."""
    seats = given_back.seats - (before.reservation.devices - before.seats)
    gpus = "1 GPU" if seats == 1 else f"{seats} GPUs"
    reason = (
        f"{gpus} of {before.reservation.devices} that are reserved for {before.reservation.holder} "
        f"({before.title}) were not used, and are everybody's again"
    )
    data: dict[str, object] = {"start": given_back.start.isoformat(), "seats": given_back.seats}
    return tell(
        given_back.at, "reservation.returned", reason, actor=CONTROLLER, about=before.reservation, data=data
    )
