"""What a session was asked for with, to be started again; what became of messages to people.

Revision: 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what earlier sessions were asked for with is not known."""
    op.add_column("leases", sa.Column("choices", sa.Text))
    op.create_index("events_lease", "events", ["lease_id"])
    op.create_index("messages_at", "messages", ["at"])
    op.create_table(
        "deliveries",
        sa.Column("message_id", sa.Integer, sa.ForeignKey("messages.id"), primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.DateTime),
        sa.Column("ended_at", sa.DateTime),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    op.create_index("deliveries_ended", "deliveries", ["ended_at"])
    op.create_index("deliveries_open", "deliveries", ["channel"], sqlite_where=sa.text("ended_at IS NULL"))
