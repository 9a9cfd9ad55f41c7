"""The commands of the Makefile: ``python3 -m gpuspawner.setup COMMAND``."""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .builds import ensure_images
from .clean import clean
from .console import say
from .dockerd import stop_engine
from .errors import SetupError
from .locks import make_locks
from .paths import Paths
from .prepare import ensure_engine, prepare


def _fresh_images(paths: Paths) -> None:
    prepare(paths, images=False)
    ensure_images(paths, fresh=True)


def _lock(paths: Paths) -> None:
    prepare(paths, engine=False, tests=True)
    make_locks(paths)


COMMANDS: dict[str, tuple[str, Callable[[Paths], None]]] = {
    "demo": ("all that the demo needs", prepare),
    "test": ("all that the tests need", lambda paths: prepare(paths, tests=True, browser=True)),
    "environment": (
        "what the tests without Docker and the linters need",
        lambda paths: prepare(paths, engine=False, tests=True),
    ),
    "engine": ("a running Docker Engine with CDI on", ensure_engine),
    "images": ("the images that are missing", prepare),
    "fresh-images": ("all images again, with the packages of today", _fresh_images),
    "lock": ("every lock file anew", _lock),
    "stop-engine": ("the Docker Engine stopped, if it was started from this checkout", stop_engine),
    "clean": ("what was made removed, after asking", lambda paths: clean(paths, force=False)),
    "clean-force": ("the same without asking", lambda paths: clean(paths, force=True)),
}


def main() -> None:
    """Run one command; errors are sentences, and the exit code is 1 for them."""
    parser = argparse.ArgumentParser(prog="gpuspawner.setup", description="Prepare this host for gpuspawner.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, _) in COMMANDS.items():
        commands.add_parser(name, help=text)
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, _interrupt)
    paths, started = Paths(), time.monotonic()
    try:
        with _alone(paths):
            COMMANDS[command][1](paths)
    except SetupError as error:
        print(f"\nerror: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        say("\nInterrupted. What is finished stays; run the same command again to go on.")
        sys.exit(130)
    if command in ("demo", "test", "images"):
        say(f"Prepared in {time.monotonic() - started:.1f} s.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """Keep two commands from preparing the same checkout at once."""
    # Beside the state directory's contents, not in a file that `clean` removes while another waits for it.
    with paths.root.joinpath("Makefile").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another command prepares this checkout; waiting for it to finish.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
