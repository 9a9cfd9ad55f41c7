"""Taking images to machines without Docker: an archive, and a definition for Apptainer: ``make sif``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .builds import image_exists
from .console import capture, run_step, say
from .diskspace import GIB
from .errors import SetupError
from .images import ImageEntry
from .paths import Paths

DEFINITION = """\
# {title}: {description}
#   apptainer build {name}.sif {name}.def      (both files in this folder; no network is needed)
#   apptainer run --nv {name}.sif              JupyterLab on 127.0.0.1:8888; JUPYTER_PORT=9000: there
#   apptainer exec --nv {name}.sif python train.py
Bootstrap: docker-archive
From: {name}.tar

%labels
    gpuspawner.image {name}
    gpuspawner.lock_hash {lock_hash}
    gpuspawner.reference {reference}

%environment
    # /tmp is shared with others on most clusters, and what belongs to one run must be one's own.
    export JUPYTER_RUNTIME_DIR="${{TMPDIR:-/tmp}}/jupyter-runtime-$(id -u)"

%runscript
    exec /usr/local/bin/gpuspawner-entrypoint "${{@:-jupyterhub-singleuser}}"

%test
    /usr/local/bin/gpuspawner-entrypoint python -c "import {probe}"

%help
    {description}
    Python packages that you install go to ~/.local/share/gpuspawner/{name}, which no other image looks into.
"""


def export_images(paths: Paths, entries: Sequence[ImageEntry]) -> None:
    """Write ``NAME.tar`` and ``NAME.def`` for each image; a file has its name only when it is whole.

    Raises:
        SetupError: An image is not built, or the disk has no room; names what is needed.
    """
    folder = paths.state / "sif"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if not image_exists(entry.reference):
            raise SetupError(f"{entry.reference} is not built. Run: make images IMAGE={entry.name}")
        _require_room(entry, folder)
        archive = folder / f"{entry.name}.tar"
        partial = archive.with_name(f"{archive.name}.partial")
        command = ["docker", "save", "-o", str(partial), entry.reference]
        try:
            run_step(f"Writing {archive}", command, log=paths.logs / f"image-{entry.name}.log")
            partial.replace(archive)
        finally:
            partial.unlink(missing_ok=True)
        archive.with_suffix(".def").write_text(define(entry))
    say(f"    take to the other machine: {folder}")


def define(entry: ImageEntry) -> str:
    """The text of an image's Apptainer definition."""
    return DEFINITION.format(
        name=entry.name,
        title=entry.title,
        description=entry.description,
        lock_hash=entry.lock_hash,
        reference=entry.reference,
        probe="torch" if entry.on_demand else "jupyterlab",
    )


def _require_room(entry: ImageEntry, folder: Path) -> None:
    size = int(capture(["docker", "image", "inspect", "--format", "{{.Size}}", entry.reference]) or 0)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SetupError(
            f"The archive of {entry.reference} needs {size / GIB:.1f} GiB in {folder}; {free / GIB:.1f} GiB "
            "are free. Make room, then run again."
        )
