"""Debian packages on this host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .console import capture, run_step, say
from .errors import SetupError
from .paths import Paths

APT_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "NEEDRESTART_SUSPEND": "1"}
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# gpuspawner: no service starts while packages are installed\nexit 101\n"
LOCK_WAIT = "DPkg::Lock::Timeout=300"


def has_systemd() -> bool:
    """Whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir()


def missing_packages(names: Iterable[str]) -> list[str]:
    """Which of these are not installed."""
    wanted = list(dict.fromkeys(names))
    shown = capture(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    if shown is None:
        raise SetupError(
            f"dpkg-query does not work here. Install these by hand, then run again: {' '.join(wanted)}"
        )
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def require_root() -> None:
    """Check that packages can be installed.

    Raises:
        SetupError: This is not root.
    """
    if os.geteuid() != 0:
        raise SetupError(
            "Something must be installed on this machine, which takes root. Run the same command with sudo."
        )


def update_lists(paths: Paths) -> None:
    """Fetch the package lists. One broken third-party source must not stop the rest: failure is only told."""
    try:
        run_step(
            "Reading Debian's package lists",
            ["apt-get", "update", "-q"],
            log=paths.logs / "apt.log",
            environment=APT_ENVIRONMENT,
            fix="Check the mirrors in /etc/apt/sources.list and /etc/apt/sources.list.d, and the network.",
        )
    except SetupError as error:
        say(f"    warning: {error}\n    Going on with the lists that are there.")


def install_packages(names: Iterable[str], paths: Paths) -> None:
    """Install packages that are missing, in one go; the lists must be fresh."""
    wanted = list(names)
    log = paths.logs / "apt.log"
    with _no_service_starts():
        if capture(["dpkg", "--audit"], seconds=60):
            run_step(
                "Finishing an earlier installation that was cut short",
                ["dpkg", "--configure", "-a"],
                log=log,
                environment=APT_ENVIRONMENT,
            )
        run_step(
            f"Installing Debian packages: {' '.join(wanted)}",
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", LOCK_WAIT, *wanted],
            log=log,
            environment=APT_ENVIRONMENT,
            fix="If another program holds apt's lock, wait for it and run again.",
        )


def unpack_package(name: str, folder: Path, paths: Paths) -> None:
    """Have the files of a package in a folder; nothing is installed, so no service of it is started.

    Args:
        name: The package.
        folder: Where its files are to be; it is there only when all of them are.
        paths: Of the checkout.

    Raises:
        SetupError: No mirror has it.
    """
    if folder.exists():
        return
    log = paths.logs / "apt.log"
    with tempfile.TemporaryDirectory(dir=paths.state) as work:
        unpacked = Path(work) / "unpacked"
        get = ["apt-get", "download", "-q", name]
        if not _has_candidate(name):
            update_lists(paths)
        run_step(f"Fetching {name}", get, log=log, environment=APT_ENVIRONMENT, cwd=Path(work))
        (archive,) = Path(work).glob("*.deb")
        run_step(f"Unpacking {name}", ["dpkg-deb", "-x", str(archive), str(unpacked)], log=log)
        unpacked.replace(folder)


def _has_candidate(name: str) -> bool:
    """Whether the package lists that are here have it."""
    return bool(capture(["apt-cache", "--quiet=2", "show", "--no-all-versions", name]))


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep packages from starting services where no systemd looks after them."""
    site_has_one = POLICY.exists() and POLICY.read_text(errors="replace") != POLICY_TEXT
    if has_systemd() or site_has_one:
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
