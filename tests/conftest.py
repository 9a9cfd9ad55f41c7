"""Which tests can run on this machine, a count of those that cannot, and which of them run side by side."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import docker
import pytest
from gpuspawner.setup.paths import Paths
from support.side_by_side import OneHubAtATime, on_the_floor


@cache
def why_no_docker() -> str | None:
    try:
        info = docker.APIClient(version="auto", timeout=5, **docker.utils.kwargs_from_env()).info()
    except docker.errors.DockerException as error:
        return f"need a Docker Engine ({error})"
    return None if info.get("CDISpecDirs") else "need a Docker Engine with CDI on"


@cache
def why_no_browser() -> str | None:
    return None if shutil.which("chromium") else "need a browser (apt install chromium)"


@cache
def why_no_gpu() -> str | None:
    clean = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "GPUSPAWNER_SIM_ROOT")}
    count = "import pynvml; pynvml.nvmlInit(); assert pynvml.nvmlDeviceGetCount()"
    found = subprocess.run(
        [sys.executable, "-c", count], env=clean, capture_output=True, timeout=60, check=False
    )
    return None if found.returncode == 0 else "need an NVIDIA card and its driver"


@cache
def why_no_registry() -> str | None:
    return None if Paths().registry.exists() else "need Debian's docker-registry (make test fetches it)"


@cache
def why_no_ssh() -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in ("sshd", "ssh", "rsync", "curl") if not shutil.which(name, path=path)]
    return "need OpenSSH (apt install openssh-server rsync curl)" if missing else None


def why_no_server() -> str | None:
    # Minutes each: CI runs them when the playbooks have changed.
    return None if os.environ.get("GPUSPAWNER_TEST_SERVER") else "of servers are run by: make test-ansible"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker": why_no_docker,
    "browser": why_no_browser,
    "gpu": why_no_gpu,
    "registry": why_no_registry,
    "server": why_no_server,
    "ssh": why_no_ssh,
}
NOT_RUN = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        metavar="NEED,…",
        help=f"fail where one of these is missing, instead of leaving its tests out: {', '.join(NEEDS)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    for need in filter(None, config.getoption("--require").split(",")):
        if need not in NEEDS:
            raise pytest.UsageError(f"--require knows {', '.join(NEEDS)}, not {need!r}")
        if why := NEEDS[need]():
            raise pytest.UsageError(f"--require={need}, but the tests {why}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing: dict[str, int] = {}
    kept, left_out = [], []
    for item in items:
        reason = next(
            (why for need, find in NEEDS.items() if item.get_closest_marker(need) and (why := find())), None
        )
        if reason is None:
            kept.append(item)
        else:
            left_out.append(item)
            missing[reason] = missing.get(reason, 0) + 1
    items[:] = kept
    config.stash[NOT_RUN] = missing
    if left_out:
        config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneHubAtATime | None:
    return OneHubAtATime(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with on_the_floor(alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What one of several processes tells the one that prints the end."""
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["not run"] = session.config.stash.get(NOT_RUN, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # All have collected the same; one that crashed tells nothing.
    if told := getattr(node, "workeroutput", None):
        node.config.stash[NOT_RUN] = told["not run"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash.get(NOT_RUN, {}).items():
        terminalreporter.write_line(
            f"not run here: {count} test{'s' if count > 1 else ''} {reason}", yellow=True
        )
