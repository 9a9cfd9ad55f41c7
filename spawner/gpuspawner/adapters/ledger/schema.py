"""Tables of the ledger. A change here needs a migration in ``migrations/versions``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC datetime; SQLite keeps no time zone, so it is put back on the way out."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a time zone was given to the ledger: {value}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Give the time zone back."""
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Read the text that SQLite keeps in one step: a plan reads thousands of times."""
        return _read_time


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("index", sa.Integer),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("compute_major", sa.Integer),
    sa.Column("compute_minor", sa.Integer),
    sa.Column("parent", sa.Text),
    sa.Column("present", sa.Boolean, nullable=False),
    sa.Column("health", sa.Text, nullable=False),
    sa.Column("health_reason", sa.Text, nullable=False),
    sa.Column("standing_fault", sa.Text),
    sa.Column("occupied_by", sa.Text),
    sa.Column("baseline_bytes", sa.BigInteger),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("sample", sa.JSON),
    sa.Column("links", sa.JSON),
    sa.Column("fault", sa.JSON),
    sa.Column("driver", sa.Text),
)


def _as_text(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column as it is stored: what is JSON is read by whoever wants it, and many times faster."""
    return sa.type_coerce(column, sa.Text).label(column.name) if isinstance(column.type, sa.JSON) else column


DEVICE_COLUMNS = tuple(_as_text(column) for column in devices.c if column is not devices.c.present)
"""Of a device, in order; JSON as the text that is stored."""

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("at", UtcDateTime, primary_key=True),
    sa.Column("utilization_percent", sa.Integer),
    sa.Column("memory_used_bytes", sa.BigInteger),
    sa.Column("temperature_celsius", sa.Integer),
    sa.Column("power_milliwatts", sa.Integer),
    sa.Column("processes", sa.Integer),
    sqlite_with_rowid=False,
)
sa.Index("samples_at", samples.c.at)

