"""People's own calendars, which calendar programs read by a secret address.

Revision: 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table; what is there stays as it is."""
    op.create_table(
        "calendar_feeds",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("party", sa.JSON, nullable=False),
    )
