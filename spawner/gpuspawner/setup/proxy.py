"""configurable-http-proxy, run by the Node of the Python environment."""

from __future__ import annotations

from pathlib import Path

from .npm import ensure_packages, find_node
from .paths import Paths

WRAPPER = """#!/bin/sh
# Written by gpuspawner: the proxy with the Node of the Python environment, whatever Node the system has.
exec "{node}" "{script}" "$@"
"""


def ensure_proxy(paths: Paths) -> None:
    """Install the proxy; ``node/bin/configurable-http-proxy`` runs it.

    Raises:
        SetupError: npm failed.
    """
    wrapper = paths.node / "bin" / "configurable-http-proxy"
    title = "Installing configurable-http-proxy (npm)"
    if ensure_packages(paths, title, paths.setup / "proxy", paths.node) or not wrapper.exists():
        _write_wrapper(wrapper, find_node(paths), paths.node / "node_modules" / "configurable-http-proxy")


def _write_wrapper(wrapper: Path, node: Path, package: Path) -> None:
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(WRAPPER.format(node=node, script=package / "bin" / "configurable-http-proxy"))
    wrapper.chmod(0o755)
