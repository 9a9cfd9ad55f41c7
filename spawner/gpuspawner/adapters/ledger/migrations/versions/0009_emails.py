"""Addresses of people, as their login service has checked them.

Revision: 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; they are not known of anybody until the next login."""
    op.add_column("identities", sa.Column("email", sa.Text, nullable=False, server_default=""))
