"""What is known of a session's work from one look to the next, and how long its person asked to keep it.

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
        "keeps",
        sa.Column("lease_id", sa.Text, sa.ForeignKey("leases.id"), primary_key=True),
        sa.Column("until", sa.DateTime, nullable=False),
        sa.Column("total_seconds", sa.Float, nullable=False),
    )
