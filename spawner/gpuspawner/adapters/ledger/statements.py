"""What a decision about the line asks of the ledger, as statements that are built once.

SQLAlchemy takes seven times as long to build one of these as SQLite takes to answer it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam

from gpuspawner.core.claims import TicketState
from gpuspawner.core.model import LeaseState

from .schema import (
    DEVICE_COLUMNS,
    TICKET_COLUMNS,
    devices,
    drains,
    events,
    lease_devices,
    leases,
    meta,
    pins,
    reservations,
    seat_returns,
    standings,
    tickets,
)

LEDGER_ID = sa.select(meta.c.value).where(meta.c.key == "ledger_id")

# -- devices ------------------------------------------------------------------------------------------------

_DEVICES = (
    sa.select(*DEVICE_COLUMNS)
    .where(devices.c.host == bindparam("host"))
    .order_by(devices.c.index, devices.c.uuid)
)
PRESENT_DEVICES = _DEVICES.where(devices.c.present)
ABSENT_DEVICES = _DEVICES.where(sa.not_(devices.c.present))

# -- leases -------------------------------------------------------------------------------------------------


class LeaseQuery(NamedTuple):
    """How some leases are read."""

    leases: sa.Select[Any]
    """The leases, oldest first."""
    devices: sa.Select[Any]
    """Their devices in order, as (lease, UUID)."""


def select_leases(*conditions: sa.ColumnElement[bool]) -> LeaseQuery:
    """How the leases are read for which all of this holds."""
    return LeaseQuery(
        sa.select(leases).where(*conditions).order_by(leases.c.created_at, leases.c.id),
        sa.select(lease_devices.c.lease_id, lease_devices.c.device)
        .where(lease_devices.c.lease_id.in_(sa.select(leases.c.id).where(*conditions)))
        .order_by(lease_devices.c.position),
    )


_LIVE = (leases.c.host == bindparam("host"), leases.c.state != LeaseState.RELEASED.value)
LIVE_LEASES = select_leases(*_LIVE)
LIVE_LEASES_OF = select_leases(*_LIVE, leases.c.owner == bindparam("owner"))
LEASE = select_leases(leases.c.id == bindparam("id"))
LAST_LEASE = select_leases(
    leases.c.id
    == sa.select(leases.c.id)
    .where(leases.c.owner == bindparam("owner"), leases.c.server == bindparam("server"))
    .order_by(leases.c.created_at.desc(), leases.c.id)
    .limit(1)
    .scalar_subquery()
)
LAST_SESSION = select_leases(
    leases.c.id
    == sa.select(leases.c.id)
    .where(
        leases.c.host == bindparam("host"),
        leases.c.owner == bindparam("owner"),
        leases.c.state.not_in([LeaseState.RESERVED.value, LeaseState.ACTIVE.value]),
        leases.c.container_id.is_not(None),
    )
    .order_by(leases.c.created_at.desc(), leases.c.id)
    .limit(1)
    .scalar_subquery()
)
SESSIONS_OVER = select_leases(
    leases.c.host == bindparam("host"),
    leases.c.owner == bindparam("owner"),
    leases.c.ended_at >= bindparam("since"),
    leases.c.container_id.is_not(None),
)
SEATS_LEFT = select_leases(
    leases.c.host == bindparam("host"),
    leases.c.state == LeaseState.RELEASED.value,
    leases.c.reservation_id.is_not(None),
    sa.func.coalesce(leases.c.ended_at, leases.c.state_since) >= bindparam("since"),
)

ADD_LEASE = sa.insert(leases)
ADD_LEASE_DEVICES = sa.insert(lease_devices)
UPDATE_LEASE = sa.update(leases).where(leases.c.id == bindparam("this"))
UPDATE_LEASE_DEVICES = sa.update(lease_devices).where(lease_devices.c.lease_id == bindparam("this"))

ADD_EVENT = sa.insert(events)

# -- the line -----------------------------------------------------------------------------------------------

_TICKETS = sa.select(*TICKET_COLUMNS).order_by(tickets.c.queued_at, tickets.c.id)
_LIVE_TICKETS = _TICKETS.where(tickets.c.host == bindparam("host"), tickets.c.live)
LIVE_TICKETS = _LIVE_TICKETS
LIVE_TICKETS_OF = _LIVE_TICKETS.where(tickets.c.owner == bindparam("owner"))
TICKET_OF_SERVER = LIVE_TICKETS_OF.where(tickets.c.server == bindparam("server"))
OFFERS = _LIVE_TICKETS.where(tickets.c.state == TicketState.OFFERED.value)
TICKET = _TICKETS.where(tickets.c.id == bindparam("id"))
ENDED_TICKETS_OF = _TICKETS.where(
    tickets.c.host == bindparam("host"),
    tickets.c.state_since >= bindparam("since"),
    tickets.c.state == TicketState.ENDED.value,
    tickets.c.owner == bindparam("owner"),
    tickets.c.server == bindparam("server"),
)
ENDED_TICKETS = _TICKETS.where(
    tickets.c.host == bindparam("host"),
    sa.not_(tickets.c.live),
    tickets.c.state_since >= bindparam("since"),
)
ADD_TICKET = sa.insert(tickets)
UPDATE_TICKET = sa.update(tickets).where(tickets.c.id == bindparam("this"))

STANDINGS = sa.select(standings.c.owner, standings.c.gpu_seconds, standings.c.at).where(
    standings.c.host == bindparam("host")
)
STANDINGS_OF = STANDINGS.where(standings.c.owner.in_(bindparam("owners", expanding=True)))

# -- what is set aside --------------------------------------------------------------------------------------

DRAINS = sa.select(drains).where(drains.c.host == bindparam("host")).order_by(drains.c.device)
PINS = sa.select(pins).where(pins.c.host == bindparam("host")).order_by(pins.c.device)
ALL_RESERVATIONS = (
    sa.select(reservations)
    .where(reservations.c.host == bindparam("host"))
    .order_by(reservations.c.start, reservations.c.id)
)
RESERVATIONS = ALL_RESERVATIONS.where(reservations.c.ended_at.is_(None))
SEAT_RETURNS = (
    sa.select(seat_returns)
    .join(reservations)
    .where(reservations.c.host == bindparam("host"), seat_returns.c.start >= bindparam("since"))
)
