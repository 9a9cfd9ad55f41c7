"""Building the images that are missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from .console import capture, run_step, say
from .hostconfig import BootstrapFiles, write_bootstrap_files, write_secrets
from .images import SESSION_CONTEXT, ImageEntry, load_catalogue
from .osrelease import BASE_RELEASE
from .paths import Paths
from .session import build_wheel

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
CLEAN = 'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap'
IMAGE_SECRETS = ("sources", "apt", "auth", "pip", "ca")


def missing_images(entries: Iterable[ImageEntry]) -> list[ImageEntry]:
    """Images that the Engine does not have with their present contents."""
    return [entry for entry in entries if not _exists(entry.reference)]


def _exists(reference: str) -> bool:
    return capture(["docker", "image", "inspect", "--format", "{{.Id}}", reference]) is not None


def ensure_images(paths: Paths, *, fresh: bool = False) -> None:
    """Build what is missing, parents first; a build that was cut short starts again here.

    Args:
        paths: Of the checkout.
        fresh: Build all of them again, with the packages that the mirror has now.

    Raises:
        SetupError: A build failed, or the catalogue is wrong.
    """
    entries = load_catalogue()
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
        wheel = None
        if any(entry.takes_session for entry in todo):
            wheel = build_wheel(paths, Path(folder) / "session")
        for entry in todo:
            if entry.parent is None:
                _bootstrap(paths, entry, Path(folder))
            else:
                _build(paths, entry, by_name[entry.parent], secrets, fresh=fresh, wheel=wheel)
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
    paths: Paths,
    entry: ImageEntry,
    parent: ImageEntry,
    secrets: Mapping[str, Path],
    *,
    fresh: bool,
    wheel: Path | None,
) -> None:
    lent = [word for name in IMAGE_SECRETS for word in ("--secret", f"id={name},src={secrets[name]}")]
    proxies = [word for name in PROXY_VARIABLES if name in os.environ for word in ("--build-arg", name)]
    command = ["docker", "build", "--progress=plain", "--network=host", *lent, *proxies]
    command += ["--no-cache"] if fresh else []
    command += ["--build-context", f"{SESSION_CONTEXT}={wheel}"] if entry.takes_session and wheel else []
    command += ["--build-arg", f"PARENT={parent.reference}", "-t", entry.reference, "-t", entry.latest]
    run_step(
        f"Building {entry.reference}",
        [*command, str(entry.folder)],
        log=paths.logs / f"image-{entry.name}.log",
        environment={"DOCKER_BUILDKIT": "1"},
        fix="Run again to go on where it stopped.",
    )
