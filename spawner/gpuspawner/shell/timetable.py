"""``gpuspawner timetable``: a course's lessons, from the administrator's shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from gpuspawner.allocator.clock import utc_now
from gpuspawner.allocator.timetables import LessonChange, TimetablePreview, Timetables, describe
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.core.reservations import describe_when, find_zone
from gpuspawner.policy.ical import MOST_BYTES
from gpuspawner.policy.reservations import to_json
from gpuspawner.policy.timetable import Seats, read_lead, read_timetable

from .common import (
    clean,
    find_local_zone,
    find_names,
    host_option,
    json_option,
    ledger_option,
    open_ledger,
    policy_options,
    print_json,
    render_table,
    shell_actor,
)

_HEADINGS = ("RESERVATION", "LESSON", "GPUS", "FIRST", "RULE")


@click.group(short_help="Reserve GPUs for the lessons of a course.")
def timetable() -> None:
    """Reserve GPUs for the lessons of a course, as its timetable says."""


@timetable.command(short_help="Show the lessons of a course.")
@click.argument("course")
@ledger_option
@host_option
@json_option
def show(course: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show what is reserved by the timetable of COURSE."""
    with open_ledger(ledger, host) as opened:
        found = Timetables(opened, host).lessons(course)
    if as_json:
        print_json({"schema": 1, "course": course, "lessons": [to_json(one) for one in found]})
    elif found:
        rows = [
            (
                one.id,
                one.title,
                str(one.devices),
                f"{one.start.astimezone(ZoneInfo(one.zone)):%Y-%m-%d %H:%M %Z}",
                one.rule or "once",
            )
            for one in found
        ]
        click.echo("\n".join(render_table(_HEADINGS, rows)))
    else:
        click.echo(clean(f"Nothing is reserved by a timetable of {course}."))


@timetable.command("import", short_help="Reserve the lessons of a calendar file.")
@click.argument("course")
@click.argument("file", type=click.File("rb"))
@click.option("--seats", type=click.IntRange(1, 10_000), required=True, help="GPUs of each lesson.")
@click.option("--pool", default="", help="A pool of the policy to choose from.")
@click.option("--lead", default="5 min", show_default=True, help="So long before, the GPUs are kept free.")
@click.option("--zone", default=find_local_zone, show_default="this host's", help="Of times without one.")
@click.option("--dry-run", is_flag=True, help="Show the difference alone.")
@click.option("--yes", is_flag=True, help="Do not ask before it is done.")
@policy_options
@ledger_option
@host_option
def import_(
    *,
    course: str,
    file: Any,
    seats: int,
    pool: str,
    lead: str,
    zone: str,
    dry_run: bool,
    yes: bool,
    policy: Path | None,
    settings: Path | None,
    ledger: Path | None,
    host: str,
) -> None:
    """Reserve the lessons of FILE, a calendar (iCalendar), for COURSE: all of them, or none.

    Lessons of an earlier import are changed where FILE has them otherwise, and cancelled where it has them no
    more. What would be made, changed and cancelled, and what stands in the way, is shown before it is done.
    """
    names = find_names(policy, settings, pool)
    wanted = Seats(seats, pool, read_lead(lead), find_zone(zone).key)
    read = read_timetable(file.read(MOST_BYTES + 1), course, wanted, utc_now())
    with open_ledger(ledger, host, change=True) as opened:
        tables, actor = Timetables(opened, host), shell_actor()
        found = tables.preview(course, read, actor=actor, names=names)
        _show(found)
        if found.clashes:
            raise InvalidRequest("Not all lessons fit; nothing was changed.")
        if dry_run or not found:
            return
        if not yes:
            click.confirm(f"Make it so for {clean(course)}?", abort=True)
        done = tables.apply(course, read, seen=found.version, actor=actor, names=names)
    click.echo(clean(f"Lessons of {course}: {describe(done)}."))


def _show(found: TimetablePreview) -> None:
    for note in found.notes:
        click.echo(clean(f"note: {note}"))
    _list("made", found.made)
    _list("changed", found.changed)
    _list("cancelled", found.gone)
    click.echo(f"{found.same} stay as they are." if found else "Nothing changes.")
    for clash in found.clashes:
        click.echo(clean(f"does not fit: {clash.why}"))
    for warning in found.warnings:
        click.echo(clean(f"warning: {warning}"))


def _list(title: str, changes: Sequence[LessonChange]) -> None:
    if changes:
        click.echo(f"{len(changes)} {title}:")
    for one in changes:
        lesson = one.lesson
        when = describe_when(one.ahead[0], ZoneInfo(lesson.zone)) if one.ahead else "nothing ahead"
        times = f", {len(one.ahead)} times" if len(one.ahead) > 1 else ""
        lost = f"; {one.seats_lost} sessions lose their seat" if one.seats_lost else ""
        click.echo(clean(f"  {lesson.title}: {lesson.devices} GPUs, {when}{times}{lost}"))
