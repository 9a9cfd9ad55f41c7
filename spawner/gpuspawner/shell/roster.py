"""``gpuspawner roster``: who is in a course, from the administrator's shell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.whereabouts import find_settings
from gpuspawner.allocator.rosters import RosterPreview, Rosters
from gpuspawner.core.errors import InvalidRequest, RosterRefused
from gpuspawner.core.roster import KEEP_DAYS, Change, Difference, Entry, KeptHome, describe
from gpuspawner.policy.rostercsv import MOST_BYTES, read_roster, write_roster
from gpuspawner.policy.rostertext import ENCODINGS
from gpuspawner.policy.settings import load_settings

from .common import (
    clean,
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

_HEADINGS = ("WHO", "ROLE", "TEAM", "NAME", "HERE AS")
_HOMES = ("PERSON", "LEFT", "KEPT UNTIL", "ALSO IN", "WHERE")
_MOST_SHOWN = 40
"""People of each sort in a difference."""


@click.group(short_help="Show and change who is in a course.")
def roster() -> None:
    """See and change who is in a course, as teacher, assistant or student.

    People whom the policy names, and those of the course's group, are in it too, and are not shown here.
    """


def _yes_option(command: Any) -> Any:
    return click.option("--yes", is_flag=True, help="Do not ask before it is done.")(command)


@roster.command(short_help="Show who is in a course.")
@click.argument("course")
@ledger_option
@host_option
@json_option
def show(course: str, ledger: Path | None, host: str, as_json: bool) -> None:
    """Show who is in COURSE by its roster, and when that was changed last."""
    with open_ledger(ledger, host) as opened:
        rosters = Rosters(opened)
        found, change = rosters.find(course), rosters.last_change(course)
    if as_json:
        people = [_to_json(one) for one in found.entries]
        ends_on = found.ends_on.isoformat() if found.ends_on else None
        kept = {"ends_on": ends_on, "keep_days": found.keep_days}
        print_json({"schema": 1, "course": course, "version": found.version, **kept, "people": people})
        return
    if found.entries:
        rows = [_cells(one) for one in found.entries]
        click.echo("\n".join(render_table(_HEADINGS, rows)))
    else:
        click.echo(clean(f"Nobody is in the roster of {course}."))
    if found.ends_on:
        days = found.keep_days
        click.echo(f"Its last day is {found.ends_on:%Y-%m-%d}; homes are kept for {days} days more.")
    if change:
        click.echo(clean(f"Changed {change.at:%Y-%m-%d %H:%M} UTC by {change.actor}: {change.what}."))


@roster.command("import", short_help="Put the people of a CSV file in the place of those of a course.")
@click.argument("course")
@click.argument("file", type=click.File("rb"))
@click.option("--encoding", type=click.Choice(list(ENCODINGS)), help="Of the file [default: found out].")
@click.option("--dry-run", is_flag=True, help="Show the difference alone.")
@_yes_option
@policy_options
@ledger_option
@host_option
def import_(
    *,
    course: str,
    file: Any,
    encoding: str | None,
    dry_run: bool,
    yes: bool,
    policy: Path | None,
    settings: Path | None,
    ledger: Path | None,
    host: str,
) -> None:
    """Put the people of FILE, in CSV, in the place of those who are in COURSE.

    The first line names the columns: person, mail or subject; role; team and name where wanted. What would
    change is shown before it is done, and nothing else is done. What is wrong with the file is told by line.
    """
    _require_course(course, policy, settings)
    read = _read(file.read(MOST_BYTES + 1), encoding or "")
    with open_ledger(ledger, host, change=True) as opened:
        rosters = Rosters(opened, services=_find_services(settings))
        found = rosters.preview(course, read.entries, read.lines)
        for note in read.notes:
            click.echo(clean(f"note: {note}"))
        _show_difference(found.difference)
        if dry_run or not found.difference:
            return
        if not yes:
            click.confirm(f"Change the roster of {clean(course)} so?", abort=True)
        rosters.apply(course, read.entries, seen=found.roster.version, actor=shell_actor(), lines=read.lines)
    click.echo(clean(f"Changed the roster of {course}: {describe(found.difference)}."))


@roster.command(short_help="Write who is in a course as a CSV file.")
@click.argument("course")
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@ledger_option
@host_option
def export(course: str, file: Any, ledger: Path | None, host: str) -> None:
    """Write who is in COURSE to FILE, or to the terminal, as CSV that can be imported again."""
    with open_ledger(ledger, host) as opened:
        file.write(write_roster(Rosters(opened).find(course).entries))


@roster.command(short_help="Take the last change back.")
@click.argument("course")
@_yes_option
@ledger_option
@host_option
def undo(course: str, yes: bool, ledger: Path | None, host: str) -> None:
    """Take the last change of the roster of COURSE back; a second time, it is had again."""
    with open_ledger(ledger, host, change=True) as opened:
        rosters = Rosters(opened, services=_find_services(None))
        found = rosters.preview_undo(course)
        _show_difference(found.difference)
        if not yes:
            click.confirm("Take the last change back so?", abort=True)
        _tell_done(rosters.undo(course, seen=found.roster.version, actor=shell_actor()))


@roster.command(short_help="Say on which day a course ends.")
@click.argument("course")
@click.option("--on", "day", metavar="DAY", help="Its last day, such as 2027-02-28; without it, no end.")
@click.option("--keep-homes", type=int, default=KEEP_DAYS, show_default=True, help="So many days more.")
@_yes_option
@ledger_option
@host_option
def end(*, course: str, day: str | None, keep_homes: int, yes: bool, ledger: Path | None, host: str) -> None:
    """Say on which day everybody leaves COURSE, and how long their homes are sure to be kept after that.

    They are told on the day. Nothing ever deletes a home by itself.
    """
    ends_on = _read_day(day) if day else None
    with open_ledger(ledger, host, change=True) as opened:
        rosters = Rosters(opened)
        found = rosters.find(course)
        if ends_on:
            count = len(found.entries)
            click.echo(f"{count} people leave on {ends_on:%Y-%m-%d}; their sessions go on until they end.")
            click.echo(f"Homes of those who have one are kept for {keep_homes} days more, and longer.")
        if not yes:
            click.confirm("Let it end so?" if ends_on else "Let it have no end?", abort=True)
        actor, seen = shell_actor(), found.version
        rosters.end(course, ends_on, keep_days=keep_homes, seen=seen, actor=actor)
    click.echo(clean(f"{course} ends on {ends_on:%Y-%m-%d}." if ends_on else f"{course} has no end."))


@roster.command(short_help="Show the homes of those who left courses.")
@ledger_option
@host_option
@json_option
def homes(ledger: Path | None, host: str, as_json: bool) -> None:
    """Show the homes of those who left a course, and until when each is sure to be kept.

    A home whose day is over may be deleted, by an administrator and by hand: nothing here does it.
    """
    with open_ledger(ledger, host) as opened:
        found, enrolment = Rosters(opened).homes(), Rosters(opened).enrolment()
        rows = [(one, sorted(enrolment.of(one.owner)), _find_source(opened, one)) for one in found]
    if as_json:
        print_json({"schema": 1, "homes": [_home_to_json(*row) for row in rows]})
    elif rows:
        cells = [
            (one.owner, one.course, _show_day(one.until), ", ".join(others) or "-", source)
            for one, others, source in rows
        ]
        click.echo("\n".join(render_table(_HOMES, cells)))
    else:
        click.echo("Nobody who left a course has a home.")


def _require_course(course: str, policy: Path | None, settings: Path | None) -> None:
    known = find_names(policy, settings).courses
    if known is not None and course not in known:
        there = ", ".join(sorted(known)[:10]) or "none"
        raise InvalidRequest(f"The policy has no course {course[:40]!r}; there are: {there}.")


def _find_services(settings: Path | None) -> frozenset[str]:
    """The login services, whose subjects a roster may name; none where no settings are known."""
    where = find_settings(settings)
    login = load_settings(where).login if where else None
    return login.services if login else frozenset()


def _read(data: bytes, encoding: str) -> Any:
    try:
        return read_roster(data, encoding)
    except RosterRefused as error:
        rows = [(str(one.line) if one.line else "-", one.why) for one in error.problems]
        click.echo("\n".join(render_table(("LINE", "WHAT IS WRONG"), rows)), err=True)
        raise InvalidRequest("The file was not taken; nothing was changed.") from None


def _show_difference(difference: Difference) -> None:
    if not difference:
        click.echo("Nothing changes.")
        return
    _list("added", [_name(one.entry) for one in difference.added])
    _list("removed", [_name(one.entry) for one in difference.removed])
    _list("another role", [_describe_role(one) for one in difference.roles])
    _list("another team or name", [_name(one.entry) for one in difference.others])
    click.echo(f"{difference.same} stay as they are.")


def _list(title: str, people: Sequence[str]) -> None:
    if people:
        click.echo(f"{len(people)} {title}:")
        for one in people[:_MOST_SHOWN]:
            click.echo(clean(f"  {one}"))
        if len(people) > _MOST_SHOWN:
            click.echo(f"  and {len(people) - _MOST_SHOWN} more")


def _name(entry: Entry) -> str:
    extra = ", ".join(filter(None, (entry.role.value, entry.name, entry.team and f"team {entry.team}")))
    return f"{entry.who} ({extra})"


def _describe_role(change: Change) -> str:
    before = change.before.role if change.before else "-"
    return f"{change.entry.who}: {before} -> {change.entry.role}"


def _tell_done(found: RosterPreview) -> None:
    click.echo(clean(f"Changed the roster of {found.roster.course}: {describe(found.difference)}."))


def _read_day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone().date()
    except ValueError:
        raise InvalidRequest(f"--on: {text[:40]!r} is no day; write one such as 2027-02-28.") from None


def _find_source(opened: Ledger, kept: KeptHome) -> str:
    with opened.read() as unit:
        home = unit.home_of(kept.owner)
    return home.source if home else "-"


def _show_day(day: date) -> str:
    return f"{day:%Y-%m-%d}" + (" (over)" if day < datetime.now().astimezone().date() else "")


def _cells(entry: Entry) -> tuple[str, ...]:
    return str(entry.who), entry.role.value, entry.team, entry.name, entry.person or "not logged in yet"


def _to_json(entry: Entry) -> dict[str, object]:
    said = {"role": entry.role.value, "team": entry.team, "name": entry.name, "here_as": entry.person}
    return {entry.who.kind.value: entry.who.value, **said}


def _home_to_json(kept: KeptHome, others: Iterable[str], source: str) -> dict[str, object]:
    days = {"since": kept.since.isoformat(), "kept_until": kept.until.isoformat()}
    return {"person": kept.owner, "left": kept.course, **days, "also_in": list(others), "where": source}
