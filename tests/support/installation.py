"""A whole installation of its own: simulated cards, a real proxy, a real Hub, the agent, the real Engine.

Several may live side by side on one Engine: each has its own network, container prefix, cards and ledger, and
removes all of it at its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import docker
import requests
import yaml
from docker.errors import APIError, NotFound
from gpuspawner.adapters.docker_network import ensure_network
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.claims import Ticket
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import Lease
from gpuspawner.demo.processes import Process
from gpuspawner.demo.processes import start as start_process
from gpuspawner.sim.simulation import Simulation

from .client import Client
from .images import default_images
from .side_by_side import free_port
from .watch import DeviceWatch

T = TypeVar("T")

CHECKOUT = Path(__file__).parents[2]
SHARED_BUILD = Path(tempfile.gettempdir()) / f"gpuspawner-test-native-{os.getuid()}"
"""Where the simulated driver is compiled once for all installations."""
PROXY_DIRS = (CHECKOUT / ".gpuspawner/node/bin",)
HOST = "test-host"
PASSWORD = "correct horse battery"  # of every login
ADMIN = "root-of-all"
LAYOUT = "2xa100-40gb,2xl40s"

CHEAP_SERVER = ["python3", "-u", "-c", (Path(__file__).parent / "cheap_server.py").read_text()]
"""Instead of JupyterLab, for ``c.GPUSpawner.cmd``: ready in a third of a second, see cheap_server.py."""

living: list[Installation] = []
"""What the tests' conftest shows the logs of and checks."""


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Wait until the condition gives something true, and return that.

    Raises:
        AssertionError: It does not, within the time; names ``what``.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return value


