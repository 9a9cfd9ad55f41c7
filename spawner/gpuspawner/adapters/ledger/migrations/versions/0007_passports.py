"""Which image a session really ran, and under which driver a card is.

Revision: 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what was not written down so far; of the past it is not known."""
    op.add_column("leases", sa.Column("digest", sa.Text))
    op.add_column("devices", sa.Column("driver", sa.Text))
