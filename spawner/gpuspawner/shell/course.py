"""``gpuspawner course``: what a course's people are given."""

from __future__ import annotations

from pathlib import Path

import click

from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_settings
from gpuspawner.core.coursework import course_link
from gpuspawner.core.errors import NotFound, SettingsError
from gpuspawner.policy.policy import load_policy
from gpuspawner.policy.settings import load_settings

from .common import clean


@click.group(short_help="Show links to a course's notebooks.")
def course() -> None:
    """Show what a course's people are given."""


@course.command(short_help="Show the link that opens a course's notebooks.")
@click.argument("name")
@click.option(
    "--settings",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The settings file [default: ${SETTINGS_VARIABLE}, or gpuspawner.yml, or the demo's].",
)
def link(name: str, settings: Path | None) -> None:
    """Show the link that opens the notebooks of the course NAME, for each person in their own server.

    It begins with the address of the hub in the settings (notices.hub, else network.bind_url). It has no
    secret in it: who is not in the course is refused.
    """
    where = find_settings(settings)
    if where is None:
        raise SettingsError("There is no settings file here. Give --settings PATH.")
    found = load_settings(where)
    if found.policy is None:
        raise SettingsError(f"{where} names no policy, so there are no courses. Set `policy: PATH` there.")
    courses = load_policy(found.policy, images=found.images, places=found.places).courses
    wanted = next((one for one in courses if one.name == name), None)
    if wanted is None:
        there = ", ".join(one.name for one in courses) or "none"
        raise NotFound(f"{found.policy} has no course {name!r}; there are: {there}.")
    if wanted.work.notebooks is None:
        raise NotFound(f"The course {name!r} has no `notebooks` in {found.policy} (docs/courses.md).")
    click.echo(clean(course_link(f"{found.address}hub/", name, wanted.work.notebooks)))
