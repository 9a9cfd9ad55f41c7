"""``gpuspawner drift``: what changes for people when one image takes another's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.core.drift import Difference, Drift, RunDrift, compare_images
from gpuspawner.core.errors import EngineError, NotFound
from gpuspawner.core.words import describe_bytes
from gpuspawner.passport.model import Passport
from gpuspawner.passport.shelf import read_passport
from gpuspawner.passport.sides import to_side

from .common import clean, json_option, print_json, render_table
from .passport import find_image, find_passport, open_shelf, passport_options


@click.command(short_help="Say what changes from one image to another.")
@click.argument("old")
@click.argument("new")
@json_option
@passport_options
def drift(old: str, new: str, as_json: bool, settings: Path | None, passports: Path | None) -> None:
    """Say what changes when the image NEW takes the place of OLD, by their passports.

    Packages, CUDA and its libraries, the oldest driver, the size; and on each architecture that both were
    tried on, whether the random numbers are the same, by how much the losses of the fixed-seed training
    differ, and how long a step takes. OLD and NEW are names of images/images.toml or of the settings, what
    Docker calls them, or files of passports.
    """
    sides = [to_side(_find(name, settings, passports)) for name in (old, new)]
    found = compare_images(*sides)
    if as_json:
        print_json(to_json(found))
    else:
        for line in render(found):
            click.echo(line)


def _find(name: str, settings: Path | None, passports: Path | None) -> Passport:
    """The passport that is meant: a file, that of the image on this host, or the committed one.

    Raises:
        NotFound: There is none.
        PassportError: It is damaged.
    """
    if name.endswith(".json"):
        found = read_passport(Path(name))
        if found is None:
            raise NotFound(f"There is no passport {name}. Correct the path.")
        return found
    try:
        return find_passport(open_shelf(settings, passports), DockerImages(), name, settings)
    except (NotFound, EngineError):
        committed = find_image(name, settings).committed
        found = read_passport(committed) if committed else None
        if found is None:
            raise
        return found


# -- for people ---------------------------------------------------------------------------------------------


def render(found: Drift) -> Iterator[str]:
    """The lines of the table."""
    yield clean(
        f"From {found.old.image} ({found.old.digest[:19]}) to {found.new.image} ({found.new.digest[:19]})"
    )
    if found.none:
        yield "Nothing differs, as far as both were tried."
    yield from _render_parts("Versions", found.versions)
    yield from _render_parts("Python packages", found.packages)
    yield from _render_parts("Debian packages", found.debian_packages)
    if found.old.other_packages or found.new.other_packages:
        yield from _render_parts("Other packages", found.other_packages)
    yield ""
    driver = found.minimum_driver
    old = found.old.minimum_driver or "any"
    yield clean(f"Oldest driver  {old} -> {driver.new or 'any'}" if driver else f"Oldest driver  {old}")
    if found.capabilities_lost:
        yield clean(f"No code more for compute capability {', '.join(found.capabilities_lost)}")
    if found.capabilities_gained:
        yield clean(f"New: code for compute capability {', '.join(found.capabilities_gained)}")
    sign = "+" if found.size_bytes >= 0 else "-"
    sizes = f"{describe_bytes(found.old.size_bytes)} -> {describe_bytes(found.new.size_bytes)}"
    yield f"Size           {sizes} ({sign}{describe_bytes(abs(found.size_bytes))})"
    yield from _render_runs(found)


def _render_parts(title: str, parts: Sequence[Difference]) -> Iterator[str]:
    yield ""
    yield f"{title}: {f'{len(parts)} differ' if parts else 'the same'}"
    if parts:
        rows = [(one.name, one.change.value, one.old or "-", one.new or "-") for one in parts]
        yield from render_table(
            ("  NAME", "CHANGE", "OLD", "NEW"), [(f"  {row[0]}", *row[1:]) for row in rows]
        )


def _render_runs(found: Drift) -> Iterator[str]:
    yield ""
    if found.runs:
        headings = ("ARCHITECTURE", "RANDOM NUMBERS", "RESULT", "LARGEST LOSS DIFFERENCE", "STEP")
        yield from render_table(headings, [_run_row(run) for run in found.runs])
    else:
        yield "No architecture was tried with both: gpuspawner verify IMAGE"
    for name, only in (("old", found.only_old), ("new", found.only_new)):
        if only:
            yield f"Only the {name} image was tried on {', '.join(only)}."


def _run_row(run: RunDrift) -> tuple[str, ...]:
    old, new = (seconds * 1000 for seconds in run.step_seconds)
    same = run.first_step is None
    return (
        run.architecture,
        f"differ: {', '.join(run.rng_changed)}" if run.rng_changed else "the same",
        "the same" if run.weights_equal else "differs" + ("" if same else f" from step {run.first_step} on"),
        "none" if same else f"{run.largest_difference:.3g} at step {run.at_step}",
        f"{old:.2f} ms -> {new:.2f} ms",
    )


# -- for programs -------------------------------------------------------------------------------------------


def to_json(found: Drift) -> dict[str, object]:
    """All differences."""
    return {
        "schema": 1,
        "old": {"image": found.old.image, "digest": found.old.digest},
        "new": {"image": found.new.image, "digest": found.new.digest},
        "same": found.none,
        "versions": _parts(found.versions),
        "packages": _parts(found.packages),
        "debian_packages": _parts(found.debian_packages),
        "other_packages": _parts(found.other_packages),
        "minimum_driver": {"old": found.old.minimum_driver, "new": found.new.minimum_driver},
        "compute_capabilities": {
            "lost": list(found.capabilities_lost),
            "gained": list(found.capabilities_gained),
        },
        "size_bytes": {"old": found.old.size_bytes, "new": found.new.size_bytes, "change": found.size_bytes},
        "runs": [
            {
                "architecture": run.architecture,
                "rng_equal": not run.rng_changed,
                "rng_changed": list(run.rng_changed),
                "weights_equal": run.weights_equal,
                "largest_loss_difference": run.largest_difference if run.at_step else None,
                "at_step": run.at_step or None,
                "first_step_that_differs": run.first_step,
                "steps": {"old": run.steps[0], "new": run.steps[1]},
                "step_seconds": {"old": run.step_seconds[0], "new": run.step_seconds[1]},
            }
            for run in found.runs
        ],
        "only_old_tried_on": list(found.only_old),
        "only_new_tried_on": list(found.only_new),
    }


def _parts(parts: Sequence[Difference]) -> list[dict[str, object]]:
    return [{"name": one.name, "change": one.change.value, "old": one.old, "new": one.new} for one in parts]
