"""``gpuspawner passport``: what is in the images, what they need, and on what they were tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import click

from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.whereabouts import SETTINGS_VARIABLE, find_settings
from gpuspawner.core.errors import EngineError, NotFound, PassportError
from gpuspawner.core.words import describe_bytes
from gpuspawner.passport.make import is_of_same_locks, make_passport, take_over
from gpuspawner.passport.model import Passport
from gpuspawner.passport.shelf import Shelf, read_passport, write_passport
from gpuspawner.passport.spdx import write_spdx
from gpuspawner.policy.settings import load_settings
from gpuspawner.ports import ImageFacts, Images
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths

from .common import Command, clean, json_option, print_json, render_table

DEMO_PASSPORTS = Path(".gpuspawner/passports")
"""Where `make images` puts them, for commands that were not told."""
COMMITTED = "passport.json"
"""Of an image of the catalogue, in its folder: what goes from one host to another."""
_HEADINGS = ("IMAGE", "ID", "BUILT", "SIZE", "TORCH", "CUDA", "DRIVER", "TRIED ON")


@click.group(short_help="Show what is in the images, and what they need.")
def passport() -> None:
    """The passports of the images: what is in them, what they need, on what they were tried.

    IMAGE is a name of images/images.toml or of the settings, or any name or id that Docker knows.
    """


def passport_options(command: Command) -> Command:
    """Give a command the options that say which settings and which passports are meant."""
    command = click.option(
        "--settings",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"The settings file [default: ${SETTINGS_VARIABLE}, or gpuspawner.yml, or the demo's].",
    )(command)
    return click.option(
        "--passports",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"Directory of the passports [default: that of the settings, or {DEMO_PASSPORTS}].",
    )(command)


@dataclass(frozen=True, slots=True)
class Named:
    """An image that somebody named."""

    name: str
    reference: str
    """What Docker calls it."""
    committed: Path | None = None
    """Where the passport is that goes from one host to another; None: it is not of the catalogue."""


@passport.command(short_help="Make the passport of an image.")
@click.argument("images", metavar="IMAGE...", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Of all images that people can choose and that are here."
)
@click.option("--commit", is_flag=True, help=f"Put it into images/<name>/{COMMITTED} too.")
@click.option("--minimum-driver", help="The oldest driver, where CUDA is too new to be known here.")
@passport_options
def make(  # noqa: PLR0917 - click gives each by its name
    images: tuple[str, ...],
    everything: bool,
    commit: bool,
    minimum_driver: str | None,
    settings: Path | None,
    passports: Path | None,
) -> None:
    """Look into each IMAGE, in a container without network, and keep its passport.

    Runs and tests of a build from the same lock files are kept. With --all, an image that was looked into is
    not looked into again: the image of an id never changes.
    """
    shelf, engine = open_shelf(settings, passports), DockerImages()
    named = [find_image(name, settings) for name in images]
    offered = list_offered(settings) if everything else []
    offered = [one for one in offered if engine.inspect(one.reference) is not None]
    if not named and not offered:
        raise NotFound("No image was named, or none is here. Give IMAGE, or build them: make images")
    for one in [*named, *offered]:
        known = None if one in named else find_known(engine, shelf, one)
        try:
            made = known or look_inside(engine, shelf, one, minimum_driver)
        except (EngineError, PassportError) as error:
            if one in named:
                raise
            # One of many: an image without Python, say. It starts as before, on any card.
            click.echo(clean(f"warning: {one.name} has no passport. {error}"), err=True)
            continue
        shelf.put(made)
        if commit:
            write_passport(made, require_folder(one))
        tried = ", ".join(made.runs) or "nothing yet"
        about = f"{made.digest[:19]}, {len(made.packages)} Python packages, tried on {tried}"
        click.echo(clean(f"{one.name}: {about}"))


@passport.command("list", short_help="List the passports.")
@json_option
@passport_options
def list_all(as_json: bool, settings: Path | None, passports: Path | None) -> None:
    """List the passports that are kept here. Exit code 1: one of them cannot be read."""
    found, broken = [], []
    for one in open_shelf(settings, passports).all():
        if isinstance(one, PassportError):
            broken.append(str(one))
        else:
            found.append(one)
    if as_json:
        print_json(
            {"schema": 1, "passports": [one.model_dump(mode="json") for one in found], "broken": broken}
        )
    else:
        click.echo("\n".join(render(found)) if found else "No passport is here. Make them: make images")
        for error in broken:
            click.echo(clean(f"error: {error}"), err=True)
    if broken:
        raise SystemExit(1)


@passport.command(short_help="Show the passport of an image.")
@click.argument("image")
@json_option
@click.option("--spdx", is_flag=True, help="As a list of parts in SPDX 2.3, as JSON.")
@passport_options
def show(image: str, as_json: bool, spdx: bool, settings: Path | None, passports: Path | None) -> None:
    """Show the passport of IMAGE."""
    found = find_passport(open_shelf(settings, passports), DockerImages(), image, settings)
    if spdx:
        print_json(write_spdx(found, version("gpuspawner")))
    elif as_json:
        print_json(found.model_dump(mode="json"))
    else:
        for line in describe(found):
            click.echo(clean(line))


# -- which image, which passport ----------------------------------------------------------------------------


def open_shelf(settings: Path | None, given: Path | None) -> Shelf:
    """The passports that are meant. Raises: SettingsError."""
    if given is not None:
        return Shelf(given)
    where = find_settings(settings)
    return Shelf(load_settings(where).passports_path if where else DEMO_PASSPORTS)


def find_image(name: str, settings: Path | None) -> Named:
    """The image that is meant: in the catalogue or the settings, or Docker's name. Raises: SettingsError."""
    for entry in _catalogue():
        if name in (entry.name, entry.title):
            return _of_catalogue(entry)
    where = find_settings(settings)
    images = load_settings(where).images if where else {}
    return Named(name, images.get(name, name))


