"""Which images the tests start servers from."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import docker

VARIABLE = "GPUSPAWNER_TEST_IMAGES"
CATALOGUE = Path(__file__).parents[2] / "images" / "images.toml"


def default_images() -> dict[str, str]:
    """Image name → reference: from the variable (``name=reference,…``), else the catalogue.

    The first is the smallest, with JupyterLab.
    """
    if named := os.environ.get(VARIABLE):
        return dict(pair.split("=", 1) for pair in named.split(","))
    present = _find_built(small=True)
    assert present, "these tests need the images of the catalogue: make images"
    return present


def training_images() -> dict[str, str]:
    """The same of those of the catalogue with PyTorch and TensorBoard; none where none is built."""
    return _find_built(small=False)


def _find_built(*, small: bool) -> dict[str, str]:
    found = _read_catalogue(small=small) if CATALOGUE.exists() else {}
    return {title: reference for title, reference in found.items() if _is_present(reference)}


def _is_present(reference: str) -> bool:
    return bool(docker.APIClient(version="auto").images(name=reference))


def _read_catalogue(*, small: bool) -> dict[str, str]:
    from gpuspawner.setup.builds import choose_small  # noqa: PLC0415
    from gpuspawner.setup.images import load_catalogue  # noqa: PLC0415

    offered = [entry for entry in load_catalogue() if entry.offered]
    return {entry.title: entry.reference for entry in offered if choose_small(entry) is small}


@contextmanager
def derived_image(*lines: str) -> Iterator[str]:
    """The smallest image with more lines in its Dockerfile; its reference. Removed at the end."""
    base = next(iter(default_images().values()))
    client = docker.APIClient(version="auto", timeout=300)
    reference = f"gpuspawner-test/derived:{os.urandom(4).hex()}"
    dockerfile = "\n".join([f"FROM {base}", *lines])
    for line in client.build(fileobj=BytesIO(dockerfile.encode()), tag=reference, rm=True, decode=True):
        assert "error" not in line, line["error"]
    try:
        yield reference
    finally:
        client.remove_image(reference, force=True)
        client.close()


TINY = "gpuspawner-test/tiny:1"
TINY_SERVER = ["httpd", "-f", "-p", "8888", "-h", "/home/jovyan"]
"""Answers in the tiny image, for ``c.GPUSpawner.cmd``."""


def import_tiny_image(client: docker.APIClient) -> str:
    """Give an Engine an image of 2 MB, with a shell and a web server; no registry is asked. Its reference."""
    busybox = shutil.which("busybox")
    assert busybox, "these tests need busybox: apt-get install busybox-static"
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in ("sh", "httpd", "cat", "echo", "ls", "sleep"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        home = tarfile.TarInfo("home/jovyan")
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
        tar.addfile(home)
    name, _, tag = TINY.partition(":")
    client.import_image_from_data(archive.getvalue(), repository=name, tag=tag)
    return TINY