class Installation:
    """Use it as a context manager; it starts proxy, agent and hub, and is ready with its cards known.

    Args:
        limits: Entries of the settings' section ``limits``, over the tests' own.
        users: Logins beside the administrator's.
        images: Name → reference; the images of the catalogue unless given.
        layout: The simulated cards.
        config: Text of a ``jupyterhub_config.d`` file.
        settings: Other entries of the settings file.
        docker_hosts: ``DOCKER_HOST`` by process (``hub``, ``agent``), to put something in between.
        engine: ``DOCKER_HOST`` of the Engine itself; the machine's own unless given.
        ledger: The ledger's file; in the state directory unless given.
        tick: Seconds between two looks of the agent.
        start: Whether processes are started.
        controller: Whether there is a controller.
        ssh: Whether there is a gateway of SSH, and with it a controller.
    """

    def __init__(
        self,
        *,
        limits: Mapping[str, Any] | None = None,
        users: Sequence[str] = ("ada", "grace", "edsger", "barbara", "donald"),
        images: Mapping[str, str] | None = None,
        layout: str = LAYOUT,
        config: str = "",
        settings: Mapping[str, Any] | None = None,
        docker_hosts: Mapping[str, str] | None = None,
        engine: str | None = None,
        ledger: Path | None = None,
        tick: float = 0.5,
        start: bool = True,
        controller: bool = False,
        ssh: bool = False,
    ) -> None:
        self.instance = f"t{secrets.token_hex(4)}"
        self.prefix = f"gst-{self.instance}"
        self.network = f"gpuspawner-{self.instance}"
        self.users = tuple(users)
        self.docker_hosts = dict(docker_hosts or {})
        self.tick = tick
        self.with_controller = controller or ssh
        self.ssh_port = free_port() if ssh else None
        self.settings: dict[str, Any] = {
            "images": dict(images or default_images()),
            "limits": {"memory": "1G", "shm": "64M", **(limits or {})},
            **(settings or {}),
        }
        self.config = {"test.py": config} if config else {}
        self._layout, self._start, self._given_ledger, self._engine = layout, start, ledger, engine
        self.processes: dict[str, Process] = {}
        self._clients: dict[str, Client] = {}
        self._cleanup = ExitStack()
        self._token = secrets.token_hex(16)

    # -- coming and going -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        living.append(self)
        try:
            self._make()
            if self._start:
                self.start(*self.names)
                self.wait_ready()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.tail(), file=sys.stderr)
        if self in living:
            living.remove(self)
        self._cleanup.close()

    def _make(self) -> None:
        self.state_dir = Path(tempfile.mkdtemp(prefix=f"gpuspawner-{self.instance}-"))
        self._cleanup.callback(shutil.rmtree, self.state_dir, ignore_errors=True)
        self.engine = docker.APIClient(
            version="auto", timeout=120, **({"base_url": self._engine} if self._engine else {})
        )
        self._cleanup.callback(self.engine.close)
        self.simulation = Simulation.create(
            self.state_dir / "sim", self._layout, instance=self.instance, build_dir=SHARED_BUILD
        )
        self._cleanup.callback(self.simulation.destroy)
        self._cleanup.callback(self._remove_network)
        self.gateway = self._make_network()
        self._cleanup.callback(self._remove_containers_and_volumes)
        self._cleanup.callback(self._end_processes)
        self._write_settings()
        self.ledger_path = self._given_ledger or self.state_dir / "ledger.sqlite"
        self.ledger = Ledger(self.ledger_path)
        self._cleanup.callback(self.ledger.close)
        self.watch = DeviceWatch(self._engine, self.prefix)
        self._cleanup.callback(self.watch.close)

    def _make_network(self) -> str:
        if self._engine is None:
            return ensure_network(self.network)
        self.engine.create_network(self.network, driver="bridge")
        found: dict[str, Any] = self.engine.inspect_network(self.network)
        return str(found["IPAM"]["Config"][0]["Gateway"])

    def _write_settings(self) -> None:
        port, api_port, hub_port = free_port(), free_port(), free_port(self.gateway)
        self.url = f"http://127.0.0.1:{port}"
        self.hub_url = f"http://{self.gateway}:{hub_port}"
        logins = {name: {"password": PASSWORD} for name in self.users}
        data: dict[str, Any] = {
            "state_dir": str(self.state_dir),
            "host": HOST,
            "container_prefix": self.prefix,
            "network": {
                "bind_url": self.url,
                "proxy_api_url": f"http://127.0.0.1:{api_port}",
                "docker_network": self.network,
                "hub_address": self.gateway,
                "hub_port": hub_port,
            },
            "demo_users": {**logins, ADMIN: {"password": PASSWORD, "admin": True}},
            **({"ledger": str(self._given_ledger)} if self._given_ledger else {}),
            "controller": {"enabled": self.with_controller, "port": free_port(), "tick": 0.5},
            **self.settings,
        }
        if self.ssh_port:
            ssh = {"enabled": True, "address": "127.0.0.1", "port": self.ssh_port}
            data["ssh"] = {**ssh, **data.get("ssh", {})}
        self.settings_file = self.state_dir / "gpuspawner.yml"
        self.settings_file.write_text(yaml.safe_dump(data, sort_keys=False))
        extra = self.state_dir / "jupyterhub_config.d"
        extra.mkdir(exist_ok=True)
        for name, text in self.config.items():
            (extra / name).write_text(text)

    # -- processes ------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Every process, in the order of the start."""
        return (
            "proxy",
            "agent",
            "hub",
            *(["controller"] if self.with_controller else []),
            *(["gateway"] if self.ssh_port else []),
        )

    def environment(self, name: str) -> dict[str, str]:
        """What a process of this name is started with, beside this process's own environment."""
        bin_dirs = [Path(sys.executable).parent, *PROXY_DIRS]
        found = {
            "CONFIGPROXY_AUTH_TOKEN": self._token,
            "GPUSPAWNER_CONFIG": str(self.settings_file),
            "PATH": ":".join([*map(str, bin_dirs), os.environ["PATH"]]),
        }
        if where := self.docker_hosts.get(name) or self._engine:
            found["DOCKER_HOST"] = where
        return {**found, **self.simulation.environment()} if name == "agent" else found

    def command(self, name: str) -> list[str]:
        match name:
            case "proxy":
                network = yaml.safe_load(self.settings_file.read_text())["network"]
                ports = [network[key].rpartition(":")[2] for key in ("bind_url", "proxy_api_url")]
                return [
                    "configurable-http-proxy", "--ip", "127.0.0.1", "--port", ports[0],
                    "--api-ip", "127.0.0.1", "--api-port", ports[1],
                    "--error-target", f"{self.hub_url}/hub/error",
                ]  # fmt: skip
            case "agent":
                ledger = str(self.ledger_path)
                return ["gpuspawner", "agent", "--ledger", ledger, "--host", HOST, "--tick", str(self.tick)]
            case "controller":
                return ["gpuspawner", "controller", "--settings", str(self.settings_file)]
            case "gateway":
                return ["gpuspawner", "ssh-gateway", "--settings", str(self.settings_file)]
            case "hub":
                return ["jupyterhub", "--config", str(CHECKOUT / "jupyterhub_config.py")]
        raise LookupError(name)

    def start(self, *names: str) -> None:
        """Start processes; does not wait until they are ready."""
        for name in names:
            assert not self.alive(name), f"the {name} runs already"
            self.processes[name] = start_process(
                name, self.command(name), log_dir=self.state_dir / "logs", environment=self.environment(name)
            )

    def alive(self, name: str) -> bool:
        return name in self.processes and self.processes[name].popen.poll() is None

    def stop(self, *names: str) -> None:
        """Ask processes to end, and wait for that."""
        for name in names:
            if self.alive(name):
                self.processes[name].popen.terminate()
                self.processes[name].popen.wait(30)

    def kill(self, *names: str) -> None:
        """``kill -9``."""
        for name in names:
            if self.alive(name):
                self.processes[name].popen.kill()
                self.processes[name].popen.wait(30)

    def restart(self, *names: str) -> None:
        """Stop and start processes; a hub and a controller are waited for."""
        self.stop(*names)
        self.start(*names)
        if "hub" in names:
            self.wait_hub()
        if "controller" in names:
            self.wait_controller()

    def run(self, *command: str, name: str = "agent") -> str:
        """Run a command as if it were this process, such as ``gpuspawner agent --once``; its output."""
        done = subprocess.run(  # noqa: PLW1510 - the code is asserted below, with the output
            command, env={**os.environ, **self.environment(name)}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def wait_hub(self, seconds: float = 60) -> None:
        """Until the hub answers through the proxy, its servers' state known."""

        def answers(url: str) -> bool:
            assert self.alive("hub"), f"the hub ended:\n{self.processes['hub'].last_words}"
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{url}/hub/health", timeout=5).status_code == 200
            return False

        wait_for(lambda: answers(self.hub_url), "the start of the hub", seconds)
        wait_for(lambda: answers(self.url), "the proxy's way to the hub", seconds)

    def wait_controller(self, seconds: float = 30) -> None:
        """Until the controller answers through the proxy."""

        def answers() -> bool:
            assert self.alive("controller"), f"it ended:\n{self.processes['controller'].last_words}"
            with contextlib.suppress(requests.RequestException):
                url = f"{self.url}/services/gpu/health"
                return requests.get(url, timeout=5).status_code == 200
            return False

        wait_for(answers, "the start of the controller", seconds)

    def wait_ready(self) -> None:
        self.wait_hub()
        if self.with_controller:
            self.wait_controller()

        def has_inventory() -> bool:
            assert self.alive("agent"), f"the agent ended:\n{self.processes['agent'].last_words}"
            with contextlib.suppress(LedgerError), self.ledger.read() as unit:
                return len(unit.inventory(HOST)) == len(self.simulation.cards)
            return False

        wait_for(has_inventory, "the first inventory")

    def logs(self, name: str | None = None) -> str:
        """What the processes printed."""
        folder = self.state_dir / "logs"
        files = [folder / f"{name}.log"] if name else sorted(folder.glob("*.log"))
        return "\n".join(f"--- {file.stem} ---\n{file.read_text(errors='replace')}" for file in files)

    def tail(self, lines: int = 60) -> str:
        """The last lines of every process's log."""
        parts = (part.splitlines() for part in self.logs().split("\n--- "))
        return "\n".join("\n".join([part[0], *part[1:][-lines:]]) for part in parts if part)

    # -- people ---------------------------------------------------------------------------------------------

    def client(self, user: str) -> Client:
        """The logged-in person; the same object at every call, logged in at the first."""
        if user not in self._clients:
            self._clients[user] = Client(self.url, user, PASSWORD)
            self._clients[user].login()
        return self._clients[user]

    @property
    def admin(self) -> Client:
        return self.client(ADMIN)

    # -- what there is --------------------------------------------------------------------------------------

    @property
    def uuids(self) -> list[str]:
        """Of all cards, in the driver's order."""
        return [card.uuid for card in self.simulation.cards]

    def leases(self, *, live: bool = True, user: str | None = None) -> list[Lease]:
        """Leases, oldest first."""
        with self.ledger.read() as unit:
            if live:
                found = list(unit.live_leases(HOST))
            else:
                ids = unit._db.exec_driver_sql("SELECT id FROM leases ORDER BY created_at").scalars().all()
                found = [lease for id_ in ids if (lease := unit.lease(id_))]
        return [lease for lease in found if user in (None, lease.owner)]

    def lease_of(self, user: str, server: str = "") -> Lease:
        """The newest lease of a server."""
        with self.ledger.read() as unit:
            lease = unit.last_lease(user, server)
        assert lease is not None, f"{user} never had a lease"
        return lease

    def ticket_of(self, user: str, server: str = "") -> Ticket:
        """The newest place in line of a server, also one that is over."""
        with self.ledger.read() as unit:
            ended = unit.ended_tickets(HOST, datetime.now(UTC) - timedelta(days=1))
            live = unit.live_tickets(HOST)
        found = [one for one in (*ended, *live) if (one.owner, one.server) == (user, server)]
        return max(found, key=lambda one: one.asked_at)

    def events(self, kind: str = "") -> list[str]:
        """Reasons of the audit trail's lines of this kind, newest first."""
        with self.ledger.read() as unit:
            return [event.reason for event in unit.recent_events(1000) if event.kind.startswith(kind)]

    def containers(self, user: str | None = None, *, running: bool = False) -> list[dict[str, Any]]:
        """Docker's inspection of every container of this installation."""
        found = []
        for summary in self.engine.containers(all=not running, filters={"name": f"^/?{self.prefix}-"}):
            with contextlib.suppress(NotFound):
                details = self.engine.inspect_container(summary["Id"])
                if user in (None, details["Config"]["Labels"].get("gpuspawner.owner")):
                    found.append(details)
        return found

    def container(self, user: str, server: str = "") -> dict[str, Any]:
        """The container of one server."""
        found = [c for c in self.containers(user) if c["Config"]["Labels"].get("gpuspawner.server") == server]
        assert len(found) == 1, f"{user} has {len(found)} containers of the name {server!r}"
        return found[0]

    def exec(self, user: str, command: str, server: str = "") -> str:
        """Run a shell command in a person's server; its output, errors included."""
        id_ = self.engine.exec_create(self.container(user, server)["Id"], ["sh", "-c", command])["Id"]
        return bytes(self.engine.exec_start(id_)).decode()

    def cards_seen(self, user: str, server: str = "") -> list[str]:
        """UUIDs that ``nvidia-smi -L`` lists in a person's server."""
        lines = self.exec(user, "nvidia-smi -L 2>&1", server).splitlines()
        return [line.partition("UUID: ")[2].rstrip(")") for line in lines if "UUID: " in line]

    def stop_all(self) -> None:
        """Stop everybody's servers, and wait until nobody holds anything."""
        for person in self.admin.api("GET", "/users").json():
            for server in person.get("servers") or {}:
                path = (
                    f"/users/{person['name']}/servers/{server}"
                    if server
                    else f"/users/{person['name']}/server"
                )
                self.admin.api("DELETE", path)
        wait_for(lambda: not self.containers() and not self.leases(), "the end of all servers", 60)

    def started(self, user: str, server: str = "") -> tuple[str, str]:
        """What is the same as long as a server was not restarted: its container's id and start."""
        container = self.container(user, server)
        return container["Id"], container["State"]["StartedAt"]

    # -- invariants -----------------------------------------------------------------------------------------

    def settle(self, seconds: float = 40) -> None:
        """Wait until every live lease has a running container and every ended one is released."""

        def unsettled() -> list[str]:
            running = {
                c["Config"]["Labels"].get("gpuspawner.lease")
                for c in self.containers()
                if c["State"]["Running"]
            }
            return [
                f"{lease.owner}/{lease.server} {lease.state.value}: {lease.reason} {lease.evidence}"
                for lease in self.leases()
                if lease.state.value != "active" or lease.id not in running
            ]

        try:
            wait_for(lambda: not unsettled(), "every lease settled", seconds)
        except AssertionError:
            raise AssertionError(f"leases that do not settle: {unsettled()}") from None

    def check(self) -> None:
        """The invariants that hold at any moment.

        Raises:
            AssertionError: One does not.
        """
        leases = self.leases()
        held = [uuid for lease in leases for uuid in lease.devices]
        assert len(held) == len(set(held)), f"a device is in two live leases: {held}"
        by_id = {lease.id: lease for lease in leases}
        for container in self.containers(running=True):
            devices = devices_of(container)
            lease = by_id.get(container["Config"]["Labels"].get("gpuspawner.lease", ""))
            allowed = set(lease.devices) if lease else set()
            assert devices <= allowed, f"{container['Name']} runs with {devices}; its lease has {allowed}"
        assert not self.watch.clashes, f"a device was in two running containers: {self.watch.clashes}"

    # -- the end --------------------------------------------------------------------------------------------

    def _end_processes(self) -> None:
        for name in ("gateway", "controller", "hub", "proxy", "agent"):
            if self.alive(name):
                self.processes[name].popen.terminate()
        for process in self.processes.values():
            try:
                process.popen.wait(10)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()

    def _remove_containers_and_volumes(self) -> None:
        volumes = self._known_homes()
        for container in self.containers():
            volumes |= {m["Name"] for m in container["Mounts"] if m["Type"] == "volume"}
            with contextlib.suppress(APIError):
                self.engine.remove_container(container["Id"], v=True, force=True)
        for volume in volumes:
            with contextlib.suppress(APIError):
                self.engine.remove_volume(volume, force=True)

    def _known_homes(self) -> set[str]:
        """Volumes of people's homes that ledger and hub know of."""
        found = set()
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.ledger_path)) as db:
            found |= {row[0] for row in db.execute("SELECT source FROM homes WHERE kind = 'volume'")}
        hub = self.state_dir / "jupyterhub.sqlite"
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(hub)) as db:
            for (text,) in db.execute("SELECT state FROM spawners"):
                home = (json.loads(text or "null") or {}).get("home") or {}
                found |= {home["source"]} if home.get("kind") == "volume" else set()
        return found

    def _remove_network(self) -> None:
        with contextlib.suppress(APIError):
            self.engine.remove_network(self.network)


def devices_of(container: Mapping[str, Any]) -> set[str]:
    """UUIDs that Docker was told to put into a container."""
    requests_made = container["HostConfig"].get("DeviceRequests") or []
    return {id_.partition("=")[2] for request in requests_made for id_ in request.get("DeviceIDs") or ()}
