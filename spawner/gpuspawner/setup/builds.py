"""Building the images that are missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from .console import capture, run_step, say
from .hostconfig import BootstrapFiles, write_bootstrap_files, write_secrets
from .images import PASSPORT, ImageEntry, find_recipe, load_catalogue
from .osrelease import BASE_RELEASE
from .paths import Paths

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
CLEAN = 'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
Choice = Callable[[ImageEntry], bool]
"""Which images somebody needs."""
IMAGE_SECRETS = ("sources", "apt", "auth", "pip", "ca")


def missing_images(entries: Iterable[ImageEntry]) -> list[ImageEntry]:
    """Images that the Engine does not have with their present contents."""
    return [entry for entry in entries if not _exists(entry.reference)]


def _exists(reference: str) -> bool:
    return capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference]) is not None


def choose_all(entry: ImageEntry) -> bool:
    """Every image that anybody can choose."""
    return entry.offered


def choose_small(entry: ImageEntry) -> bool:
    """What the demo and the tests start servers from: nothing that brings CUDA."""
    return entry.offered and not entry.on_demand


def choose_changed(entry: ImageEntry) -> bool:
    """The small ones, and of the others those with another lock than their committed passport says."""
    return choose_small(entry) or (entry.offered and entry.lock_hash != recorded_lock_hash(entry))


def recorded_lock_hash(entry: ImageEntry) -> str | None:
    """The lock hash in the passport that lies in the image's folder; None without one."""
    try:
        found = json.loads((entry.folder / PASSPORT).read_text())
    except (OSError, ValueError):
        return None
    return str(found.get("lock_hash")) if isinstance(found, dict) else None


def with_parents(entries: Sequence[ImageEntry], chosen: Choice) -> tuple[ImageEntry, ...]:
    """The chosen images and all that they stand on, in the order in which they can be built."""
    needed = {name for entry in entries if chosen(entry) for name in entry.chain}
    return tuple(entry for entry in entries if entry.name in needed)


def ensure_images(paths: Paths, chosen: Choice = choose_small, *, fresh: bool = False) -> None:
    """Build what is missing, parents first; a build that was cut short goes on from its last finished step.

    Args:
        paths: Of the checkout.
        chosen: Which images are needed; what they stand on is built with them.
        fresh: Build them again, with the packages that the mirror has now.

    Raises:
        SetupError: A build failed, or the catalogue is wrong.
    """
    entries = with_parents(load_catalogue(), chosen)
    todo = list(entries) if fresh else missing_images(entries)
    if not todo:
        return
    # A build that was killed could not clear its files away, and secrets of this host are among them.
    if paths.work.exists():
        shutil.rmtree(paths.work)
    paths.work.mkdir(parents=True)
    by_name = {entry.name: entry for entry in entries}
    with tempfile.TemporaryDirectory(dir=paths.work) as folder:
        secrets = write_secrets(Path(folder) / "secrets")
        for entry in todo:
            if entry.parent is None:
                _bootstrap(paths, entry, Path(folder))
            else:
                _build(paths, entry, by_name[entry.parent], secrets, fresh=fresh)
    say(f"    images: {', '.join(entry.reference for entry in entries if entry.offered)}")


def _bootstrap(paths: Paths, entry: ImageEntry, folder: Path) -> None:
    """Make the image that has no parent from Debian packages."""
    tree = folder / "base.tar"
    settings = json.loads((entry.folder / "base.json").read_text())
    run_step(
        f"Bootstrapping Debian {BASE_RELEASE} for {entry.reference}",
        bootstrap_command(tree, settings, write_bootstrap_files(folder / "bootstrap")),
        log=paths.logs / f"image-{entry.name}.log",
        fix="Check that this host's Debian mirror also serves that release.",
    )
    changes = [word for change in settings["changes"] for word in ("--change", change)]
    run_step(
        f"Importing {entry.reference}",
        ["docker", "import", *changes, str(tree), entry.reference],
        log=paths.logs / f"image-{entry.name}.log",
    )
    capture(["docker", "tag", entry.reference, entry.latest])


def bootstrap_command(tree: Path, settings: Mapping[str, list[str]], files: BootstrapFiles) -> list[str]:
    """The mmdebstrap command that writes a minimal Debian to a tar file."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        f"--include={','.join(settings['packages'])}",
        # Addresses may hold passwords, and everybody on the host can read a command line: hence files.
        f"--aptopt={files.apt}",
        *(f"--dpkgopt={option}" for option in settings["dpkg"]),
        # The host's mirror and its settings are this host's own: they do not belong in the image.
        f"--customize-hook={CLEAN}",
        BASE_RELEASE,
        str(tree),
        str(files.sources),
    ]


def _build(
    paths: Paths, entry: ImageEntry, parent: ImageEntry, secrets: Mapping[str, Path], *, fresh: bool
) -> None:
    lent = [word for name in IMAGE_SECRETS for word in ("--secret", f"id={name},src={secrets[name]}")]
    proxies = [word for name in PROXY_VARIABLES if name in os.environ for word in ("--build-arg", name)]
    command = ["docker", "build", "--progress=plain", "--network=host", *lent, *proxies]
    command += ["--no-cache"] if fresh else []
    described = {"PARENT": parent.reference, "NAME": entry.name, "TITLE": entry.title}
    labels = {"gpuspawner.image": entry.name, "gpuspawner.lock_hash": entry.lock_hash}
    command += [word for key, value in described.items() for word in ("--build-arg", f"{key}={value}")]
    command += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    command += ["-f", str(find_recipe(entry.folder, paths.images))]
    command += ["-t", entry.reference, "-t", entry.latest]
    run_step(
        f"Building {entry.reference}",
        [*command, str(entry.folder)],
        log=paths.logs / f"image-{entry.name}.log",
        environment={"DOCKER_BUILDKIT": "1"},
        fix="Run again to go on where it stopped.",
    )
