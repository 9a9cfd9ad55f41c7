"""Removing what was made: ``make clean``."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .console import capture, say
from .errors import SetupError
from .images import REPOSITORY
from .paths import Paths

STAYS = (
    "The Docker Engine and Debian packages stay; so do the lines in /etc/apt that say where they came from."
)
CACHES = (
    "spawner/gpuspawner.egg-info",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    ".import_linter_cache",
)
"""What installing, linting and testing leave in the checkout beside the state directory."""
CDI_DIRECTORY = Path("/var/run/cdi")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What there is to remove."""

    containers: tuple[str, ...]
    """Names of this checkout's demo servers; those of other checkouts have another instance in the name."""
    networks: tuple[str, ...]
    images: tuple[str, ...]
    """References. All checkouts on this machine share them."""
    directories: tuple[Path, ...]
    files: tuple[Path, ...]
    homes: tuple[str, ...]
    """Whose homes are in those directories."""

    def lines(self) -> Iterator[str]:
        """What a person is asked about, one line for each kind."""
        if self.homes:
            yield f"the demo's homes, with all files in them: {', '.join(self.homes)}"
        yield from (str(path) for path in (*self.directories, *self.files))
        for kind, names in (
            ("container", self.containers), ("Docker network", self.networks), ("image", self.images),
        ):  # fmt: skip
            if names:
                yield f"{len(names)} {kind}{'s' if len(names) > 1 else ''}: {', '.join(names)}"


def clean(paths: Paths, *, force: bool) -> None:
    """Ask, then remove the state directory (homes and ledger included), and what the demo left elsewhere.

    Raises:
        SetupError: A demo is running, or nobody is there to answer.
    """
    _refuse_while_running(paths)
    found = find_leftovers(paths)
    lines = list(found.lines())
    if capture(["docker", "version"]) is None:
        say("The Docker Engine does not answer: what the demo left in it (images, containers) stays.")
    if not lines:
        say("There is nothing to remove.")
        return
    say("This removes:\n" + "".join(f"  - {line}\n" for line in lines) + STAYS)
    if not force and not _confirmed():
        say("Nothing was removed.")
        return
    remove_leftovers(found)
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
    try:
        return input("Type yes to remove them: ").strip().lower() in ("yes", "y")
    except EOFError:
        raise SetupError("Nobody is there to ask. To remove without asking: make clean FORCE=1") from None


def find_leftovers(paths: Paths, cdi: Path = CDI_DIRECTORY) -> Leftovers:
    """What this checkout made: in it, in the Engine, and where a demo that was killed could not clear up."""
    ours, network = f"name=^{paths.instance}-", f"gpuspawner-{paths.instance}"
    homes = paths.state / "demo" / "homes"
    directories = (paths.state, *(paths.root / name for name in CACHES))
    return Leftovers(
        containers=_listed("ps", "-a", "--filter", ours, "--filter", "label=gpuspawner.ledger", show="Names"),
        networks=_listed("network", "ls", "--filter", f"name=^{network}$", show="Name"),
        images=_listed("image", "ls", f"{REPOSITORY}/*", show="Repository}}:{{.Tag"),
        directories=tuple(path for path in directories if path.exists()),
        files=tuple(path for path in (cdi / f"gpuspawner-sim-{paths.instance}.json",) if path.exists()),
        homes=tuple(sorted(path.name for path in homes.iterdir())) if homes.exists() else (),
    )


def _listed(*command: str, show: str) -> tuple[str, ...]:
    return tuple((capture(["docker", *command, "--format", f"{{{{.{show}}}}}"]) or "").split())


def remove_leftovers(found: Leftovers) -> None:
    """Remove them; what the Engine refuses to remove is told, with the command that tries again."""
    for name in found.containers:
        _remove("container", "rm", "-f", name)
    for name in found.networks:
        _remove("network", "rm", name)
    for name in found.images:
        # Another tag of the same image would let the Engine take this one away from a container.
        users = _listed("ps", "-a", "--filter", f"ancestor={name}", show="Names")
        if users:
            say(f"    image {name} stays: {', '.join(users)} use{'' if len(users) > 1 else 's'} it")
        else:
            _remove("image", "rm", name)
    for file in found.files:
        file.unlink(missing_ok=True)
    for directory in found.directories:
        shutil.rmtree(directory)


def _remove(*command: str) -> None:
    if capture(["docker", *command], seconds=60) is None:
        say(f"    {command[0]} {command[-1]} could not be removed: docker {' '.join(command)}")
