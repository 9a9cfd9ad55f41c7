"""The order in which a host is prepared, each step only where it is needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .builds import ensure_images, missing_images
from .dockerd import (
    ENGINE_PACKAGES,
    look_at_engine,
    provide_engine_packages,
    start_engine,
    write_daemon_json,
)
from .engine import Action, Verdict, judge_engine
from .environment import ensure_environment, find_python, is_ready
from .errors import SetupError
from .images import load_catalogue
from .packages import install_packages, missing_packages, require_root, update_lists
from .paths import Paths
from .proxy import ensure_proxy

DRIVER = Path("/proc/driver/nvidia/version")
BOOTSTRAP_PACKAGES = ("mmdebstrap", "debian-archive-keyring", "ca-certificates")
TEST_PACKAGES = {"chromium": "chromium", "ip": "iproute2", "busybox": "busybox-static"}
"""Program → package that the tests need beside the demo's."""
SIMULATION_PACKAGES = ("gcc", "libc6-dev")
ENGINE_TOOLS = ("iptables", "ca-certificates")


def prepare(
    paths: Paths, *, engine: bool = True, images: bool = True, tests: bool = False, browser: bool = False
) -> None:
    """Bring the host to the point where the demo or the tests can run.

    Args:
        paths: Of the checkout.
        engine: Whether a Docker Engine with CDI is needed.
        images: Whether the images are needed.
        tests: Whether the Python environment must hold what the tests need.
        browser: Whether chromium and what else the tests run is needed.

    Raises:
        SetupError: Something cannot be had; names it and the fix.
    """
    verdict = _judge() if engine else Verdict(Action.NOTHING)
    needed = list(_packages(paths, verdict, images=engine and images, tests=tests, browser=browser))
    _install(paths, verdict, needed)
    ensure_environment(paths, tests=tests)
    ensure_proxy(paths)
    if engine:
        _start_if_needed(paths, verdict)
    if engine and images:
        ensure_images(paths)


def ensure_engine(paths: Paths) -> None:
    """Bring up a Docker Engine with CDI on, and nothing else.

    Raises:
        SetupError: There is one that is not ours to change, or none can be had; names the fix.
    """
    verdict = _judge()
    if verdict.action is Action.INSTALL:
        _install(paths, verdict, [*ENGINE_PACKAGES, *ENGINE_TOOLS])
    _start_if_needed(paths, verdict)


def _start_if_needed(paths: Paths, verdict: Verdict) -> None:
    # With systemd, the package has started the Engine by itself.
    again = verdict.action is Action.INSTALL and _judge().action is Action.START
    if again or verdict.action is Action.START:
        start_engine(paths)


def _judge() -> Verdict:
    verdict = judge_engine(look_at_engine())
    if verdict.problem is not None:
        raise SetupError(verdict.problem)
    return verdict


def _packages(paths: Paths, verdict: Verdict, *, images: bool, tests: bool, browser: bool) -> Iterable[str]:
    if verdict.action is Action.INSTALL:
        yield from (*ENGINE_PACKAGES, *ENGINE_TOOLS)
    if images and not _all_built(verdict):
        yield from BOOTSTRAP_PACKAGES
        if not _has_buildx():
            yield "docker-buildx"
    if not DRIVER.exists() and shutil.which("gcc") is None:
        yield from SIMULATION_PACKAGES
    if not is_ready(paths, tests=tests) and find_python() is None:
        yield "python3-venv"
    if browser:
        yield from (package for program, package in TEST_PACKAGES.items() if shutil.which(program) is None)


def _all_built(verdict: Verdict) -> bool:
    return verdict.action is Action.NOTHING and not missing_images(load_catalogue())


def _has_buildx() -> bool:
    folders = (
        "/usr/libexec/docker",
        "/usr/lib/docker",
        "/usr/local/lib/docker",
        str(Path.home() / ".docker"),
    )
    return any((Path(folder) / "cli-plugins" / "docker-buildx").exists() for folder in folders)


def _install(paths: Paths, verdict: Verdict, needed: list[str]) -> None:
    missing = missing_packages(needed) if needed else []
    if not missing:
        return
    require_root()
    if verdict.action is Action.INSTALL:
        provide_engine_packages(paths)
        write_daemon_json()
    else:
        update_lists(paths)
    install_packages(missing, paths)
