"""``gpuspawner passport check`` and ``promote``: what everybody gets was tried on all that is here."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from gpuspawner.adapters.docker_images import DockerImages
from gpuspawner.adapters.whereabouts import find_ledger
from gpuspawner.core.errors import Conflict, NotFound, PassportError, SettingsError
from gpuspawner.core.images import find_fleet
from gpuspawner.passport.model import Passport
from gpuspawner.passport.shelf import Shelf, read_passport
from gpuspawner.ports import Images
from gpuspawner.setup.catalogue import ImageStatus
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, load_catalogue
from gpuspawner.setup.paths import Paths

from .common import clean, host_option, ledger_option, open_ledger
from .passport import COMMITTED, open_shelf, passport, passport_options


@passport.command(short_help="Check that what everybody gets was tried on every GPU here.")
@passport_options
@ledger_option
@host_option
def check(settings: Path | None, passports: Path | None, ledger: Path | None, host: str) -> None:
    """Check that every image of the status `default` was tried on each architecture that is here.

    Exit code 1: one was not. Without a ledger that is the CPU alone.
    """
    gate = Gate(DockerImages(), open_shelf(settings, passports), find_here(ledger, host))
    problems = 0
    for entry in read_catalogue():
        if entry.status is ImageStatus.DEFAULT:
            why_not = gate.why_not(entry)
            problems += why_not is not None
            click.echo(clean(why_not or f"{entry.name} {gate.describe(entry)}."))
    if problems:
        raise SystemExit(1)


@passport.command(short_help="Give an image that was tried on every GPU here to everybody.")
@click.argument("image")
@click.option("--freeze", metavar="OLD", help="The image that was it before: it stays until a day.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Its last day, such as 2027-07-31.")
@passport_options
@ledger_option
@host_option
def promote(
    *,
    image: str,
    freeze: str | None,
    until: datetime | None,
    settings: Path | None,
    passports: Path | None,
    ledger: Path | None,
    host: str,
) -> None:
    """Make IMAGE, a candidate of images/images.toml, one that everybody gets.

    It must have been tried (`gpuspawner verify IMAGE`) on every architecture that the ledger knows. With
    --freeze OLD --until DAY, the image before it can still be chosen until then, and its locks stay.
    """
    if (freeze is None) != (until is None):
        raise click.UsageError("Give --freeze and --until together, or neither.")
    if until is not None and until.date() < datetime.now().astimezone().date():
        raise click.UsageError(f"--until {until:%Y-%m-%d} is over: nobody could choose {freeze} any more.")
    entry = require_entry(image)
    if entry.status is not ImageStatus.CANDIDATE:
        raise Conflict(f"{entry.name} is no candidate: its status is {entry.status}. Nothing was changed.")
    changes = {entry.name: 'status = "default"'}
    if freeze is not None and until is not None:
        old = require_entry(freeze)
        if old.status is not ImageStatus.DEFAULT:
            raise Conflict(f"{old.name} cannot be frozen: its status is {old.status}. Nothing was changed.")
        changes[old.name] = f'status = "frozen"\nuntil = {until:%Y-%m-%d}'
    gate = Gate(DockerImages(), open_shelf(settings, passports), find_here(find_ledger(ledger), host))
    why_not = gate.why_not(entry)
    if why_not is not None:
        raise Conflict(f"{why_not} Nothing was changed.")
    change_catalogue(Paths().images / "images.toml", changes)
    click.echo(f"{entry.name} is for everybody; it {gate.describe(entry)}.")


@dataclass(frozen=True, slots=True)
class Gate:
    """What an image must have gone through before everybody gets it."""

    engine: Images
    shelf: Shelf
    fleet: tuple[str, ...]
    """Architectures that are here."""

    def why_not(self, entry: ImageEntry) -> str | None:
        """Say why an image may not be everybody's, with the fix; None if it may. Raises: GpuSpawnerError."""
        found = self._find(entry)
        if found is None:
            return f"{entry.name} has no passport. Make it: gpuspawner passport make {entry.name}"
        failed = found.list_failed()
        if failed:
            return f"{entry.name} failed its tests: {', '.join(failed)}."
        untried = found.list_untried(self.fleet)
        if not untried:
            return None
        return (
            f"{entry.name} was never tried on {', '.join(untried)}. "
            f"Try it there: gpuspawner verify {entry.name} --record"
        )

    def describe(self, entry: ImageEntry) -> str:
        """What an image has gone through that may be everybody's. Raises: GpuSpawnerError."""
        found = self._find(entry)
        if found is None or found.versions.torch is None:
            return "has no torch, so there is nothing to try"
        return f"was tried on {', '.join(self.fleet)}"

    def _find(self, entry: ImageEntry) -> Passport | None:
        """The passport of the image that is here, else one of the same locks that came with the checkout."""
        facts = self.engine.inspect(entry.reference)
        found = self.shelf.find(facts.digest) if facts else None
        if found is not None:
            return found
        committed = read_passport(entry.folder / COMMITTED)
        return committed if committed and committed.lock_hash == entry.lock_hash else None


def find_here(ledger: Path | None, host: str) -> tuple[str, ...]:
    """The architectures of all hosts that a ledger knows; the CPU alone without a ledger.

    Raises:
        SettingsError: A ledger was named and is not there.
    """
    try:
        path = find_ledger(ledger)
    except SettingsError:
        if ledger is not None:
            raise
        return find_fleet(())
    with open_ledger(path, host) as book, book.read() as unit:
        return find_fleet(record.device for name in unit.hosts() for record in unit.inventory(name))


def read_catalogue() -> Sequence[ImageEntry]:
    """The images of this checkout. Raises: PassportError: It has none, or they are wrong."""
    try:
        return load_catalogue()
    except SetupError as error:
        raise PassportError(str(error)) from error


def require_entry(name: str) -> ImageEntry:
    """An image of the catalogue. Raises: NotFound."""
    entries = read_catalogue()
    found = next((entry for entry in entries if name in (entry.name, entry.title)), None)
    if found is None:
        listed = ", ".join(entry.name for entry in entries)
        raise NotFound(f"There is no image {name!r} in images/images.toml. Images are: {listed}.")
    return found


def change_catalogue(file: Path, changes: dict[str, str]) -> None:
    """Put other lines in the place of the statuses of images; the file is whole and right, or as it was.

    Args:
        file: The catalogue.
        changes: By name, what stands in the place of its status.

    Raises:
        PassportError: It cannot be read or written, or would not be right.
    """
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        text = file.read_text()
        for name, lines in changes.items():
            text = _change(text, name, lines)
        partial.write_text(text)
        load_catalogue(partial, locked=False)
        partial.replace(file)
    except OSError as error:
        raise PassportError(f"{file} cannot be changed: {error.strerror}.") from error
    except SetupError as error:
        raise PassportError(f"{file} is left as it is: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _change(text: str, name: str, lines: str) -> str:
    """Raises: SetupError: The line with the status of that image was not found."""
    head, *blocks = re.split(r"(?m)^(?=[ \t]*\[\[[ \t]*image[ \t]*\]\])", text)
    named = re.compile(rf"""(?m)^[ \t]*name[ \t]*=[ \t]*(["']){re.escape(name)}\1""")
    for number, block in enumerate(blocks):
        changed, count = re.subn(r"(?m)^[ \t]*status[ \t]*=.*$", lambda _: lines, block, count=1)
        if count and named.search(block):
            blocks[number] = changed
            return head + "".join(blocks)
    raise SetupError(f"the line `status = ` of {name} was not found in it. Put there by hand: {lines}")
