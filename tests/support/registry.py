"""A registry of images, listening on this machine alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from gpuspawner.setup.paths import Paths

from .installation import wait_for
from .side_by_side import free_port

CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def run_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry with its data in a folder; its address, for ``GPUSPAWNER_REGISTRY``.

    Engines take one on 127.0.0.1 without TLS.
    """
    port, config = free_port(), folder / "registry.yml"
    config.write_text(CONFIG.format(root=folder / "registry", port=port))
    program = Paths().registry / "usr" / "bin" / "docker-registry"
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: _answers(port, process, folder), "the registry's start")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "registry.log").read_text()[-3000:]
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=5).ok
    except requests.ConnectionError:
        return False
