"""``gpuspawner demo`` as somebody runs it: a process with a terminal, started, ended and killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from gpuspawner.adapters.docker_network import remove_network
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.policy.settings import Settings, load_settings
from gpuspawner.sim.simulation import Simulation
from support.client import Client
from support.installation import CHECKOUT, wait_for
from support.side_by_side import free_port
from support.ssh import Laptop
from support.ssh_site import read_page

pytestmark = pytest.mark.docker

LOGIN = re.compile(r"^  (\w+) +password (\S+) +\((\w+)\)$", re.MULTILINE)
PROCESSES = {"configurable-http-proxy", "agent", "jupyterhub", "controller"}


@dataclass
class Demo:
    """One state directory, and the demo that runs from it now."""

    root: Path
    port: int
    popen: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        return load_settings(self.root / "demo" / "gpuspawner.yml")

    @property
    def screen(self) -> str:
        """What the demo printed since its last start."""
        return (self.root / "screen").read_text()

    def command(self) -> list[str]:
        return [str(Path(sys.executable).parent / "gpuspawner"), "demo",
                "--state-dir", str(self.root), "--port", str(self.port)]  # fmt: skip

    def start(self) -> dict[str, tuple[str, str]]:
        """Start, and wait until it says that it is ready; login → password and role."""
        with (self.root / "screen").open("wb") as screen:
            self.popen = subprocess.Popen(
                self.command(),
                stdout=screen,
                stderr=subprocess.STDOUT,
                env=environment(),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - as a background job
            )

        def ready() -> bool:
            assert self.popen is not None
            assert self.popen.poll() is None, f"the demo ended:\n{self.screen}"
            return "Ctrl-C stops everything" in self.screen

        wait_for(ready, "the demo's start", 60)
        assert f"Hub ready at http://127.0.0.1:{self.port}\n" in self.screen
        return {name: (password, role) for name, password, role in LOGIN.findall(self.screen)}

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        assert self.popen is not None
        self.popen.send_signal(number)
        return self.popen.wait(120)

    def containers(self) -> list[dict[str, Any]]:
        return docker.APIClient(version="auto").containers(
            all=True, filters={"name": f"^/?{self.settings.container_prefix}-"}
        )

    def server(self) -> tuple[str, str]:
        """The id and start of the one container: the same as long as the server was not restarted."""
        (container,) = self.containers()
        details = docker.APIClient(version="auto").inspect_container(container["Id"])
        assert details["State"]["Running"]
        return details["Id"], details["State"]["StartedAt"]

    def sh(self, command: str) -> str:
        """Run a command in the one server."""
        engine = docker.APIClient(version="auto")
        return bytes(
            engine.exec_start(engine.exec_create(self.server()[0], ["sh", "-c", command])["Id"])
        ).decode()

    def processes(self) -> dict[int, str]:
        """Process id → command line of everything that this demo started."""
        mark = f"GPUSPAWNER_CONFIG={self.root}/demo/gpuspawner.yml\0".encode()
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes() + b"\0":
                    found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has just ended
        return found

    def ledger_id(self) -> str:
        book = Ledger(self.settings.ledger_path)
        try:
            with book.read() as unit:
                return unit.ledger_id()
        finally:
            book.close()

    def require_gone(self) -> None:
        """Nothing of the demo is left on the machine but its directory."""
        instance = self.settings.container_prefix
        assert self.containers() == []
        assert docker.APIClient(version="auto").networks(names=[f"^gpuspawner-{instance}$"]) == []
        assert list(Path("/var/run/cdi").glob(f"*{instance}*")) == []
        assert self.processes() == {}

    def clear(self) -> None:
        """Remove by hand what a test that failed has left."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if not (self.root / "demo" / "gpuspawner.yml").exists():
            return
        for container in self.containers():
            docker.APIClient(version="auto").remove_container(container["Id"], force=True, v=True)
        remove_network(self.settings.network.docker_network)
        if (self.root / "demo" / "sim").exists():
            Simulation(self.root / "demo" / "sim").destroy()


