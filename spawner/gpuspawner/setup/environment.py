"""The Python environment of the project, from lock files with hashes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from .console import capture, run_step
from .errors import SetupError
from .paths import Paths
from .stamps import digest_files, drop_stamp, read_stamp, write_stamp

LEAST_PYTHON = (3, 11)
DEBIAN_PYTHON = "/usr/bin/python3"
PROBE = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"


def find_python() -> str | None:
    """A Python that is new enough and can make an environment with pip, or None."""
    for candidate in (sys.executable, "python3", DEBIAN_PYTHON):
        if candidate and shutil.which(candidate) and capture([candidate, "-c", PROBE]) is not None:
            return candidate
    return None


def is_ready(paths: Paths, *, tests: bool) -> bool:
    """Whether the environment was finished with the locks as they are now."""
    stamp = read_stamp(_stamp(paths))
    return paths.python.exists() and all(stamp.get(k) == v for k, v in _wanted(paths, tests=tests).items())


def ensure_environment(paths: Paths, *, tests: bool) -> None:
    """Make or complete the environment.

    Args:
        paths: Of the checkout.
        tests: Whether what the tests need belongs in it.

    Raises:
        SetupError: No Python here can make one, or an installation failed.
    """
    if is_ready(paths, tests=tests):
        return
    stamp = read_stamp(_stamp(paths))
    wanted = _wanted(paths, tests=tests)
    # An environment without its stamp was cut short, one of another lock holds what nobody asked for, and the
    # programs in one that was moved begin with the path of a Python that is no longer there.
    moved = stamp.get("venv") != wanted["venv"]
    if moved or stamp.get("runtime") != wanted["runtime"] or not paths.python.exists():
        _make_venv(paths)
        stamp = {}
    drop_stamp(_stamp(paths))
    lock = paths.tests_lock if tests else paths.runtime_lock
    if stamp.get("tests" if tests else "runtime") != wanted["tests" if tests else "runtime"]:
        _pip(paths, f"Installing Python packages ({lock.relative_to(paths.root)})", ["-r", str(lock)])
    if stamp.get("project") != wanted["project"]:
        _pip(paths, "Installing what builds the project", ["-r", str(paths.build_lock)])
        _pip(
            paths, "Installing gpuspawner from this checkout",
            ["--no-deps", "--no-build-isolation", "-e", str(paths.root), "-e", str(paths.session)],
            hashes=False,
        )  # fmt: skip
    write_stamp(_stamp(paths), {**stamp, **wanted})


def _stamp(paths: Paths) -> Path:
    return paths.venv / "gpuspawner-ready.json"


def _wanted(paths: Paths, *, tests: bool) -> dict[str, str]:
    wanted = {
        "venv": str(paths.venv),
        "runtime": digest_files([paths.runtime_lock]),
        "project": digest_files(
            [*(part / "pyproject.toml" for part in (paths.root, paths.session)), paths.build_lock]
        ),
    }
    return {**wanted, "tests": digest_files([paths.tests_lock])} if tests else wanted


def _make_venv(paths: Paths) -> None:
    python = find_python()
    if python is None:
        raise SetupError("No Python 3.11 or newer here can make an environment. apt-get install python3-venv")
    if paths.venv.exists():
        shutil.rmtree(paths.venv)
    run_step(
        "Making a Python environment", [python, "-m", "venv", str(paths.venv)], log=paths.logs / "pip.log"
    )


def _pip(paths: Paths, title: str, arguments: list[str], *, hashes: bool = True) -> None:
    require = ["--require-hashes"] if hashes else []
    command = [str(paths.python), "-m", "pip", "install", "--no-input", *require, *arguments]
    run_step(
        title,
        command,
        log=paths.logs / "pip.log",
        environment=pip_environment(),
        fix="If it is about the network or a certificate, check `pip config list`; otherwise run again.",
    )


def pip_environment() -> dict[str, str]:
    """Variables that make pip trust what this host trusts, unless the host says otherwise itself."""
    bundle = ca_bundle()
    configured = capture([sys.executable, "-m", "pip", "config", "get", "global.cert"]) or os.environ.get(
        "PIP_CERT"
    )
    base = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": ""}
    return base if configured or bundle is None else {**base, "PIP_CERT": str(bundle)}


def ca_bundle() -> Path | None:
    """The host's bundle of certificate authorities."""
    named = os.environ.get("SSL_CERT_FILE")
    for path in (named, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if path and Path(path).is_file():
            return Path(path)
    return None
