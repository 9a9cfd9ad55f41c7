"""Which images the tests start servers from."""

from __future__ import annotations

import os
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
    found = _read_catalogue() if CATALOGUE.exists() else {}
    present = {name: reference for name, reference in found.items() if _is_present(reference)}
    return present or {"Minimal": "tmp/minimal:latest"}


def _is_present(reference: str) -> bool:
    return bool(docker.APIClient(version="auto").images(name=reference))


def _read_catalogue() -> dict[str, str]:
    from gpuspawner.setup.images import load_catalogue  # noqa: PLC0415

    return {entry.title: entry.reference for entry in load_catalogue() if entry.offered}


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
