"""The Docker Engine of this host: looking at it, installing it, starting it, stopping what was started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .apt_sources import pin_text, read_sources, translate_suite
from .console import capture, say, tail
from .engine import DAEMON_JSON, LEAST_ENGINE, EngineFacts
from .errors import SetupError
from .osrelease import BASE_RELEASE, read_release
from .packages import has_systemd, update_lists
from .paths import Paths
from .private import has_login, write_private
from .stamps import drop_stamp, read_stamp, write_stamp
from .versions import is_at_least, parse_version

ENGINE_PACKAGES = ("docker.io", "docker-cli", "docker-buildx")
START_SECONDS = 60
SOURCES_FILE = Path("/etc/apt/sources.list.d/gpuspawner-trixie.list")
PIN_FILE = Path("/etc/apt/preferences.d/gpuspawner")
HINTS = {
    "iptables": "The kernel or the iptables package is missing: apt-get install iptables",
    "cgroup": "The control groups are not mounted: apt-get install cgroupfs-mount && cgroupfs-mount",
    "unable to configure the Docker daemon with file": f"Correct {DAEMON_JSON} as the message says.",
    "overlay": "The disk below /var/lib/docker cannot hold overlays: put it on ext4 or xfs.",
    "operation not permitted": "This machine may not start containers: if it is one, it must be privileged.",
}
"""Words in the Engine's log → what to do about them."""


def look_at_engine() -> EngineFacts:
    """Find out what there is."""
    info = engine_info()
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    version: str | None = None
    if info is not None:
        version = str(info["ServerVersion"])
    elif dockerd:
        version = (capture([dockerd, "--version"]) or "").strip() or None
    return EngineFacts(
        installed=dockerd is not None,
        running=info is not None,
        version=version,
        cdi=bool(info.get("CDISpecDirs")) if info is not None else None,
        daemon_json=_read(Path(DAEMON_JSON)),
        systemd=has_systemd(),
    )


def engine_info() -> dict[str, object] | None:
    """What a running Engine says about itself, or None if none answers."""
    text = capture(["docker", "info", "--format", "{{json .}}"], seconds=20)
    try:
        info = json.loads(text or "")
    except ValueError:
        return None
    return info if isinstance(info, dict) and info.get("ServerVersion") else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def provide_engine_packages(paths: Paths) -> None:
    """Make an Engine that is new enough installable, pinned to Debian 13 where the own release has none.

    Raises:
        SetupError: This is a system for which that is not known to work.
    """
    update_lists(paths)
    if is_at_least(_candidate(), LEAST_ENGINE):
        return
    release = read_release()
    if release.id != "debian" or release.codename != "bookworm":
        raise SetupError(
            f"{release.name} has no Docker Engine 26 or newer among its packages. Install one as its makers "
            "describe, switch CDI on, and run the same command again."
        )
    sources = translate_suite(read_sources(), release.codename, BASE_RELEASE)
    if not sources:
        raise SetupError("No Debian mirror is set up for bookworm main. Add one to /etc/apt/sources.list.")
    lines = "".join(f"{source.one_line()}\n" for source in sources)
    PIN_FILE.write_text(pin_text(BASE_RELEASE, ENGINE_PACKAGES))
    write_sources(
        SOURCES_FILE,
        f"# Written by gpuspawner for the Docker Engine; {PIN_FILE} keeps all else away.\n{lines}",
    )
    update_lists(paths)
    if not is_at_least(_candidate(), LEAST_ENGINE):
        raise SetupError(
            f"This machine's mirrors do not serve Debian {BASE_RELEASE}, from where the Docker Engine would "
            f"come. See {SOURCES_FILE} and {paths.logs / 'apt.log'}."
        )


def write_sources(file: Path, text: str) -> None:
    """Write package sources for apt; where an address holds a password, for root alone."""
    write_private(file, text)
    if not has_login(text):
        file.chmod(0o644)


def _candidate() -> tuple[int, ...] | None:
    shown = capture(["apt-cache", "policy", "docker.io"]) or ""
    line = next((line for line in shown.splitlines() if "Candidate:" in line), "")
    return parse_version(line.partition(":")[2])


def write_daemon_json() -> None:
    """Switch CDI on for an Engine that is about to be installed; a file that is there stays."""
    path = Path(DAEMON_JSON)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"features": {"cdi": true}}\n')


def start_engine(paths: Paths) -> None:
    """Start the Engine that is installed, and wait until it answers.

    Raises:
        SetupError: It did not come up; with the last lines of its log.
    """
    started = time.monotonic()
    if has_systemd():
        say("==> Starting the Docker Engine (systemd)")
        capture(["systemctl", "start", "docker"], seconds=START_SECONDS)
        process, log = None, paths.logs / "dockerd.log"
    else:
        log = paths.logs / "dockerd.log"
        say(f"==> Starting the Docker Engine (log: {log})")
        process = _spawn_engine(paths, log)
    while engine_info() is None:
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() - started > START_SECONDS:
            raise SetupError(_explain_no_start(log, systemd=process is None))
        time.sleep(0.3)
    say(f"    done in {time.monotonic() - started:.0f} s")


def _spawn_engine(paths: Paths, log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    # /usr/sbin, where dockerd and iptables are, is missing from the PATH that plain `su` leaves.
    search = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "PATH": search},
            start_new_session=True,
        )
    write_stamp(paths.engine_pid, {"pid": str(process.pid), "started": _start_time(process.pid)})
    return process


def _explain_no_start(log: Path, *, systemd: bool) -> str:
    if systemd:
        text = capture(["journalctl", "-u", "docker", "-n", "20", "--no-pager", "-o", "cat"]) or ""
        where = "journalctl -u docker"
    else:
        text, where = tail(log, without="level=info"), str(log)
    fix = next((hint for word, hint in HINTS.items() if word in text.lower()), "The last lines say why.")
    return f"The Docker Engine did not start. {fix}\nIts log is {where}; it ends with:\n{text}"


def stop_engine(paths: Paths) -> None:
    """Stop the Engine if it was started from this checkout, and is still the same process."""
    stamp = read_stamp(paths.engine_pid)
    pid = int(stamp.get("pid", "0"))
    if not pid or _start_time(pid) != stamp.get("started"):
        say("The Docker Engine was not started from this checkout: it stays.")
        return
    say("==> Stopping the Docker Engine that was started from this checkout")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while _start_time(pid) == stamp["started"] and time.monotonic() < deadline:
        time.sleep(0.2)
    drop_stamp(paths.engine_pid)


def _start_time(pid: int) -> str:
    """When a process started, in ticks since boot; empty if it is gone. It unmasks a reused pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
