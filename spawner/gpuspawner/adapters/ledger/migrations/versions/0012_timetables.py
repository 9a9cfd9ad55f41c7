"""Which reservations were made of a course's timetable.

Revision: 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table; reservations that were imported before are of no timetable."""
    op.create_table(
        "timetable_lessons",
        sa.Column("reservation_id", sa.Text, sa.ForeignKey("reservations.id"), primary_key=True),
        sa.Column("course", sa.Text, nullable=False),
    )
    op.create_index("timetable_courses", "timetable_lessons", ["course"])