def list_offered(settings: Path | None) -> list[Named]:
    """The images that people can choose: of the catalogue, and of the settings. Raises: SettingsError."""
    found = [_of_catalogue(entry) for entry in _catalogue() if entry.offered]
    known = {one.reference for one in found}
    where = find_settings(settings)
    for name, reference in (load_settings(where).images if where else {}).items():
        if reference not in known:
            found.append(Named(name, reference))
    return found


def _catalogue() -> Sequence[ImageEntry]:
    """The images of this checkout; none where only the package is installed."""
    if not (Paths().images / "images.toml").is_file():
        return ()
    try:
        return load_catalogue()
    except SetupError as error:
        raise PassportError(str(error)) from error


def _of_catalogue(entry: ImageEntry) -> Named:
    return Named(entry.name, entry.reference, entry.folder / COMMITTED)


def require_folder(image: Named) -> Path:
    """Where the passport is that goes from one host to another. Raises: PassportError."""
    if image.committed is None:
        raise PassportError(f"{image.name} is not in images/images.toml: it has no folder to commit to.")
    return image.committed


def find_known(engine: Images, shelf: Shelf, image: Named) -> Passport | None:
    """The passport that an image has; None also of a damaged one. Raises: EngineError, NotFound."""
    try:
        return shelf.find(require_image(engine, image).digest)
    except PassportError:  # it is about to be replaced
        return None


