"""The line, drains, pins, reservations, usage and messages; more of leases and devices.

Revision: 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables and columns; what is there stays as it is."""
    _extend_devices_and_leases()
    _create_tickets()
    _create_drains()
    _create_pins()
    _create_reservations()
    _create_seat_returns()
    _create_standings()
    _create_usage()
    _create_messages()


def _extend_devices_and_leases() -> None:
    op.add_column("devices", sa.Column("links", sa.JSON))
    op.add_column("devices", sa.Column("fault", sa.JSON))
    op.add_column("leases", sa.Column("party", sa.JSON))
    op.add_column("leases", sa.Column("ends_at", sa.DateTime))
    op.add_column("leases", sa.Column("end_reason", sa.Text, nullable=False, server_default=""))
    op.add_column("leases", sa.Column("ended_at", sa.DateTime))
    op.add_column("leases", sa.Column("ticket_id", sa.Text))
    op.add_column("leases", sa.Column("claim_by", sa.DateTime))
    op.add_column("leases", sa.Column("reservation_id", sa.Text))
    op.add_column("leases", sa.Column("reservation_start", sa.DateTime))
    op.add_column("leases", sa.Column("warned", sa.Integer))
    op.add_column("leases", sa.Column("accounted_at", sa.DateTime))


def _create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("asked_at", sa.DateTime, nullable=False),
        sa.Column("queued_at", sa.DateTime, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_since", sa.DateTime, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("terms", sa.JSON, nullable=False),
        sa.Column("party", sa.JSON, nullable=False),
        sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id")),
        sa.Column("claim_by", sa.DateTime),
        sa.Column("returns", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("not_before", sa.DateTime),
        sa.Column("switch_at", sa.DateTime),
        sa.Column("live", sa.Boolean, nullable=False),
    )
    op.create_index(
        "one_ticket_per_server",
        "tickets",
        ["host", "owner", "server"],
        unique=True,
        sqlite_where=sa.text("live = 1"),
    )
    op.create_index("tickets_since", "tickets", ["host", "state_since"])


def _create_drains() -> None:
    op.create_table(
        "drains",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("until", sa.DateTime),
        sa.Column("now", sa.Boolean, nullable=False),
    )


def _create_pins() -> None:
    op.create_table(
        "pins",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("holder_kind", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
    )


def _create_reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("holder_kind", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("users", sa.JSON, nullable=False),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("cards", sa.JSON, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("start", sa.DateTime, nullable=False),
        sa.Column("length_seconds", sa.Float, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("left_out", sa.JSON, nullable=False),
        sa.Column("lead_seconds", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("ended_at", sa.DateTime),
    )


def _create_seat_returns() -> None:
    op.create_table(
        "seat_returns",
        sa.Column("reservation_id", sa.Text, sa.ForeignKey("reservations.id"), primary_key=True),
        sa.Column("start", sa.DateTime, primary_key=True),
        sa.Column("seats", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _create_standings() -> None:
    op.create_table(
        "standings",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("gpu_seconds", sa.Float, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _create_usage() -> None:
    op.create_table(
        "usage",
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
    op.create_index("usage_day", "usage", ["host", "day"])
    op.create_index("usage_owner", "usage", ["host", "owner", "day"])


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_id", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("messages_owner", "messages", ["owner", "id"])
