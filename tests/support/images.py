"""Which images the tests start servers from."""

from __future__ import annotations

import os
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
