"""``gpuspawner-session stamp``: one file that says what a session was made of, to attach to a thesis."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from . import image as images
from .cards import Cards, find_cards
from .packages import Package, find_packages
from .packages import to_json as packages_to_json
from .seeds import find_seeds

USUAL_FILE = "gpuspawner-stamp.json"
WHAT = (
    "What a session of gpuspawner was made of: image, driver, GPUs, packages, seeds. Packages with user: "
    "true were added by the person; all others are the image's. null is unknown, or none."
)


class StampError(Exception):
    """The file cannot be written; the text says why and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command and the magic take."""
    parser.add_argument(
        "file", nargs="?", default=USUAL_FILE, metavar="FILE", help=f"where to [{USUAL_FILE}]; - prints it"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file that is there")


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stamp",
        help="write what this session is made of into one file",
        description="Write one JSON file to attach to a thesis or paper: the image's digest and lock hash, "
        "driver, GPUs, all packages (those that you added are marked), seeds, date. In a notebook use "
        "%%gpuspawner_stamp: it sees the seeds of that notebook.",
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write it.

    Returns:
        The exit status: 0 written, 1 the file is there or cannot be written.
    """
    try:
        print(stamp(arguments.file, force=arguments.force))
    except StampError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def stamp(
    file: str, *, force: bool, modules: Mapping[str, Any] | None = None, cells: Iterable[str] | None = None
) -> str:
    """Look, and write.

    Args:
        file: Where to; ``-`` writes nothing.
        force: Whether a file that is there is overwritten.
        modules: Of the process whose seeds are meant; none for that of a command.
        cells: What was typed in its notebook.

    Returns:
        What to print: the stamp itself, or where it is.

    Raises:
        StampError: The file is there already, or cannot be written.
    """
    path = Path(file).expanduser()
    if file != "-" and not force and os.path.lexists(path):
        raise StampError(f"{path} is there already. Give another name, or --force to overwrite it.")
    data = build_stamp(
        images.read_image(),
        find_cards(),
        find_packages(),
        find_seeds(modules or {}, cells),
        datetime.now().astimezone(),
    )
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if file == "-":
        return text.rstrip("\n")
    write(path, text, force=force)
    return f"Written: {path}"


def build_stamp(
    image: images.Image, cards: Cards, packages: tuple[Package, ...], seeds: dict[str, object], now: datetime
) -> dict[str, object]:
    """The stamp's content, always in this order.

    Args:
        image: What the image says of itself.
        cards: What the driver says.
        packages: By name.
        seeds: What is known of them.
        now: With its zone.
    """
    return {
        "schema": 1,
        "what": WHAT,
        "date": now.isoformat(timespec="seconds"),
        "time_zone": now.tzname(),
        "image": images.to_json(image),
        "gpus": {
            "state": cards.state,
            "why": cards.why,
            "driver": cards.driver,
            "cards": [
                {"model": one.model, "uuid": one.uuid, "memory_bytes": one.memory_bytes}
                for one in cards.cards
            ],
        },
        "system": {
            "python": platform.python_version(),
            "kernel": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
        },
        "seeds": seeds,
        "packages_of_user": [one.name for one in packages if one.user],
        "packages": packages_to_json(packages),
    }


def write(path: Path, text: str, *, force: bool) -> None:
    """Write the whole file or nothing, and never over another one unasked.

    Raises:
        StampError: It is there already, or cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    made = False
    try:
        with fresh.open(
            "x", encoding="utf-8"
        ) as file:  # fails where the name is taken, also since it was looked for
            made = True
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if force:
            fresh.replace(path)
    except FileExistsError:
        raise StampError(
            f"{fresh} is there already. Give another name, or --force to overwrite it."
        ) from None
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                fresh.unlink()
        raise StampError(f"{path} cannot be written: {error.strerror}. Give another place.") from error
