"""The order in which a host is prepared, each step only where it is needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from .builds import Choice, choose_small, ensure_images, missing_images, with_parents
from .console import say
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
from .npm import ensure_packages
from .packages import install_packages, missing_packages, require_root, unpack_package, update_lists
from .paths import Paths
from .proxy import ensure_proxy

DRIVER = Path("/proc/driver/nvidia/version")
BOOTSTRAP_PACKAGES = ("mmdebstrap", "debian-archive-keyring", "ca-certificates")
TEST_PROGRAMS, BROWSER_PROGRAMS = ("busybox", "ssh", "sshd", "rsync", "curl", "ip"), ("chromium",)
"""What the tests run beside the demo's programs."""
PACKAGES = {
    "chromium": "chromium",
    "busybox": "busybox-static",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "curl": "curl",
    "ip": "iproute2",
}
"""Program → package."""
TEST_LOGIN = "Installing the tests' login provider (npm)"
TEST_REGISTRY = "docker-registry"
"""Unpacked and not installed: with systemd, installing it starts a registry for everybody."""
SIMULATION_PACKAGES = ("gcc", "libc6-dev")
ENGINE_TOOLS = ("iptables", "ca-certificates")


def prepare(paths: Paths, *, images: Choice | None = choose_small, tests: bool = False) -> None:
    """Bring the host to the point where the demo, or every test, can run.

    Args:
        paths: Of the checkout.
        images: Which images are needed; None for none of them.
        tests: Whether what the tests need, chromium included, is needed too.

    Raises:
        SetupError: Something cannot be had; names it and the fix.
    """
    verdict = _judge()
    needed = [
        *_engine_packages(verdict),
        *(_image_packages(verdict, images) if images else ()),
        *_compiler_packages(tests=tests),
        *_python_packages(paths, tests=tests),
        *(_programs(*TEST_PROGRAMS, *BROWSER_PROGRAMS) if tests else ()),
    ]
    _install(paths, verdict, needed)
    ensure_environment(paths, tests=tests)
    ensure_proxy(paths)
    if tests:
        ensure_packages(paths, TEST_LOGIN, paths.oidc_sources, paths.oidc)
        unpack_package(TEST_REGISTRY, paths.registry, paths)
    _start_if_needed(paths, verdict)
    if images:
        ensure_images(paths, images)


def prepare_environment(paths: Paths, *, compiler: bool) -> None:
    """Make the Python environment with what linters and tests need; takes no root where there is a Python.

    Args:
        paths: Of the checkout.
        compiler: Whether gcc is needed: the tests of the simulated cards build them.

    Raises:
        SetupError: Something cannot be had; names it and the fix.
    """
    needed = [*(_compiler_packages(tests=True) if compiler else ()), *_python_packages(paths, tests=True)]
    _install(paths, Verdict(Action.NOTHING), needed)
    ensure_environment(paths, tests=True)


def prepare_release(paths: Paths) -> None:
    """Make environment and proxy, for every user of this machine; packages of Debian are there already.

    Raises:
        SetupError: Something cannot be had; names it and the fix.
    """
    os.umask(0o022)
    ensure_environment(paths, tests=False)
    ensure_proxy(paths)


def prepare_what_can_be(paths: Paths) -> None:
    """Bring the host to the point where as many tests as possible can run.

    Without a browser or a usable Engine the others still run; the tests themselves count what is left out.

    Raises:
        SetupError: Something that every test needs cannot be had, or an image cannot be built.
    """
    prepare_environment(paths, compiler=True)
    ensure_proxy(paths)
    ensure_packages(paths, TEST_LOGIN, paths.oidc_sources, paths.oidc)
    nothing = Verdict(Action.NOTHING)
    _attempt("some tests", lambda: _install(paths, nothing, list(_programs(*TEST_PROGRAMS))))
    _attempt("the browser tests", lambda: _install(paths, nothing, list(_programs(*BROWSER_PROGRAMS))))
    _attempt("the tests of a registry", lambda: unpack_package(TEST_REGISTRY, paths.registry, paths))
    if _attempt("the tests with Docker", lambda: ensure_engine(paths)):
        _install(paths, nothing, list(_image_packages(nothing)))
        ensure_images(paths, choose_small)


def _attempt(what: str, step: Callable[[], None]) -> bool:
    try:
        step()
    except SetupError as error:
        say(f"    warning: {what} cannot run here. {error}\n    Going on with the others.")
        return False
    return True


def ensure_engine(paths: Paths) -> None:
    """Bring up a Docker Engine with CDI on, and nothing else.

    Raises:
        SetupError: There is one that is not ours to change, or none can be had; names the fix.
    """
    verdict = _judge()
    _install(paths, verdict, list(_engine_packages(verdict)))
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


def _engine_packages(verdict: Verdict) -> Iterable[str]:
    return (*ENGINE_PACKAGES, *ENGINE_TOOLS) if verdict.action is Action.INSTALL else ()


def _image_packages(verdict: Verdict, chosen: Choice = choose_small) -> Iterable[str]:
    if not _all_built(verdict, chosen):
        yield from BOOTSTRAP_PACKAGES
        if not _has_buildx():
            yield "docker-buildx"


def _compiler_packages(*, tests: bool) -> Iterable[str]:
    # The demo simulates cards only where there are none; the tests do it everywhere.
    wanted = tests or not DRIVER.exists()
    return SIMULATION_PACKAGES if wanted and shutil.which("gcc") is None else ()


def _python_packages(paths: Paths, *, tests: bool) -> Iterable[str]:
    return () if is_ready(paths, tests=tests) or find_python() is not None else ("python3-venv",)


def _programs(*programs: str) -> Iterable[str]:
    return (PACKAGES[program] for program in programs if shutil.which(program) is None)


def _all_built(verdict: Verdict, chosen: Choice) -> bool:
    return verdict.action is Action.NOTHING and not missing_images(with_parents(load_catalogue(), chosen))


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
