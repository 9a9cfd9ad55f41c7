"""A session is of one course at most.

Revision: 0014.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

leases = sa.table("leases", sa.column("id", sa.Text), sa.column("party", sa.JSON))
tickets = sa.table(
    "tickets",
    sa.column("id", sa.Text),
    sa.column("party", sa.JSON),
    sa.column("request", sa.JSON),
    sa.column("live", sa.Boolean),
)


def upgrade() -> None:
    """Let sessions that counted for several courses count for none, and places in line say for which.

    Which of several was meant cannot be found out any more, so only administrators look after such a session.
    One course was written down when the session was asked for, of somebody who was in it then: it stays. So
    do the accounts of what was used, which go by the day.
    """
    db = op.get_bind()
    for session, party in db.execute(sa.select(leases.c.id, leases.c.party)).all():
        if party and len(party["courses"]) > 1:
            none = {**party, "courses": []}
            db.execute(sa.update(leases).where(leases.c.id == session).values(party=none))
    waiting = sa.select(tickets.c.id, tickets.c.party, tickets.c.request).where(tickets.c.live)
    for place, party, request in db.execute(waiting).all():
        courses = party["courses"] if len(party["courses"]) == 1 else []
        said = {**request, "course": courses[0] if courses else ""}
        now = {"party": {**party, "courses": courses}, "request": said}
        db.execute(sa.update(tickets).where(tickets.c.id == place).values(now))
