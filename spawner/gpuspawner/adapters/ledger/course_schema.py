"""Tables of courses: who is in them, and when their lessons are."""

from __future__ import annotations

import sqlalchemy as sa

from .schema import UtcDateTime, metadata

rosters = sa.Table(
    "rosters",
    metadata,
    sa.Column("course", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("ends_on", sa.Date),
    sa.Column("keep_days", sa.Integer, nullable=False),
)

roster_entries = sa.Table(
    "roster_entries",
    metadata,
    sa.Column("course", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("team", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("person", sa.Text),
)
sa.Index("roster_people", roster_entries.c.person)
sa.Index("roster_named", roster_entries.c.kind, roster_entries.c.value)

roster_versions = sa.Table(
    "roster_versions",
    metadata,
    sa.Column("course", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("entries", sa.Text, nullable=False),
    sa.Column("ends_on", sa.Date),
    sa.Column("keep_days", sa.Integer, nullable=False),
)

kept_homes = sa.Table(
    "kept_homes",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("course", sa.Text, primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", sa.Date, nullable=False),
    sa.Column("told_at", UtcDateTime),
)

timetable_lessons = sa.Table(
    "timetable_lessons",
    metadata,
    sa.Column("reservation_id", sa.Text, sa.ForeignKey("reservations.id"), primary_key=True),
    sa.Column("course", sa.Text, nullable=False),
)
sa.Index("timetable_courses", timetable_lessons.c.course)
