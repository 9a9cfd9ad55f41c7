"""Which tests can run on this machine, and a count of those that cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache

import docker
import pytest


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


def why_no_server() -> str | None:
    # Minutes each: CI runs them when the playbooks have changed.
    return None if os.environ.get("GPUSPAWNER_TEST_SERVER") else "of servers are run by: make test-ansible"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker": why_no_docker,
    "browser": why_no_browser,
    "gpu": why_no_gpu,
    "server": why_no_server,
}
NOT_RUN = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        metavar="NEED,…",
        help=f"fail where one of these is missing, instead of leaving its tests out: {', '.join(NEEDS)}",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    required = set(filter(None, config.getoption("--require").split(",")))
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
    for need in required:
        if need not in NEEDS:
            raise pytest.UsageError(f"--require knows {', '.join(NEEDS)}, not {need!r}")
        if why := NEEDS[need]():
            raise pytest.UsageError(f"--require={need}, but the tests {why}")
    items[:] = kept
    config.stash[NOT_RUN] = missing
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash.get(NOT_RUN, {}).items():
        terminalreporter.write_line(
            f"not run here: {count} test{'s' if count > 1 else ''} {reason}", yellow=True
        )
