"""What a session was asked for with, to be started again; the trail of one session, found at once.

Revision: 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what earlier sessions were asked for with is not known."""
    op.add_column("leases", sa.Column("choices", sa.Text))
    op.create_index("events_lease", "events", ["lease_id"])
