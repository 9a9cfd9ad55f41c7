"""What can be done about the line, drains, pins, reservations, usage and messages in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from gpuspawner.core.claims import Drain, Pin, Reservation, SeatReturn, Standing, Ticket, Usage
from gpuspawner.core.feeds import Feed
from gpuspawner.core.model import Message

from . import line_rows
from . import statements as sql
from .schema import (
    calendar_feeds,
    drains,
    leases,
    messages,
    pins,
    reservations,
    seat_returns,
    standings,
    usage,
)

_FEW = 50
"""So many people are looked up one by one; for more, all are read."""


_Unit = TypeVar("_Unit", bound="LineUnit")
_Asked = ParamSpec("_Asked")
_Told = TypeVar("_Told")


def once(read: Callable[Concatenate[_Unit, _Asked], _Told]) -> Callable[Concatenate[_Unit, _Asked], _Told]:
    """A question that is answered as before in the same transaction, unless something was written since.

    A decision asks some of them several times. What others write is not seen within a transaction, and what
    its own connection changes is counted by SQLite itself, so that no writer can forget to say so.
    """

    @wraps(read)
    def remember(self: _Unit, /, *args: _Asked.args, **kwargs: _Asked.kwargs) -> _Told:
        changes = self._connection.total_changes
        if changes != self._changes:
            self._changes, self._told = changes, {}
        question = (read.__name__, args, tuple(kwargs.items()))
        if question not in self._told:
            self._told[question] = read(self, *args, **kwargs)
        answer: _Told = self._told[question]
        return answer

    return remember


class LineUnit:
    """The second half of :class:`~gpuspawner.adapters.ledger.LedgerUnit`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._db = connection
        self._connection: Any = connection.connection.driver_connection
        self._changes = 0
        self._told: dict[object, Any] = {}
        """What :func:`once` remembers, by question."""

    # -- the line -------------------------------------------------------------------------------------------

    def live_tickets(self, host: str, *, owner: str | None = None) -> tuple[Ticket, ...]:
        """Every place in line and every offer not claimed yet, of all or of one person, by arrival."""
        if owner is None:
            return self._tickets(sql.LIVE_TICKETS, host=host)
        return self._tickets(sql.LIVE_TICKETS_OF, host=host, owner=owner)

    def offers(self, host: str) -> tuple[Ticket, ...]:
        """Every offer that is not claimed yet, by arrival."""
        return self._tickets(sql.OFFERS, host=host)

    @once
    def ticket(self, ticket_id: str) -> Ticket | None:
        """One ticket, live or not."""
        found = self._tickets(sql.TICKET, id=ticket_id)
        return found[0] if found else None

    @once
    def ticket_of(self, host: str, owner: str, server: str) -> Ticket | None:
        """The live ticket of a server."""
        found = self._tickets(sql.TICKET_OF_SERVER, host=host, owner=owner, server=server)
        return found[0] if found else None

    def ended_tickets(self, host: str, since: datetime) -> tuple[Ticket, ...]:
        """Tickets that came to their end since then, for waits and for telling how one ended."""
        return self._tickets(sql.ENDED_TICKETS, host=host, since=since)

    def ended_tickets_of(self, host: str, owner: str, server: str, since: datetime) -> tuple[Ticket, ...]:
        """Tickets of a server that came to their end since then without being claimed."""
        return self._tickets(sql.ENDED_TICKETS_OF, host=host, owner=owner, server=server, since=since)

    def _tickets(self, query: sa.Select[Any], **values: object) -> tuple[Ticket, ...]:
        return tuple(line_rows.rows_to_tickets(self._db.execute(query, values).all()))

    def add_ticket(self, ticket: Ticket) -> None:
        """Store a new ticket. The unique index refuses a second live one of the same server."""
        self._db.execute(sql.ADD_TICKET, line_rows.ticket_to_row(ticket))

    def update_ticket(self, ticket: Ticket) -> None:
        """Store a ticket's new state."""
        self._db.execute(sql.UPDATE_TICKET, {**line_rows.ticket_to_row(ticket), "this": ticket.id})

    # -- drains and pins ------------------------------------------------------------------------------------

    @once
    def drains(self, host: str) -> tuple[Drain, ...]:
        """Every drain, those whose time is over included."""
        found = self._db.execute(sql.DRAINS, {"host": host})
        return tuple(line_rows.row_to_drain(row) for row in found.mappings())

    def put_drain(self, host: str, drain: Drain) -> None:
        """Drain a device, or change its drain."""
        row = {
            "host": host,
            "device": drain.device,
            "reason": drain.reason,
            "actor": drain.actor,
            "since": drain.since,
            "until": drain.until,
            "now": drain.now,
        }
        self._put(drains, row, key=("host", "device"))

    def remove_drain(self, host: str, device: str) -> None:
        """Give a device back."""
        self._db.execute(sa.delete(drains).where(drains.c.host == host, drains.c.device == device))

    def pins(self, host: str) -> tuple[Pin, ...]:
        """Every device that is kept for somebody."""
        found = self._db.execute(sql.PINS, {"host": host})
        return tuple(line_rows.row_to_pin(row) for row in found.mappings())

    def put_pin(self, host: str, pin: Pin) -> None:
        """Keep a device for somebody, in place of whom it was kept for before."""
        row = {
            "host": host,
            "device": pin.device,
            "holder_kind": pin.holder.kind,
            "holder": pin.holder.name,
            "reason": pin.reason,
            "actor": pin.actor,
            "since": pin.since,
        }
        self._put(pins, row, key=("host", "device"))

    def remove_pin(self, host: str, device: str) -> None:
        """Keep a device for nobody."""
        self._db.execute(sa.delete(pins).where(pins.c.host == host, pins.c.device == device))

    # -- reservations ---------------------------------------------------------------------------------------

    @once
    def reservations(self, host: str, *, ended: bool = False) -> tuple[Reservation, ...]:
        """Reservations that stand; with ``ended`` also those that were cancelled."""
        query = sql.ALL_RESERVATIONS if ended else sql.RESERVATIONS
        found = self._db.execute(query, {"host": host})
        return tuple(line_rows.row_to_reservation(row) for row in found.mappings())

    def reservation(self, reservation_id: str) -> Reservation | None:
        """One reservation."""
        found = self._db.execute(sa.select(reservations).where(reservations.c.id == reservation_id))
        row = found.mappings().first()
        return line_rows.row_to_reservation(row) if row else None

    def put_reservation(self, reservation: Reservation) -> None:
        """Store a reservation, or change it."""
        self._put(reservations, line_rows.reservation_to_row(reservation), key=("id",))

    def seat_returns(self, host: str, since: datetime) -> tuple[SeatReturn, ...]:
        """Seats given back of occurrences that began since then."""
        found = self._db.execute(sql.SEAT_RETURNS, {"host": host, "since": since})
        return tuple(SeatReturn(**row) for row in found.mappings())

    def put_seat_return(self, given_back: SeatReturn) -> None:
        """Store how many seats of an occurrence were given back."""
        row = {
            "reservation_id": given_back.reservation_id,
            "start": given_back.start,
            "seats": given_back.seats,
            "at": given_back.at,
        }
        self._put(seat_returns, row, key=("reservation_id", "start"))

    # -- calendars ------------------------------------------------------------------------------------------

    def feed_of(self, owner: str) -> Feed | None:
        """A person's calendar, if it has a secret address."""
        return self._feed(calendar_feeds.c.owner == owner)

    def feed(self, digest: str) -> Feed | None:
        """The calendar whose secret has this digest."""
        return self._feed(calendar_feeds.c.digest == digest)

    def feeds(self) -> tuple[Feed, ...]:
        """Every calendar that has a secret address, by person."""
        found = self._db.execute(sa.select(calendar_feeds).order_by(calendar_feeds.c.owner))
        return tuple(Feed(**row) for row in found.mappings())

    def _feed(self, condition: sa.ColumnElement[bool]) -> Feed | None:
        row = self._db.execute(sa.select(calendar_feeds).where(condition)).mappings().first()
        return Feed(**row) if row else None

    def put_feed(self, feed: Feed) -> None:
        """Store a person's calendar, in place of the one before."""
        row = {
            "owner": feed.owner,
            "digest": feed.digest,
            "made_at": feed.made_at,
            "read_at": feed.read_at,
        }
        self._put(calendar_feeds, row, key=("owner",))

    def remove_feed(self, owner: str) -> bool:
        """Take away the secret address of a person's calendar; says whether there was one."""
        removed = self._db.execute(sa.delete(calendar_feeds).where(calendar_feeds.c.owner == owner))
        return bool(removed.rowcount)

    # -- usage ----------------------------------------------------------------------------------------------

    def standings(self, host: str, owners: Collection[str] | None = None) -> dict[str, Standing]:
        """What everybody, or each of some people, has used lately, by person."""
        if owners is not None and len(owners) <= _FEW:
            found = self._db.execute(sql.STANDINGS_OF, {"host": host, "owners": list(owners)})
        else:
            found = self._db.execute(sql.STANDINGS, {"host": host})
        return {owner: Standing(gpu_seconds, at) for owner, gpu_seconds, at in found.all()}

    def put_standings(self, host: str, changed: Mapping[str, Standing]) -> None:
        """Store what people have used lately."""
        new = [
            {"host": host, "owner": owner, "gpu_seconds": standing.gpu_seconds, "at": standing.at}
            for owner, standing in changed.items()
        ]
        self._put(standings, *new, key=("host", "owner"))

    def usage(
        self, host: str, since: date, until: date | None = None, *, owner: str | None = None
    ) -> tuple[Usage, ...]:
        """Accounts of these days, both included; of one person if one is named."""
        wanted = [usage.c.host == host, usage.c.day >= since]
        wanted += [usage.c.day <= until] if until else []
        wanted += [usage.c.owner == owner] if owner is not None else []
        found = self._db.execute(
            sa.select(usage).where(*wanted).order_by(usage.c.day, usage.c.lease_id, usage.c.device)
        )
        return tuple(line_rows.row_to_usage(row) for row in found.mappings())

    def held_by_day(
        self, host: str, since: date, *, owner: str | None = None
    ) -> dict[str, dict[date, float]]:
        """GPU-seconds held on each day since that one, by person, as far as they are in the accounts."""
        wanted = [usage.c.host == host, usage.c.day >= since]
        wanted += [usage.c.owner == owner] if owner is not None else []
        total = sa.func.sum(usage.c.held_seconds)
        found: dict[str, dict[date, float]] = {}
        days = (
            sa.select(usage.c.owner, usage.c.day, total).where(*wanted).group_by(usage.c.owner, usage.c.day)
        )
        for person, day, seconds in self._db.execute(days).all():
            found.setdefault(person, {})[day] = float(seconds)
        return found

    def add_usage(self, host: str, more: Iterable[Usage]) -> None:
        """Add to the accounts of the same lease, device and day; what is unknown adds nothing."""
        new = [line_rows.usage_to_row(host, one) for one in more]
        if not new:
            return
        statement = sqlite_insert(usage)
        added = statement.excluded
        energy, peak = usage.c.energy_joules, usage.c.peak_memory_bytes
        sums: dict[str, Any] = {
            name: usage.c[name] + added[name]
            for name in ("held_seconds", "sampled_seconds", "active_seconds")
        }
        # Of two unknowns the sum is unknown; of one, it is the other. SQLite's max of two is no aggregate.
        sums["energy_joules"] = sa.func.coalesce(energy + added.energy_joules, energy, added.energy_joules)
        sums["peak_memory_bytes"] = sa.func.coalesce(
            sa.func.max(peak, added.peak_memory_bytes), peak, added.peak_memory_bytes
        )
        key = ["host", "lease_id", "device", "day"]
        self._db.execute(statement.on_conflict_do_update(index_elements=key, set_=sums), new)

    def mark_accounted(self, until: Mapping[str, datetime]) -> None:
        """Note until when leases, given by id, are in the accounts; nothing else of them is touched."""
        if until:
            self._db.execute(
                sa.update(leases)
                .where(leases.c.id == sa.bindparam("lease"))
                .values(accounted_at=sa.bindparam("at")),
                [{"lease": lease_id, "at": at} for lease_id, at in until.items()],
            )

    def session_seconds(self, host: str, since: datetime, most: int = 1000) -> Sequence[float]:
        """How long the newest sessions with GPUs lasted that ended since then."""
        ended = leases.c.ended_at
        found = self._db.execute(
            sa.select(leases.c.created_at, ended)
            .where(leases.c.host == host, ended >= since, leases.c.container_id.is_not(None))
            .order_by(ended.desc())
            .limit(most)
        )
        return [(row.ended_at - row.created_at) / timedelta(seconds=1) for row in found]

    # -- messages -------------------------------------------------------------------------------------------

    def add_message(self, message: Message) -> None:
        """Leave a message for a person."""
        self._db.execute(
            sa.insert(messages).values(
                at=message.at,
                owner=message.owner,
                lease_id=message.lease_id,
                actor=message.actor,
                text=message.text,
            )
        )

    def messages_for(self, owner: str, limit: int = 50) -> tuple[Message, ...]:
        """The newest messages to a person, newest first."""
        found = self._db.execute(
            sa.select(messages).where(messages.c.owner == owner).order_by(messages.c.id.desc()).limit(limit)
        )
        return tuple(
            Message(row["at"], row["owner"], row["text"], row["actor"], row["lease_id"])
            for row in found.mappings()
        )

    def _put(self, table: sa.Table, *new: dict[str, Any], key: tuple[str, ...]) -> None:
        """Insert rows, or replace those of the same key."""
        if not new:
            return
        statement = sqlite_insert(table)
        changed = {name: statement.excluded[name] for name in new[0] if name not in key}
        self._db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changed), list(new))
