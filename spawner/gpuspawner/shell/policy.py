"""``gpuspawner policy check``: is the file right; ``gpuspawner policy explain``: who gets what, and why."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import click

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_ledger, find_settings
from gpuspawner.allocator import Rosters
from gpuspawner.core.coursework import plan_folders
from gpuspawner.core.errors import SettingsError
from gpuspawner.core.policy import DEFAULT, LIMITS, Course, Policy, find_part, resolve_allowance
from gpuspawner.core.roster import NOBODY, Enrolment, Role
from gpuspawner.core.sharing import Mount
from gpuspawner.policy.notes import find_notes
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import Limits, load_settings
from gpuspawner.policy.units import describe

from .common import clean, ledger_option


@click.group(short_help="Check the policy, and explain what somebody may use.")
def policy() -> None:
    """The policy: who may use what.

    FILE is the policy file; without it, the one that the settings name. The settings are those of --settings,
    or what the hub would read here.
    """


def _settings_option(command: Any) -> Any:
    return click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"The settings file [default: ${SETTINGS_VARIABLE}, or gpuspawner.yml, or the demo's].",
    )(command)


@policy.command(short_help="Check the policy file.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_settings_option
def check(file: Path | None, settings: Path | None) -> None:
    """Check the policy file FILE: its keys, its names, and what it says in vain.

    Exit code 1: it has an error. A hub that runs keeps the policy that it has; a hub that starts stops.
    """
    found = load(file, settings)
    rules = found.policy
    counts = (
        (len(rules.groups), "group", "groups"),
        (len(rules.people), "person", "people"),
        (len(rules.courses), "course", "courses"),
    )
    listed = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts)
    click.echo(f"{found.path} is right: {listed}.")
    if found.settings is None:
        click.echo("No settings file was found: the names of images were not checked.")
    for note in find_notes(rules):
        click.echo(clean(f"note: {note}"))
    shared = [*chain.from_iterable(rules.data.values()), *(one for c in rules.courses for one in c.mounts)]
    for path in sorted({mount.path for mount in shared if not Path(mount.path).is_dir()}):
        click.echo(
            clean(f"note: there is no directory {path} on this host: starts that need it are refused.")
        )


@policy.command(short_help="Say what somebody may use, and which rule gives it.")
@click.argument("user")
@click.option("--group", "groups", multiple=True, metavar="G", help="A group of theirs; repeatable.")
@click.option("--policy", "file", type=click.Path(path_type=Path), help="The policy file.")
@_settings_option
@ledger_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable; seconds and bytes.")
def explain(
    *,
    user: str,
    groups: tuple[str, ...],
    file: Path | None,
    settings: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Say what the person USER may use, and which rule gives each limit.

    The hub's groups are not known here: give them with --group. Those of the person's own entry in the policy
    are added, and those of courses in whose rosters they are, where there is a ledger.
    """
    loaded = load(file, settings)
    found = replace(loaded.policy, enrolment=_read_enrolment(ledger))
    if as_json:
        click.echo(json.dumps(to_json(found, user, groups, loaded.courses), indent=2))
        return
    for line in render(found, user, groups, loaded.courses).splitlines():
        click.echo(clean(line))