def look_inside(engine: Images, shelf: Shelf, image: Named, minimum_driver: str | None = None) -> Passport:
    """Make the passport of an image, with the runs and tests that hold for it. Raises: GpuSpawnerError."""
    facts = require_image(engine, image)
    told = engine.run_python(facts.digest, (files("gpuspawner.passport") / "inside.py").read_text())
    made = make_passport(facts, told, image.name, minimum_driver)
    known = find_known(engine, shelf, image)
    committed = read_passport(image.committed) if image.committed else None
    same = committed is not None and made.lock_hash is not None and made.lock_hash == committed.lock_hash
    if committed and same and not is_of_same_locks(made, committed):
        told = f"warning: {image.name} is not from the locks that it names: it has other packages than"
        click.echo(clean(f"{told} {image.committed}. Nothing of what was tried holds for it."), err=True)
    others = [one for one in shelf.all() if isinstance(one, Passport) and one.digest != made.digest]
    others.sort(key=lambda one: one.built, reverse=True)
    return take_over(made, [one for one in (known, committed, *others) if one is not None])


def require_image(engine: Images, image: Named) -> ImageFacts:
    """What the Engine says of an image. Raises: EngineError, NotFound: It is not on this host."""
    facts = engine.inspect(image.reference)
    if facts is None:
        raise NotFound(
            f"The image {image.reference} is not on this host. Build it with `make images`, or load it, "
            "or correct the name."
        )
    return facts


def find_passport(shelf: Shelf, engine: Images, image: str, settings: Path | None) -> Passport:
    """The passport of an image that is on this host. Raises: GpuSpawnerError."""
    named = find_image(image, settings)
    facts = require_image(engine, named)
    found = shelf.find(facts.digest)
    if found is None:
        raise NotFound(f"The image {image} has no passport. Make it: gpuspawner passport make {image}")
    return found


# -- for people ---------------------------------------------------------------------------------------------


def render(found: Sequence[Passport]) -> list[str]:
    """The list."""
    rows = [
        (
            one.image,
            one.sha256[:12],
            f"{one.built:%Y-%m-%d}",
            describe_bytes(one.size_bytes),
            one.versions.torch or "-",
            one.versions.cuda or "-",
            f"{one.minimum_driver}+" if one.minimum_driver else "any",
            ", ".join(one.runs) or "nothing yet",
        )
        for one in sorted(found, key=lambda one: (one.image, one.built))
    ]
    return render_table(_HEADINGS, rows)


def describe(found: Passport) -> list[str]:
    """One of them."""
    versions = found.versions
    facts = [
        ("id", found.digest),
        ("locks", found.lock_hash or "not locked"),
        ("built", f"{found.built:%Y-%m-%d %H:%M} UTC"),
        ("size", describe_bytes(found.size_bytes)),
        ("Python", versions.python),
        *(
            (label, value)
            for label, value in (
                ("torch", versions.torch),
                ("CUDA", versions.cuda),
                ("cuDNN", versions.cudnn),
                ("NCCL", versions.nccl),
            )
            if value
        ),
        ("driver", f"{found.minimum_driver} or newer" if found.minimum_driver else "any"),
        ("GPUs", describe_code(found)),
        ("packages", f"{_count_packages(found)} (--json, --spdx)"),
    ]
    lines = [found.image, *(f"  {label:9} {value}" for label, value in facts)]
    lines += ["  tried on"] if found.runs else ["  tried on  nothing yet: gpuspawner verify IMAGE"]
    for name, run in found.runs.items():
        under = f" under driver {run.driver}" if run.driver else ""
        about = f"{run.date:%Y-%m-%d}, {run.card or 'no GPU'}{under}, {run.step_seconds * 1000:.1f} ms/step"
        lines.append(f"    {name:9} {about}")
    lines += [f"  test      {name}: {result}" for name, result in found.tests.items()]
    return lines


def _count_packages(found: Passport) -> str:
    others = f", {len(found.other_packages)} others" if found.other_packages else ""
    return f"{len(found.packages)} of Python, {len(found.debian_packages)} of Debian{others}"


def describe_code(found: Passport) -> str:
    """For which GPUs there is code."""
    if not found.compute_capabilities:
        return "any: it brings no code for GPUs"
    return "compute capability " + ", ".join(found.compute_capabilities)
