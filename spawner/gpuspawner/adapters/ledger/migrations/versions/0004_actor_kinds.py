"""Where somebody made a reservation; what is known of people's own calendars.

Revision: 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what was not written down so far, and forget what is asked for anew each time.

    Whether a bare name was a user's of the hub or of the host cannot be found out any more: nobody has such a
    reservation as their own, so that administrators, and teachers those of their courses, look after it.
    """
    op.add_column("reservations", sa.Column("actor_kind", sa.Text, nullable=False, server_default="unknown"))
    op.add_column("calendar_feeds", sa.Column("read_at", sa.DateTime))
    op.drop_column("calendar_feeds", "party")
