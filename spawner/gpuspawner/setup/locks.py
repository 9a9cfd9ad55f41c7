"""Re-creating every lock file: ``make lock``."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .catalogue import ImageStatus
from .console import capture, run_step, say
from .environment import find_python, pip_environment
from .errors import SetupError
from .images import ImageEntry, load_catalogue
from .npm import find_node, find_npm, npm_environment
from .paths import Paths
from .session import LAB

IMAGE_PYTHON = "3.13"
COMPILE = (
    "pip",
    "compile",
    "--universal",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--quiet",
    "--upgrade",
)


def make_locks(paths: Paths) -> None:
    """Resolve all requirements anew: hub, tests, build, Ansible, images and proxy.

    Raises:
        SetupError: Something cannot be resolved.
    """
    uv = _ensure_uv(paths)
    project = str(paths.root / "pyproject.toml")
    _compile(paths, uv, [project, "--group", "host"], paths.runtime_lock)
    # The tests are run with what the hub runs with: same versions, more packages.
    both = ["--group", "host", "--group", "test", "--constraints", str(paths.runtime_lock)]
    _compile(paths, uv, [project, *both], paths.tests_lock)
    _compile(paths, uv, [str(paths.setup / "build.in")], paths.build_lock)
    # Both read the settings: with the same versions.
    ansible = [str(paths.ansible_lock.with_suffix(".in")), "--constraints", str(paths.runtime_lock)]
    _compile(paths, uv, ansible, paths.ansible_lock)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "hub.txt"
        constraints.write_text(pinned("jupyterhub", paths.runtime_lock.read_text()))
        _lock_images(paths, uv, constraints)
    _lock_npm(paths, "configurable-http-proxy", paths.setup / "proxy")
    editor = paths.images / "editor"
    _compile(paths, uv, [str(editor / "node.in"), "--python-version", IMAGE_PYTHON], editor / "node.lock")
    _lock_npm(paths, "VS Code", editor)
    _lock_npm(paths, "JupyterLab's builder", paths.session / LAB)
    _lock_npm(paths, "the tests' login provider", paths.oidc_sources)


def pinned(package: str, lock: str) -> str:
    """The line ``package==version`` of a lock, as a constraint for another one."""
    for line in lock.splitlines():
        if line.startswith(f"{package}=="):
            return f"{line.split()[0]}\n"
    raise SetupError(f"{package} is not in the lock file of the hub.")


def _lock_images(paths: Paths, uv: Path, hub: Path) -> None:
    above: dict[str, list[str]] = {}
    entries = load_catalogue(locked=False)
    kept = kept_locks(entries)
    for entry in entries:
        inherited = above.get(entry.parent or "", ["--constraints", str(hub)])
        if entry.lock is None:
            above[entry.name] = inherited
            continue
        lock = entry.folder / entry.lock
        above[entry.name] = [*inherited, "--constraints", str(lock)]
        if entry.name in kept and lock.exists():
            say(f"    {lock.relative_to(paths.root)} stays: {kept[entry.name]} is not to change")
            continue
        wanted = [str(lock.with_suffix(".in")), "--python-version", IMAGE_PYTHON, *inherited]
        _compile(paths, uv, wanted, lock)


def kept_locks(entries: Sequence[ImageEntry]) -> dict[str, str]:
    """Images whose locks stay as they are → the frozen or retired image that stands on it, or is it."""
    still = [one for one in entries if one.status in (ImageStatus.FROZEN, ImageStatus.RETIRED)]
    return {name: one.name for one in still for name in one.chain}


def _compile(paths: Paths, uv: Path, arguments: list[str], lock: Path) -> None:
    run_step(
        f"Resolving {lock.relative_to(paths.root)}",
        [str(uv), *COMPILE, *arguments, "--output-file", str(lock)],
        log=paths.logs / "lock.log",
        cwd=paths.root,
    )


def _ensure_uv(paths: Paths) -> Path:
    """The resolver, in an environment of its own: it is needed here only, and is in no lock."""
    uv = paths.state / "lock" / "bin" / "uv"
    if capture([str(uv), "--version"]) is None:
        python = find_python() or sys.executable
        log = paths.logs / "lock.log"
        run_step(
            "Making an environment for uv", [python, "-m", "venv", "--clear", str(uv.parent.parent)], log=log
        )
        pip = [str(uv.with_name("python")), "-m", "pip", "install", "uv"]
        run_step("Installing uv", pip, log=log, environment=pip_environment())
    return uv


def _lock_npm(paths: Paths, what: str, folder: Path) -> None:
    node = find_node(paths)
    lock = folder / "package-lock.json"
    command = ["install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved=true"]
    with tempfile.TemporaryDirectory() as work:
        shutil.copy(lock.with_name("package.json"), work)
        run_step(
            f"Resolving {what}",
            [str(node), str(find_npm(node)), *command],
            log=paths.logs / "lock.log",
            environment=npm_environment(node),
            cwd=Path(work),
        )
        tree = json.loads((Path(work) / lock.name).read_text())
    lock.write_text(json.dumps(strip_addresses(tree), indent=2) + "\n")


def strip_addresses(tree: dict[str, Any]) -> dict[str, Any]:
    """A package-lock without addresses: packages come from where the host gets them; the hashes decide."""
    for package in tree.get("packages", {}).values():
        package.pop("resolved", None)
        package.pop("funding", None)
    return tree
