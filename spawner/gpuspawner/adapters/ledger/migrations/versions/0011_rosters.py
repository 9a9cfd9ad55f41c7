"""Who is in a course, and until when the homes of those who left it are kept.

Revision: 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables; courses go on with the groups and teachers that the policy names."""
    op.create_table(
        "rosters",
        sa.Column("course", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("ends_on", sa.Date),
        sa.Column("keep_days", sa.Integer, nullable=False),
    )
    op.create_table(
        "roster_entries",
        sa.Column("course", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("person", sa.Text),
    )
    op.create_index("roster_people", "roster_entries", ["person"])
    op.create_index("roster_named", "roster_entries", ["kind", "value"])
    op.create_table(
        "roster_versions",
        sa.Column("course", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("entries", sa.Text, nullable=False),
        sa.Column("ends_on", sa.Date),
        sa.Column("keep_days", sa.Integer, nullable=False),
    )
    op.create_table(
        "kept_homes",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("course", sa.Text, primary_key=True),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("until", sa.Date, nullable=False),
        sa.Column("told_at", sa.DateTime),
    )
