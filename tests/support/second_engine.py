"""A Docker Engine of a test's own, which may be stopped and killed without anybody else noticing."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.errors import DockerException

from .images import import_tiny_image
from .installation import wait_for


class SecondEngine:
    """A ``dockerd`` with its own data, socket and containerd, and with the tiny image.

    It shares docker0, and puts nothing on it: with any other bridge, or none, an Engine removes docker0 at
    its start, although that is the machine's own Engine's. It touches no firewall rule: ports go through
    ``docker-proxy``, and the rules stay those of the machine's own Engine.

    Args:
        live_restore: Whether containers live on while it is away.
        disk_bytes: How large the disk is that it has for itself; the machine's unless given.
    """

    def __init__(self, *, live_restore: bool, disk_bytes: int | None = None) -> None:
        self._disk_bytes = disk_bytes
        self.root = Path(tempfile.mkdtemp(prefix="gpuspawner-engine-"))
        self.url = f"unix://{self.root}/docker.sock"
        self._config = {"features": {"cdi": True}, "live-restore": live_restore}
        self._process: subprocess.Popen[bytes] | None = None
        self._before = _bridge_addresses()

    def __enter__(self) -> Self:
        (self.root / "daemon.json").write_text(json.dumps(self._config))
        try:
            if self._disk_bytes is not None:
                (self.root / "data").mkdir()
                disk = ["-t", "tmpfs", "-o", f"size={self._disk_bytes}", "tmpfs", f"{self.root}/data"]
                subprocess.run(["mount", *disk], check=True)
            self.start()
            self.image = import_tiny_image(self.client())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        _restore_bridge(self._before)
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if mount.split()[1].startswith(f"{self.root}/"):
                subprocess.run(["umount", "--lazy", mount.split()[1]], check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto", timeout=60)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            "dockerd", "--config-file", f"{self.root}/daemon.json", "--host", self.url,
            "--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec",
            "--pidfile", f"{self.root}/pid", "--bridge=docker0", "--default-address-pool",
            "base=10.231.0.0/16,size=24", "--iptables=false", "--ip6tables=false",
            "--ip-forward=false", "--ip-masq=false",
        ]  # fmt: skip
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._answers, f"the second Engine's start (see {self.root}/log)")

    def stop(self) -> None:
        """End it as ``systemctl stop`` would: without live restore, its containers end too."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.root / "log").read_text()[-3000:]
        with suppress(DockerException):
            client = self.client()
            try:
                return bool(client.ping())
            finally:
                client.close()
        return False


def _bridge_addresses() -> set[str]:
    """The IPv4 addresses of docker0, such as ``172.17.0.1/16``; none where nothing says so."""
    if shutil.which("ip") is None:
        return set()
    shown = subprocess.run(
        ["ip", "-o", "-4", "addr", "show", "dev", "docker0"], capture_output=True, text=True, check=False
    )
    return {line.split()[3] for line in shown.stdout.splitlines()}


def _restore_bridge(before: set[str]) -> None:
    """Give docker0 the address back at which the machine's own Engine, and so every server, knows it."""
    for address in _bridge_addresses() - before if before else ():
        subprocess.run(["ip", "addr", "del", address, "dev", "docker0"], check=False)
    for address in before - _bridge_addresses():
        subprocess.run(["ip", "addr", "add", address, "dev", "docker0"], check=False)
