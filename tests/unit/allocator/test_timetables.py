"""A timetable becomes reservations: exactly as shown, never twice, and the cards are lent out between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator import Reservations, Sessions
from gpuspawner.allocator.timetables import TimetablePreview, Timetables
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.errors import Conflict, InvalidRequest, Refused, ReservationConflict
from gpuspawner.core.sessions import Stop
from gpuspawner.policy.reservations import PolicyNames, parse_body
from gpuspawner.policy.timetable import Seats, Timetable, read_timetable
from support.build import HOST
from support.office import NOW, Office

GRACE = Actor("grace", ActorKind.PERSON)
LATER = """\
BEGIN:VEVENT
UID:two
SUMMARY:Late lab
DTSTART:20300517T170000Z
DTEND:20300517T190000Z
END:VEVENT
"""
EARLY = """\
BEGIN:VEVENT
UID:one
SUMMARY:Early lab
DTSTART:20300517T140000Z
DTEND:20300517T160000Z
RRULE:FREQ=WEEKLY;COUNT=4
END:VEVENT
"""


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(Ledger(tmp_path / "ledger.db"))


@pytest.fixture
def tables(office: Office) -> Timetables:
    return Timetables(office.ledger, HOST, office.clock)


def read(*events: str, seats: int = 2, course: str = "vision") -> Timetable:
    text = "BEGIN:VCALENDAR\nVERSION:2.0\n" + "".join(events) + "END:VCALENDAR\n"
    return read_timetable(text.encode(), course, Seats(seats), NOW)


def take(tables: Timetables, found: Timetable, course: str = "vision") -> TimetablePreview:
    shown = tables.preview(course, found, actor=GRACE)
    return tables.apply(course, found, seen=shown.version, actor=GRACE)


def titles(tables: Timetables, course: str = "vision") -> list[str]:
    return [one.title for one in tables.lessons(course)]


def test_lessons_of_an_earlier_import_are_changed_and_not_doubled(tables: Timetables, office: Office) -> None:
    done = take(tables, read(EARLY, LATER))
    assert [len(done.made), len(done.changed), len(done.gone), done.same] == [2, 0, 0, 0]
    assert titles(tables) == ["Early lab", "Late lab"]
    again = tables.preview("vision", read(EARLY, LATER), actor=GRACE)
    assert (bool(again), again.same) == (False, 2)
    moved = EARLY.replace("T140000Z", "T133000Z").replace("T160000Z", "T153000Z")
    done = take(tables, read(moved))
    assert [len(done.made), len(done.changed), len(done.gone), done.same] == [0, 1, 1, 0]
    assert [one.lesson.title for one in done.gone] == ["Late lab"]
    book = Reservations(office.ledger, HOST, office.clock)
    assert [one.title for one in book.standing()] == ["Early lab"]
    assert book.standing()[0].start == datetime(2030, 5, 17, 13, 30, tzinfo=UTC)
    assert office.events("reservation") == ["reservation.made"] * 2 + [
        "reservation.cancelled",
        "reservation.changed",
    ]
    take(tables, read())
    assert book.standing() == ()


def test_lessons_that_are_over_are_not_cancelled(tables: Timetables, office: Office) -> None:
    take(tables, read(EARLY, LATER))
    office.wait(24 * 60)
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\n{EARLY}{LATER}END:VCALENDAR\n"
    done = take(tables, read_timetable(text.encode(), "vision", Seats(2), office.now))
    assert [len(done.made), len(done.changed), len(done.gone), done.same] == [0, 0, 0, 1]
    assert done.notes == ("Passed over as past: 1 event.",)
    assert office.events("reservation") == ["reservation.made"] * 2


def test_what_a_teacher_changed_by_hand_is_shown_as_a_difference(tables: Timetables, office: Office) -> None:
    take(tables, read(EARLY))
    book = Reservations(office.ledger, HOST, office.clock)
    (lesson,) = book.standing()
    book.leave_out(lesson.id, lesson.start + timedelta(days=7), actor=GRACE, reason="holiday")
    shown = tables.preview("vision", read(EARLY), actor=GRACE)
    assert [len(one.before.left_out) for one in shown.changed if one.before] == [1]
    book.cancel(lesson.id, actor=GRACE, reason="gone")
    assert len(tables.preview("vision", read(EARLY), actor=GRACE).made) == 1


def test_nothing_else_is_done_than_was_shown(tables: Timetables, office: Office) -> None:
    first, second = read(EARLY, seats=1), read(LATER, seats=1)
    mine, theirs = (tables.preview("vision", one, actor=GRACE) for one in (first, second))
    tables.apply("vision", second, seen=theirs.version, actor=GRACE)
    with pytest.raises(Conflict, match="others than you were shown"):
        tables.apply("vision", first, seen=mine.version, actor=GRACE)
    with pytest.raises(Conflict, match="others than you were shown"):
        tables.apply("vision", read(EARLY, seats=2), seen=mine.version, actor=GRACE)
    assert titles(tables) == ["Late lab"]


def test_a_course_changes_nothing_of_another_one(tables: Timetables) -> None:
    take(tables, read(EARLY, seats=1))
    take(tables, read(EARLY, seats=1, course="sound"), "sound")
    take(tables, read(course="sound"), "sound")
    assert (titles(tables), titles(tables, "sound")) == (["Early lab"], [])


def test_all_that_does_not_fit_is_shown_and_nothing_is_made(tables: Timetables, office: Office) -> None:
    book = Reservations(office.ledger, HOST, office.clock)
    other = {"title": "Exam", "group": "lab", "devices": 1, "length": "1 h"}
    for start in ("2030-05-24T15:00", "2030-05-17T18:00"):
        book.make(parse_body({**other, "start": start}), actor=GRACE)
    shown = tables.preview("vision", read(EARLY, LATER), actor=GRACE)
    assert [one.lesson.title for one in shown.clashes] == ["Early lab", "Late lab"]
    assert "'Exam' for group `lab` has 1" in shown.clashes[0].why
    with pytest.raises(ReservationConflict, match="'Early lab' cannot have 2 GPUs"):
        tables.apply("vision", read(EARLY, LATER), seen=shown.version, actor=GRACE)
    assert titles(tables) == []
    assert [one.title for one in book.standing()] == ["Exam", "Exam"]
    fits = tables.preview("vision", read(EARLY, LATER, seats=1), actor=GRACE)
    assert fits.clashes == ()


def test_who_works_now_and_may_still_work_then_is_named(tables: Timetables, office: Office) -> None:
    office.start(2, owner="bob")
    shown = tables.preview("vision", read(EARLY), actor=GRACE)
    assert len(shown.warnings) == 1
    assert "those of bob (without an end)" in shown.warnings[0]
    unnamed = tables.preview("vision", read(EARLY), actor=GRACE, people=False)
    assert "bob" not in unnamed.warnings[0]
    assert take(tables, read(EARLY)).warnings == shown.warnings


def test_a_pool_or_a_course_that_is_not_there_is_refused(tables: Timetables) -> None:
    names = PolicyNames({}, frozenset(), frozenset({"sound"}))
    with pytest.raises(InvalidRequest, match="the policy has no course 'vision'"):
        tables.preview("vision", read(EARLY), actor=GRACE, names=names)


def test_between_two_lessons_the_cards_are_lent_out_until_the_next(
    tables: Timetables, office: Office
) -> None:
    take(tables, read(EARLY, LATER))
    office.wait(2 * 60)  # 14:00: both cards are the course's
    with pytest.raises(Refused, match="reserved for course `vision`"):
        office.start(owner="bob", queue=False)
    office.wait(2 * 60 + 1)  # 16:01: until 16:55 they are anybody's
    with pytest.raises(Refused, match="only for 54 min, because reserved for course"):
        office.start(owner="bob", queue=False)
    lent = office.start(owner="bob", queue=False, shorten=True)
    assert lent.ends_at == datetime(2030, 5, 17, 16, 55, tzinfo=UTC)
    assert "reserved for course `vision` (Late lab)" in lent.end_reason
    office.activate(lent)
    office.wait(40)  # 16:41: it is told once, and goes on
    assert carry_out_ends(office) == []
    with office.ledger.read() as unit:
        (told,) = unit.messages_for("bob")
    assert "reserved for course `vision` (Late lab)" in told.text
    office.wait(15)  # 16:56: it is over, and nobody else gets a card
    assert carry_out_ends(office) == [lent.id]
    with pytest.raises(Refused):
        office.start(owner="eve", queue=False, shorten=True)


def carry_out_ends(office: Office) -> list[str]:
    """What the controller's tick does about ends; says which sessions are to be stopped."""
    sessions = Sessions(office.ledger, HOST, office.clock)
    planned = sessions.plan_ends((15, 5, 1), hold_stops=False)
    return [one.lease.id for one in planned if sessions.carry_out(one) and isinstance(one, Stop)]
