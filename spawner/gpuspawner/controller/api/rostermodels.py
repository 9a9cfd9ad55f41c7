"""What the API takes and gives of rosters, as pydantic models."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from gpuspawner.core.roster import KEEP_DAYS
from gpuspawner.policy.rostercsv import MOST_BYTES

from .basics import Answer, Body, Time

Seen = Annotated[
    int,
    Field(ge=0, le=2**53, description="The version of the roster that you were shown: no other is changed."),
]


class RosterPerson(Answer):
    """One entry of a roster."""

    kind: Annotated[
        Literal["person", "mail", "subject"],
        Field(
            description="By what it names somebody: their name here, their checked address, or the subject "
            "that the login service knows them by."
        ),
    ]
    who: str
    role: Literal["teacher", "assistant", "student"]
    team: str
    name: str
    person: Annotated[str | None, Field(description="Their name here; null until they have logged in.")]


class RosterInfo(Answer):
    """Who is in a course by its roster."""

    course: str
    version: Annotated[int, Field(description="Rises with each change; 0 where there never was one.")]
    changed_at: Time | None
    changed_by: str
    ends_on: Annotated[date | None, Field(description="The last day; null for no end.")]
    keep_days: Annotated[int, Field(description="So long the homes of those who leave are sure to be kept.")]
    people: list[RosterPerson]


class RoleChange(Answer):
    """What an entry was, and what it becomes."""

    before: RosterPerson
    after: RosterPerson


class RosterChanges(Answer):
    """What changes, or was changed."""

    course: str
    version: Annotated[int, Field(description="Of the roster before the change.")]
    added: list[RosterPerson]
    removed: list[RosterPerson]
    roles: Annotated[list[RoleChange], Field(description="Those with another role.")]
    others: Annotated[list[RoleChange], Field(description="Those with another team or name.")]
    same: Annotated[int, Field(description="How many stay as they are.")]
    notes: Annotated[list[str], Field(description="What should be looked at twice.")]


class RosterFileBody(Body):
    """A roster as a file."""

    csv: Annotated[
        str,
        Field(max_length=MOST_BYTES, description="The columns person, mail or subject; role; team; name."),
    ]


class RosterBody(RosterFileBody):
    """A roster that is to be in the place of another one."""

    seen: Seen


class UndoRosterBody(Body):
    """Taking the last change back."""

    seen: Seen


class EndCourseBody(Body):
    """The end of a course."""

    ends_on: Annotated[date | None, Field(strict=False, description="Its last day; null for no end.")] = None
    keep_days: Annotated[int, Field(ge=0, le=3650, description="So many days more homes are kept.")] = (
        KEEP_DAYS
    )
    seen: Seen
