"""Building the images that are missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from .console import capture, run_step, say
from .diskspace import require_space
from .errors import SetupError
from .hostconfig import BootstrapFiles, write_bootstrap_files, write_secrets
from .images import FINISH, PASSPORT, SESSION, ImageEntry, find_recipe, load_catalogue
from .osrelease import BASE_RELEASE
from .paths import Paths
from .registry import fetch_images
from .session import build_wheel

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
CLEAN = 'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
IMAGE_SECRETS = ("sources", "apt", "auth", "pip", "npm", "ca")
Choice = Callable[[ImageEntry], bool]
"""Which images somebody needs."""


def choose_all(entry: ImageEntry) -> bool:
    """Every image that anybody can choose."""
    return entry.offered


def choose_small(entry: ImageEntry) -> bool:
    """What the demo and the tests start servers from: nothing that brings CUDA."""
    return entry.offered and not entry.on_demand


def choose_changed(entry: ImageEntry) -> bool:
    """The small ones, and of the others those with another lock than their committed passport says."""
    return choose_small(entry) or (entry.offered and entry.lock_hash != recorded_lock_hash(entry))


def choose_named(*names: str) -> Choice:
    """Those with these names."""
    return lambda entry: entry.name in names


def require_names(entries: Iterable[ImageEntry], names: Iterable[str]) -> None:
    """Refuse names that the catalogue does not have, and those of layers. Raises: SetupError."""
    known = [entry.name for entry in entries if entry.reference != entry.packages]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Images are: {', '.join(known)}."
            raise SetupError(f"There is no image {name!r} to be built. {hint}")


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


def missing_images(entries: Iterable[ImageEntry]) -> list[ImageEntry]:
    """Images that the Engine does not have with their present contents."""
    return [entry for entry in entries if not image_exists(entry.reference)]


def image_exists(reference: str) -> bool:
    """Whether the Engine has it."""
    return capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference]) is not None


def plan_builds(
    entries: Sequence[ImageEntry], chosen: Choice, has: Callable[[str], bool]
) -> list[ImageEntry]:
    """What is to be built, parents first: what is chosen and missing, and what that stands on and is missing.

    Args:
        entries: The catalogue, parents first.
        chosen: Which images are needed.
        has: Whether the Engine has a reference.
    """
    by_name = {entry.name: entry for entry in entries}
    todo = {entry.name for entry in entries if chosen(entry) and not has(entry.reference)}
    for entry in reversed(entries):
        # What has its packages needs no parent.
        parent = by_name.get(entry.parent or "")
        if entry.name in todo and parent and not (has(entry.packages) or has(parent.packages)):
            todo.add(parent.name)
    return [entry for entry in entries if entry.name in todo]


def ensure_images(paths: Paths, chosen: Choice = choose_small, *, fresh: bool = False) -> None:
    """Build what is missing, parents first; a build that was cut short goes on from its last finished step.

    An image gets its name only when it is finished, so whatever goes wrong leaves the one before in place.

    Args:
        paths: Of the checkout.
        chosen: Which images are needed.
        fresh: Build them again, with the packages that the mirror has now.

    Raises:
        SetupError: A build failed, the disk is too full for it, or the catalogue is wrong.
    """
    entries = load_catalogue(paths.images / "images.toml")
    wanted = [entry for entry in entries if chosen(entry)]
    if fresh:
        todo = list(with_parents(entries, chosen))
    else:
        fetch_images(paths, [entry for entry in wanted if not image_exists(entry.reference)])
        todo = plan_builds(entries, chosen, image_exists)
    if not todo:
        return
    require_space(todo, there=(lambda reference: False) if fresh else image_exists)
    # A build that was killed could not clear its files away, and secrets of this host are among them.
    if paths.work.exists():
        shutil.rmtree(paths.work)
    paths.work.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=paths.work) as folder:
        site = Site(paths, Path(folder), write_secrets(Path(folder) / "secrets"), fresh)
        by_name = {entry.name: entry for entry in entries}
        for entry in todo:
            _make(site, entry, by_name.get(entry.parent or ""))
    say(f"    images: {', '.join(entry.reference for entry in wanted)}")


@dataclass(slots=True)
class Site:
    """What the builds of one run share."""

    paths: Paths
    folder: Path
    """For files that are needed until the end of the run."""
    secrets: Mapping[str, Path]
    fresh: bool
    _wheel: Path | None = None

    def wheel(self) -> Path:
        """The folder with the wheel of gpuspawner-session, which is built when it is first asked for."""
        if self._wheel is None:
            self._wheel = build_wheel(self.paths, self.folder / SESSION)
        return self._wheel


def _make(site: Site, entry: ImageEntry, parent: ImageEntry | None) -> None:
    if site.fresh or not image_exists(entry.packages):
        if parent is None:
            _bootstrap(site, entry)
        else:
            _build_packages(site, entry, parent)
    if entry.reference != entry.packages:
        _finish(site, entry)


def _bootstrap(site: Site, entry: ImageEntry) -> None:
    """Make the image that has no parent from Debian packages."""
    log = site.paths.logs / f"image-{entry.name}.log"
    tree = site.folder / "base.tar"
    settings = json.loads((entry.folder / "base.json").read_text())
    run_step(
        f"Bootstrapping Debian {BASE_RELEASE} for {entry.reference}",
        bootstrap_command(tree, settings, write_bootstrap_files(site.folder / "bootstrap")),
        log=log,
        fix="Check that this host's Debian mirror also serves that release.",
    )
    changes = [word for change in settings["changes"] for word in ("--change", change)]
    run_step(
        f"Importing {entry.reference}", ["docker", "import", *changes, str(tree), entry.reference], log=log
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


def _build_packages(site: Site, entry: ImageEntry, parent: ImageEntry) -> None:
    lent = [word for name in IMAGE_SECRETS for word in ("--secret", f"id={name},src={site.secrets[name]}")]
    proxies = [word for name in PROXY_VARIABLES if name in os.environ for word in ("--build-arg", name)]
    command = ["--network=host", *lent, *proxies, "--build-arg", f"PARENT={parent.packages}"]
    command += ["-f", str(find_recipe(entry.folder, site.paths.images)), "-t", entry.packages]
    command += ["-t", entry.latest] if entry.reference == entry.packages else []
    _build(site, entry, f"Building {entry.packages}", [*command, str(entry.folder)])


def _finish(site: Site, entry: ImageEntry) -> None:
    arguments = {"PACKAGES": entry.packages, "CHAIN": ",".join(entry.chain), "TITLE": entry.title}
    labels = {"gpuspawner.image": entry.name, "gpuspawner.lock_hash": entry.lock_hash}
    command = ["--build-context", f"{SESSION}={site.wheel()}", "-t", entry.reference, "-t", entry.latest]
    command += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    command += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    _build(site, entry, f"Finishing {entry.reference}", [*command, str(site.paths.images / FINISH)])


def _build(site: Site, entry: ImageEntry, title: str, options: Sequence[str]) -> None:
    run_step(
        title,
        ["docker", "build", "--progress=plain", *(["--no-cache"] if site.fresh else []), *options],
        log=site.paths.logs / f"image-{entry.name}.log",
        environment={"DOCKER_BUILDKIT": "1"},
        fix="No image was changed. Run again to go on where it stopped.",
    )