sample_hours = sa.Table(
    "sample_hours",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("hour", UtcDateTime, primary_key=True),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("known", sa.Integer, nullable=False),
    sa.Column("active", sa.Integer, nullable=False),
    sa.Column("utilization_mean_percent", sa.Float),
    sa.Column("memory_peak_bytes", sa.BigInteger),
    sa.Column("temperature_peak_celsius", sa.Integer),
    sa.Column("power_mean_milliwatts", sa.Float),
    sqlite_with_rowid=False,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("claimant", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("state_since", UtcDateTime, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("container_id", sa.Text),
    sa.Column("outcome", sa.JSON),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("party", sa.JSON),
    sa.Column("ends_at", UtcDateTime),
    sa.Column("end_reason", sa.Text, nullable=False, server_default=""),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("ticket_id", sa.Text),
    sa.Column("claim_by", UtcDateTime),
    sa.Column("reservation_id", sa.Text),
    sa.Column("reservation_start", UtcDateTime),
    sa.Column("warned", sa.Integer),
    sa.Column("accounted_at", UtcDateTime),
    sa.Column("choices", sa.Text),
    sa.Column("digest", sa.Text),
)
sa.Index("leases_live", leases.c.host, sqlite_where=leases.c.state != "released")
sa.Index("leases_owner", leases.c.owner, leases.c.server, leases.c.created_at)

lease_devices = sa.Table(
    "lease_devices",
    metadata,
    sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
)
sa.Index(
    "one_owner_per_device",
    lease_devices.c.host,
    lease_devices.c.device,
    unique=True,
    sqlite_where=lease_devices.c.live == sa.true(),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("queued_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("state_since", UtcDateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("terms", sa.JSON, nullable=False),
    sa.Column("party", sa.JSON, nullable=False),
    sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id")),
    sa.Column("claim_by", UtcDateTime),
    sa.Column("returns", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("not_before", UtcDateTime),
    sa.Column("switch_at", UtcDateTime),
    sa.Column("live", sa.Boolean, nullable=False),
)
TICKET_COLUMNS = tuple(_as_text(column) for column in tickets.c if column is not tickets.c.live)
"""Of a ticket, in order; JSON as the text that is stored."""
sa.Index(
    "one_ticket_per_server",
    tickets.c.host,
    tickets.c.owner,
    tickets.c.server,
    unique=True,
    sqlite_where=tickets.c.live == sa.true(),
)
sa.Index("tickets_since", tickets.c.host, tickets.c.state_since)

drains = sa.Table(
    "drains",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime),
    sa.Column("now", sa.Boolean, nullable=False),
)

pins = sa.Table(
    "pins",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("holder_kind", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("holder_kind", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("users", sa.JSON, nullable=False),
    sa.Column("devices", sa.Integer, nullable=False),
    sa.Column("cards", sa.JSON, nullable=False),
    sa.Column("pool", sa.Text, nullable=False),
    sa.Column("start", UtcDateTime, nullable=False),
    sa.Column("length_seconds", sa.Float, nullable=False),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("left_out", sa.JSON, nullable=False),
    sa.Column("lead_seconds", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("actor_kind", sa.Text, nullable=False, server_default="unknown"),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)

seat_returns = sa.Table(
    "seat_returns",
    metadata,
    sa.Column("reservation_id", sa.Text, sa.ForeignKey("reservations.id"), primary_key=True),
    sa.Column("start", UtcDateTime, primary_key=True),
    sa.Column("seats", sa.Integer, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

standings = sa.Table(
    "standings",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("gpu_seconds", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("lease_id", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("party", sa.JSON, nullable=False),
    sa.Column("held_seconds", sa.Float, nullable=False),
    sa.Column("sampled_seconds", sa.Float, nullable=False),
    sa.Column("active_seconds", sa.Float, nullable=False),
    sa.Column("peak_memory_bytes", sa.BigInteger),
    sa.Column("energy_joules", sa.Float),
    sqlite_with_rowid=False,
)
sa.Index("usage_day", usage.c.host, usage.c.day)
sa.Index("usage_owner", usage.c.host, usage.c.owner, usage.c.day)

calendar_feeds = sa.Table(
    "calendar_feeds",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("made_at", UtcDateTime, nullable=False),
    sa.Column("read_at", UtcDateTime),
)

watches = sa.Table(
    "watches",
    metadata,
    sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
)

wishes = sa.Table(
    "wishes",
    metadata,
    sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
    sa.Column("kept_until", UtcDateTime),
    sa.Column("kept_seconds", sa.Float, nullable=False),
    sa.Column("finish", sa.Boolean, nullable=False),
)

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("groups", sa.Text, nullable=False),
    sa.Column("first_seen", UtcDateTime, nullable=False),
    sa.Column("last_seen", UtcDateTime, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("removed_at", UtcDateTime),
    sa.Column("gone_at", UtcDateTime),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("password_set_at", UtcDateTime),
    sa.Column("invitation", sa.Text, nullable=False),
    sa.Column("invited_until", UtcDateTime),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", UtcDateTime),
)
sa.Index("accounts_invitation", accounts.c.invitation)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lease_id", sa.Text),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
sa.Index("messages_owner", messages.c.owner, messages.c.id)
sa.Index("messages_at", messages.c.at)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("message_id", sa.Integer, sa.ForeignKey("messages.id"), primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("not_before", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)
sa.Index("deliveries_ended", deliveries.c.ended_at)
sa.Index("deliveries_open", deliveries.c.channel, sqlite_where=deliveries.c.ended_at.is_(None))

homes = sa.Table(
    "homes",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("lease_id", sa.Text),
    sa.Column("device", sa.Text),
    sa.Column("data", sa.JSON, nullable=False),
)
sa.Index("events_at", events.c.at)
sa.Index("events_lease", events.c.lease_id)

ssh_keys = sa.Table(
    "ssh_keys",
    metadata,
    # A number is never given again: the page of somebody who looks at a removed key removes no other.
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("added_at", UtcDateTime, nullable=False),
    sa.Column("used_at", UtcDateTime),
    sa.Column("refused_at", UtcDateTime),
    sa.Column("refused", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ssh_keys_owner", ssh_keys.c.owner)

ssh_doors = sa.Table(
    "ssh_doors",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.UniqueConstraint("owner", "server"),
)

ssh_sessions = sa.Table(
    "ssh_sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("lease_id", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("key_name", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("gateway", sa.Text, nullable=False),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
)
sa.Index("ssh_sessions_owner", ssh_sessions.c.owner, ssh_sessions.c.began_at)
sa.Index("ssh_sessions_open", ssh_sessions.c.owner, sqlite_where=ssh_sessions.c.ended_at.is_(None))
