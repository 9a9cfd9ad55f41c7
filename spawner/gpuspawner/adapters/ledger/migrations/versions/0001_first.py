"""Devices, samples, leases, homes and events.

Revision: 0001, the first.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LEASE_LIVE = sa.text("state != 'released'")


def upgrade() -> None:
    """Create the tables."""
    _create_meta()
    _create_devices()
    _create_samples()
    _create_leases()
    _create_homes_and_events()


def _create_meta() -> None:
    meta = op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(meta, [{"key": "ledger_id", "value": secrets.token_hex(8)}])


def _create_devices() -> None:
    op.create_table(
        "devices",
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
        sa.Column("seen_at", sa.DateTime, nullable=False),
        sa.Column("sample", sa.JSON),
    )


def _create_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime, primary_key=True),
        sa.Column("utilization_percent", sa.Integer),
        sa.Column("memory_used_bytes", sa.BigInteger),
        sa.Column("temperature_celsius", sa.Integer),
        sa.Column("power_milliwatts", sa.Integer),
        sa.Column("processes", sa.Integer),
        sqlite_with_rowid=False,
    )
    op.create_index("samples_at", "samples", ["at"])
    op.create_table(
        "sample_hours",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("hour", sa.DateTime, primary_key=True),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("known", sa.Integer, nullable=False),
        sa.Column("active", sa.Integer, nullable=False),
        sa.Column("utilization_mean_percent", sa.Float),
        sa.Column("memory_peak_bytes", sa.BigInteger),
        sa.Column("temperature_peak_celsius", sa.Integer),
        sa.Column("power_mean_milliwatts", sa.Float),
        sqlite_with_rowid=False,
    )


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("claimant", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("state_since", sa.DateTime, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("container_id", sa.Text),
        sa.Column("outcome", sa.JSON),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_index("leases_live", "leases", ["host"], sqlite_where=LEASE_LIVE)
    op.create_index("leases_owner", "leases", ["owner", "server", "created_at"])
    op.create_table(
        "lease_devices",
        sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
    )
    op.create_index(
        "one_owner_per_device",
        "lease_devices",
        ["host", "device"],
        unique=True,
        sqlite_where=sa.text("live = 1"),
    )


def _create_homes_and_events() -> None:
    op.create_table(
        "homes",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("lease_id", sa.Text),
        sa.Column("device", sa.Text),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_index("events_at", "events", ["at"])
