"""The commands of the Makefile: ``python3 -m gpuspawner.setup COMMAND``."""

from __future__ import annotations

import argparse
import fcntl
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from .ansible import ensure_ansible
from .builds import Choice, choose_all, choose_changed, choose_named, ensure_images, require_names
from .causes import FULL, FULL_DISK
from .clean import clean
from .console import say
from .dockerd import stop_engine
from .errors import SetupError
from .images import load_catalogue
from .locks import make_locks
from .paths import Paths
from .prepare import ensure_engine, prepare, prepare_environment, prepare_release, prepare_what_can_be
from .private import make_private
from .registry import pull_images, push_images
from .sif import export_images


def _fresh_images(paths: Paths, chosen: Choice) -> None:
    prepare(paths, images=None)
    ensure_images(paths, chosen, fresh=True)


def _push_images(paths: Paths, chosen: Choice) -> None:
    prepare(paths, images=chosen)
    push_images(paths, [entry for entry in load_catalogue() if chosen(entry)])


def _pull_images(paths: Paths, chosen: Choice) -> None:
    pull_images(paths, [entry for entry in load_catalogue() if chosen(entry)])


def _export_images(paths: Paths, chosen: Choice) -> None:
    prepare(paths, images=chosen)
    export_images(paths, [entry for entry in load_catalogue() if chosen(entry)])


def _lock(paths: Paths) -> None:
    prepare_environment(paths, compiler=False)
    make_locks(paths)


END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
LEAST_PORT, LARGEST_PORT = 1024, 65000
"""What ``gpuspawner demo --port`` takes."""
COMMANDS: dict[str, tuple[str, Callable[[Paths], None]]] = {
    "demo": ("all that the demo needs", prepare),
    "test": ("what the tests need, as far as it can be had", prepare_what_can_be),
    "test-strict": ("all that the tests need", lambda paths: prepare(paths, tests=True)),
    "test-unit": (
        "what the tests without Docker need",
        lambda paths: prepare_environment(paths, compiler=True),
    ),
    "environment": ("what the linters need", lambda paths: prepare_environment(paths, compiler=False)),
    "ansible": ("what the playbooks are run and checked with", ensure_ansible),
    "release": ("what the services of a server run with", prepare_release),
    "engine": ("a running Docker Engine with CDI on", ensure_engine),
    "changed-images": (
        "the small images, and those with another lock than their passport says",
        lambda paths: prepare(paths, images=choose_changed),
    ),
    "lock": ("every lock file anew", _lock),
    "stop-engine": ("the Docker Engine stopped, if it was started from this checkout", stop_engine),
    "clean": ("what was made removed, after asking", lambda paths: clean(paths, force=False)),
    "clean-force": ("the same without asking", lambda paths: clean(paths, force=True)),
}

IMAGE_COMMANDS: dict[str, tuple[str, Callable[[Paths, Choice], None]]] = {
    "images": ("the images that are missing", lambda paths, chosen: prepare(paths, images=chosen)),
    "fresh-images": ("images again, with the packages of today", _fresh_images),
    "pull-images": ("images from the registry, by their digests alone", _pull_images),
    "push-images": ("images in the registry", _push_images),
    "sif": ("an archive and an Apptainer definition for each image", _export_images),
}
"""These take ``--image NAME,…``; without it they mean all images that people can choose."""


def main() -> None:
    """Run one command; errors are sentences, and the exit code is 1 for them."""
    parser = argparse.ArgumentParser(prog="gpuspawner.setup", description="Prepare this host for gpuspawner.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, _) in COMMANDS.items():
        described = commands.add_parser(name, help=text)
        if name == "demo":
            described.add_argument("--port", type=int, default=8000, help="where the demo will listen")
    for name, (about, _) in IMAGE_COMMANDS.items():
        described = commands.add_parser(name, help=about)
        described.add_argument("--image", default="", metavar="NAME,…", help="only these images")
    arguments = parser.parse_args()
    command = arguments.command
    handle_signals()
    paths, started = Paths(), time.monotonic()
    try:
        with _alone(paths):
            if command == "demo":
                # The demo checks this itself, but only after minutes of preparation.
                require_free_ports(arguments.port)
            if command not in ("clean", "clean-force", "stop-engine"):
                # Logs and secrets of this host are in there.
                make_private(paths.state)
                make_private(paths.logs)
            if command in IMAGE_COMMANDS:
                IMAGE_COMMANDS[command][1](paths, _read_choice(arguments.image))
            else:
                COMMANDS[command][1](paths)
    except SetupError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" ({error.filename} cannot be written)" if error.filename else ""
        _fail(f"{FULL_DISK}{where} Then run the same command again to go on.")
    except KeyboardInterrupt:
        # Nobody reads it where the terminal was closed.
        with suppress(OSError):
            say("\nInterrupted. What is finished stays; run the same command again to go on.")
        sys.exit(130)
    if command in ("demo", "test", "test-strict", "images", "changed-images"):
        say(f"Prepared in {time.monotonic() - started:.1f} s.")


def _fail(text: str) -> NoReturn:
    print(f"\nerror: {text}", file=sys.stderr, flush=True)
    sys.exit(1)


def _read_choice(text: str) -> Choice:
    names = [name for part in text.split(",") if (name := part.strip())]
    require_names(load_catalogue() if names else (), names)
    return choose_named(*names) if names else choose_all


def handle_signals() -> None:
    """End in order when a service manager asks for it, and when the terminal is closed."""
    # Whoever starts us under nohup wants us to outlive the terminal.
    for number in END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A terminal that closes hangs up twice, and the second must not cut the clearing away short.
    for one in END_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def require_free_ports(port: int) -> None:
    """Check that the demo can listen on this port, and on the next one for its proxy's own interface.

    Raises:
        SetupError: One of them is taken, or is no port.
    """
    if not LEAST_PORT <= port <= LARGEST_PORT:
        raise SetupError(f"PORT must be from {LEAST_PORT} to {LARGEST_PORT}, not {port}.")
    for number in (port, port + 1):
        with socket.socket() as probe:
            # As servers do: a port whose connections have only just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError as error:
                other = 9000 if port != 9000 else 8000
                raise SetupError(
                    f"Port {number} on 127.0.0.1 is not free ({error.strerror}). Stop what uses it (a demo "
                    f"that runs already?), or choose another: make demo PORT={other}"
                ) from error


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
