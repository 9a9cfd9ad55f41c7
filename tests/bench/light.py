"""The image of the light single-user server: one static program in an otherwise empty image."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import jupyterhub


@contextmanager
def light_image() -> Iterator[str]:
    """Make the image, and remove it at the end; its reference."""
    engine = docker.APIClient(version="auto")
    tag = secrets.token_hex(4)
    reference = f"gpuspawner-bench/light:{tag}"
    answer = engine.import_image_from_data(
        _pack(_compile()),
        repository="gpuspawner-bench/light",
        tag=tag,
        changes=["USER 1000", 'CMD ["/light"]'],
    )
    assert "error" not in json.loads(answer.strip().splitlines()[-1]), answer
    try:
        yield reference
    finally:
        engine.remove_image(reference, force=True)
        engine.close()


def _compile() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "light"
        version = f'-DHUB_VERSION="{jupyterhub.__version__}"'
        source = Path(__file__).with_name("light.c")
        subprocess.run(["gcc", "-static", "-O2", version, "-o", program, source], check=True)
        return program.read_bytes()


def _pack(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("light")
        entry.size, entry.mode = len(program), 0o755
        archive.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()
