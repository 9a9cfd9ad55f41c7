"""Removing what was made: ``make clean``."""

from __future__ import annotations

import fcntl
import shutil
import sys

from .console import capture, say
from .errors import SetupError
from .images import REPOSITORY
from .paths import Paths

STAYS = (
    "The Docker Engine and Debian packages stay; so do the lines in /etc/apt that say where they came from."
)


def clean(paths: Paths, *, force: bool) -> None:
    """Ask, then remove the state directory (homes and ledger included), and what the demo left in the Engine.

    Raises:
        SetupError: A demo is running, or nobody is there to answer.
    """
    _refuse_while_running(paths)
    images, volumes = _images(), _names("volume")
    things = [f"{len(images)} images called {REPOSITORY}/…"] if images else []
    things += [f"{len(volumes)} Docker volumes with homes"] if volumes else []
    if paths.state.exists():
        things.insert(0, f"{paths.state}, with the homes and the ledger of the demo")
    if not things:
        say("There is nothing to remove.")
        return
    if capture(["docker", "version"]) is None:
        say("The Docker Engine does not answer: what the demo left in it (images, containers) stays.")
    say("This removes:\n" + "".join(f"  - {thing}\n" for thing in things) + STAYS)
    if not force and not _confirmed():
        say("Nothing was removed.")
        return
    _remove_from_engine(images, volumes)
    if paths.state.exists():
        shutil.rmtree(paths.state)
    say("Removed.")


def _refuse_while_running(paths: Paths) -> None:
    lock = paths.state / "demo" / "demo.lock"
    if not lock.exists():
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SetupError(
                "The demo is running. Stop it (Ctrl-C there), then run `make clean` again."
            ) from error


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise SetupError("Nobody is there to ask. To remove without asking: make clean FORCE=1")
    return input("Type yes to remove them: ").strip().lower() == "yes"


def _images() -> list[str]:
    listed = capture(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{REPOSITORY}/*"])
    return (listed or "").split()


def _names(kind: str) -> list[str]:
    listed = capture(["docker", kind, "ls", "--filter", "label=gpuspawner.demo", "--format", "{{.Name}}"])
    return (listed or "").split()


def _remove_from_engine(images: list[str], volumes: list[str]) -> None:
    listed = capture(
        ["docker", "ps", "-aq", "--filter", "name=^demo-[0-9a-f]{8}-", "--filter", "label=gpuspawner.ledger"]
    )
    for kind, names in (("container", (listed or "").split()), ("volume", volumes), ("image", images)):
        for name in names:
            if capture(["docker", kind, "rm", "-f", name], seconds=60) is None:
                say(f"    {kind} {name} could not be removed: docker {kind} rm -f {name}")
