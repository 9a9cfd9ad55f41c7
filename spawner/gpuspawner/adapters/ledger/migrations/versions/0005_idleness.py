"""What is known of a session's work from one look to the next, and what its person asked for.

Revision: 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two tables; sessions that run are looked at anew, which stops nobody."""
    op.create_table(
        "watches",
        sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table(
        "wishes",
        sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
        sa.Column("kept_until", sa.DateTime),
        sa.Column("kept_seconds", sa.Float, nullable=False),
        sa.Column("finish", sa.Boolean, nullable=False),
    )