def environment() -> dict[str, str]:
    """A person's, not that of a test run."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PATH": f"{CHECKOUT}/.gpuspawner/node/bin:{os.environ['PATH']}"}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path / "state", free_port(neighbours=(1, 22, 81, 82)))  # those that the demo takes too
    made.root.mkdir()
    yield made
    made.clear()
    shutil.rmtree(made.root, ignore_errors=True)


def refusal(demo: Demo) -> str:
    done = subprocess.run(
        demo.command(), env=environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.ssh
def test_a_terminal_of_one_s_own_reaches_a_server_of_the_demo(demo: Demo, tmp_path: Path) -> None:
    logins = demo.start()
    assert f"SSH and VS Code:    http://127.0.0.1:{demo.port}/services/gpu/ssh" in demo.screen
    ada = Client(f"http://127.0.0.1:{demo.port}", "ada", logins["ada"][0])
    ada.login()
    ada.log_in_to_controller()
    assert ada.spawn({"gpus": 1}).ready
    laptop = Laptop(tmp_path / "ada@laptop")
    assert ada.gpu("POST", "/keys", json={"key": laptop.public}).status_code == 201
    laptop.write(*read_page(ada))
    done = laptop.run("gpu", "nvidia-smi -L; exit 7")
    assert (done.returncode, done.stdout.count("GPU ")) == (7, 1), done.stderr
    assert demo.end(signal.SIGTERM) == 0, demo.screen
    demo.require_gone()
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", demo.port + 22)) != 0, "its sshd has ended too"


def test_life_of_a_demo(demo: Demo) -> None:
    logins = demo.start()
    assert {name: role for name, (_, role) in logins.items()} == {
        "ada": "student",
        "grace": "student",
        "teacher": "teacher",
        "admin": "administrator",
    }
    url = f"http://127.0.0.1:{demo.port}"
    ada, admin = (Client(url, name, logins[name][0]) for name in ("ada", "admin"))
    ada.login()
    admin.login()
    assert [who.api("GET", "/users").status_code for who in (ada, admin)] == [403, 200]
    started = ada.spawn({"gpus": 1})
    assert started.ready, started
    assert demo.sh("nvidia-smi -L").count("GPU ") == 1
    demo.sh("echo precious > ~/kept.txt")
    assert f"A demo already runs from {demo.root}/demo. Stop it first" in refusal(demo)
    ledger_id = demo.ledger_id()

    assert demo.end(signal.SIGTERM) == 0, demo.screen
    demo.require_gone()
    assert demo.ledger_id() == ledger_id
    (kept,) = (demo.root / "demo" / "homes").rglob("kept.txt")
    assert kept.read_text() == "precious\n"

    assert demo.start() == logins
    assert demo.ledger_id() == ledger_id
    ada.login()
    started = ada.spawn({"gpus": 1})
    assert started.ready, started
    assert demo.sh("cat ~/kept.txt") == "precious\n"
    server = demo.server()
    assert all(any(name in line for line in demo.processes().values()) for name in PROCESSES)
    demo.end(signal.SIGKILL)
    wait_for(lambda: not demo.processes(), f"the end of {demo.processes()} with the demo", 20)
    assert demo.server() == server

    demo.start()
    ada.login()
    model = ada.model()
    assert model is not None
    assert model["ready"]
    assert demo.server() == server
    assert ada.page("/user/ada/api/status").status_code == 200
    assert demo.end(signal.SIGINT) == 0, demo.screen
    demo.require_gone()


def test_closed_terminal(demo: Demo) -> None:
    terminal, ours = os.openpty()
    demo.popen = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *demo.command()],
        stdin=ours, stdout=ours, stderr=ours, env=environment(),
    )  # fmt: skip
    os.close(ours)
    said = b""
    while b"Ctrl-C stops everything" not in said:
        said += os.read(terminal, 4096)  # fails when the demo ends before it is ready
    os.close(terminal)
    assert demo.popen.wait(120) == 0
    demo.require_gone()


def test_taken_port(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", demo.port)):
        said = refusal(demo)
    assert f"Port {demo.port} on 127.0.0.1 is not free" in said
    assert "gpuspawner demo --port 9000" in said