def _read_enrolment(ledger: Path | None) -> Enrolment:
    try:
        path = find_ledger(ledger)
    except SettingsError:
        if ledger is not None:
            raise
        return NOBODY
    opened = Ledger(path, migrate=False)
    try:
        return Rosters(opened).enrolment()
    finally:
        opened.close()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy on the base of its settings."""

    path: Path
    policy: Policy
    settings: Path | None
    """None when there are no settings."""
    courses: str = ""
    """Where folders of courses are made; empty where there are none."""


def load(file: Path | None, settings_file: Path | None) -> Loaded:
    """Load the policy that is meant.

    Raises:
        SettingsError: Policy or settings are wrong, or no policy is named.
    """
    where = find_settings(settings_file)
    settings = load_settings(where) if where else None
    path = file or (settings.policy if settings else None)
    if path is None:
        raise SettingsError(
            f"{where} names no policy. Set `policy: PATH` there, or give the file."
            if where
            else "There is no settings file here. Give the policy file, or --settings PATH."
        )
    loaded = load_policy(
        path,
        images=settings.images if settings else None,
        places=settings.places if settings else None,
    )
    limits = settings.limits if settings else Limits()
    directory = settings.courses.directory if settings else None
    return Loaded(path, replace(loaded, base=limits.as_rule()), where, str(directory or ""))


def to_json(rules: Policy, user: str, groups: Sequence[str], base: str = "") -> dict[str, object]:
    """What somebody may use, for programs. ``schema`` rises when a key changes its meaning.

    Args:
        rules: The policy.
        user: Who it is.
        groups: Their groups in the hub.
        base: Where folders of courses are made; empty where there are none.
    """
    mine, roles = rules.groups_of(user, groups), rules.roles_of(user, groups)
    allowance = resolve_allowance(rules, user, groups)
    return {
        "schema": 1,
        "user": user,
        "groups": sorted(name for name in mine if name in rules.groups),
        "unknown_groups": sorted(name for name in mine if name not in rules.groups),
        "data": [{"group": name, **_mount(one)} for name, one in _list_data(rules, mine)],
        "courses": [
            {
                "name": course.name,
                "teacher": roles[course.name] is Role.TEACHER,
                "role": roles[course.name].value,
                "image": course.image,
                "team": rules.enrolment.teams_of(user).get(course.name, ""),
                "hand_in": course.work.hand_in,
                "mounts": [_mount(one) for one in course.mounts],
                "folders": [_mount(one) for one in _list_folders(rules, user, groups, course, base)],
            }
            for course in rules.courses_of(user, groups)
        ],
        "limits": {
            name: {
                "value": _plain(getattr(allowance, name).value),
                "rules": list(getattr(allowance, name).rules),
            }
            for name in LIMITS
        },
    }


def _mount(mount: Mount) -> dict[str, object]:
    return {"path": mount.path, "target": mount.target, "read_only": mount.read_only}


def _list_data(rules: Policy, groups: Collection[str]) -> list[tuple[str, Mount]]:
    """What is in all servers of somebody in these groups, with the group that has it."""
    mine = {DEFAULT, *groups}
    return [(name, one) for name, data in rules.data.items() if name in mine for one in data]


def _list_folders(
    rules: Policy, user: str, groups: Collection[str], course: Course, base: str
) -> list[Mount]:
    """Folders of teams and hand-ins in somebody's servers for a course."""
    part = find_part(rules, user, groups, course.name)
    return [one.at(base) for one in plan_folders(user, (part,))] if part and base else []


def _describe_work(rules: Policy, user: str, course: Course, role: Role) -> str:
    """How somebody takes part in a course beside what is mounted."""
    team = rules.enrolment.teams_of(user).get(course.name, "")
    said = [f"team {team}"] if team and role is Role.STUDENT else []
    said += ["hands in" if role is Role.STUDENT else "grades hand-ins"] if course.work.hand_in else []
    return ", ".join(said)


def _plain(value: Any) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return value.total_seconds() if isinstance(value, timedelta) else value


def _show(mount: Mount) -> str:
    return f"{mount.path} at {mount.target}, {'ro' if mount.read_only else 'rw'}"


def render(rules: Policy, user: str, groups: Sequence[str], base: str = "") -> str:
    """What somebody may use, for people; the arguments are those of :func:`to_json`."""
    mine = rules.groups_of(user, groups) - {DEFAULT}
    known = sorted(name for name in mine if name in rules.groups)
    strange, roles = sorted(mine - set(known)), rules.roles_of(user, groups)
    lines = [f"{user}: {'in ' + ', '.join(known) if known else 'in no group of the policy'}"]
    lines += [f"not in the policy, without an effect: {', '.join(strange)}"] if strange else []
    lines += [f"data of {name}: {_show(one)}" for name, one in _list_data(rules, mine)]
    for course in rules.courses_of(user, groups):
        work = _describe_work(rules, user, course, roles[course.name])
        first = f"course {course.name} ({roles[course.name]}), image {course.image}"
        lines.append(f"{first}, {work}" if work else first)
        mounts = (*course.mounts, *_list_folders(rules, user, groups, course, base))
        lines += [f"  {_show(one)}" for one in mounts]
    allowance = resolve_allowance(rules, user, groups)
    rows = [("LIMIT", "VALUE", "RULE")]
    for name in LIMITS:
        limit = getattr(allowance, name)
        shown = "models and pools" if name == "cards" else name
        rows.append((shown, describe(name, limit.value), limit.rule))
    widths = [max(len(row[n]) for row in rows) for n in range(2)]
    lines += ["", *(f"{one:{widths[0]}}  {two:{widths[1]}}  {three}" for one, two, three in rows)]
    return "\n".join(lines)
