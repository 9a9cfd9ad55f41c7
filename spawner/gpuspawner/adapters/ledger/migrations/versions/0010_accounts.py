"""Accounts with a password here; people who were removed.

Revision: 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; nobody was removed before."""
    op.add_column("identities", sa.Column("removed_at", sa.DateTime))
    op.add_column("identities", sa.Column("gone_at", sa.DateTime))
    op.create_table(
        "accounts",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("password_set_at", sa.DateTime),
        sa.Column("invitation", sa.Text, nullable=False),
        sa.Column("invited_until", sa.DateTime),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", sa.DateTime),
    )
    op.create_index("accounts_invitation", "accounts", ["invitation"])
