"""The command ``gpuspawner demo``: bring everything up, say so, wait, and take it down again."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click

from gpuspawner.adapters.docker_engine import DockerEngine
from gpuspawner.adapters.docker_network import ensure_network, remove_network
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.runlock import RunLock
from gpuspawner.adapters.ssh_files import SSHD
from gpuspawner.allocator import Allocator
from gpuspawner.core.errors import GpuSpawnerError, LedgerError, RunLockHeld
from gpuspawner.core.policy import allow
from gpuspawner.policy.settings import Settings
from gpuspawner.setup.builds import image_exists
from gpuspawner.setup.errors import SetupError
from gpuspawner.setup.images import ImageEntry, list_statuses, load_catalogue
from gpuspawner.setup.paths import CHECKOUT

from .gpus import prepare_gpus
from .installation import LOGINS, Layout, ensure_proxy_token, write_settings
from .processes import Process, end, require_alive, start, wait_until

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A service manager's, Ctrl-C, and that the terminal was closed."""
READY_SECONDS = 60
SSH_PORT = 22
"""On from the port for browsers."""
RELEASE_SECONDS = 10


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".gpuspawner"),
    show_default=True,
    help="The one directory in which everything is kept.",
)
@click.option(
    "--port", type=click.IntRange(1024, 65000), default=8000, show_default=True, help="Port for browsers."
)
def demo(state_dir: Path, port: int) -> None:
    """Serve a whole hub on this machine, with simulated GPUs where there are none."""
    config_file = _require_config_file()
    layout = Layout(state_dir.absolute())
    layout.make()
    try:
        lock = RunLock(layout.state / "demo.lock", "demo")
    except RunLockHeld as error:
        raise GpuSpawnerError(
            f"A demo already runs from {layout.state}. Stop it first (Ctrl-C there)."
        ) from error
    # Whoever starts us under nohup wants us to outlive the terminal. A shell's background job inherits an
    # ignored SIGINT as well, and there it means nothing: who sends one wants us to end.
    for number in STOP_SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        with ExitStack() as cleanup:
            _serve(layout, port, config_file, cleanup)
    except _Stopped:
        say("Stopped. Homes and ledger are kept; `make demo` starts again where you left off.")
    finally:
        lock.release()


class _Stopped(Exception):
    """Somebody asked the demo to end."""


def _stop(number: int, frame: FrameType | None) -> None:
    # A second Ctrl-C must not cut the clearing away short.
    for one in STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise _Stopped


def say(text: str) -> None:
    """Print a line for the person who waits; nobody does any more where the terminal was closed."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except OSError:
        # What could not be written stays in the buffer and would fail once more as the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _serve(layout: Layout, port: int, config_file: Path, cleanup: ExitStack) -> None:
    instance = f"demo-{sha256(str(layout.root).encode()).hexdigest()[:8]}"
    _require_free_ports(("127.0.0.1", port), ("127.0.0.1", port + 1))
    gpus = prepare_gpus(layout.sim, instance)
    if gpus.simulation is not None:
        cleanup.callback(gpus.simulation.destroy)
    say(f"GPUs: {gpus.description}")
    network = f"gpuspawner-{instance}"
    gateway = ensure_network(network)
    cleanup.callback(remove_network, network)
    _require_free_ports((gateway, port + 81), ("127.0.0.1", port + 82), (gateway, port + 82))
    has_ssh = Path(SSHD).exists()
    if has_ssh:
        _require_free_ports(("127.0.0.1", port + SSH_PORT))
    offered = _offered_images()
    settings = write_settings(
        layout,
        images={one.title: one.reference for one in offered},
        statuses=list_statuses(offered),
        gateway=gateway,
        host_name=socket.gethostname(),
        port=port,
        network=network,
        prefix=instance,
        ssh_port=port + SSH_PORT if has_ssh else None,
    )
    processes = _start_all(layout, settings, config_file, gpus.environment, cleanup)
    wait_until(
        lambda: _is_served(settings) and _has_inventory(settings),
        processes,
        what="The start of the hub",
        seconds=READY_SECONDS,
    )
    _greet(settings)
    while True:
        require_alive(processes)
        time.sleep(0.5)


def _offered_images() -> list[ImageEntry]:
    """The images of the catalogue that people can choose, the large ones where they were built."""
    try:
        entries = [entry for entry in load_catalogue() if entry.offered]
        return [entry for entry in entries if not entry.on_demand or image_exists(entry.reference)]
    except SetupError as error:
        raise GpuSpawnerError(str(error)) from error


def _start_all(
    layout: Layout,
    settings: Settings,
    config_file: Path,
    gpu_environment: dict[str, str],
    cleanup: ExitStack,
) -> list[Process]:
    network = settings.network
    environment = {
        "CONFIGPROXY_AUTH_TOKEN": ensure_proxy_token(layout),
        "GPUSPAWNER_CONFIG": str(layout.settings),
        "PATH": f"{Path(sys.executable).parent}:{layout.root / 'node' / 'bin'}:{os.environ['PATH']}",
    }
    ledger = settings.ledger_path
    hub = f"http://{network.hub_address}:{network.hub_port}"
    commands = {
        "proxy": [
            "configurable-http-proxy",
            *_listen(network.bind_url),
            *_listen(network.proxy_api_url, "api-"),
            *("--error-target", f"{hub}/hub/error"),
        ],
        "agent": ["gpuspawner", "agent", "--ledger", str(ledger), "--host", settings.host or ""],
        "hub": ["jupyterhub", "--config", str(config_file)],
        "controller": ["gpuspawner", "controller", "--settings", str(layout.settings)],
        "gateway": ["gpuspawner", "ssh-gateway", "--settings", str(layout.settings)],
    }
    names = ["proxy", "agent", "hub", *(["controller"] if settings.controller.enabled else [])]
    names += ["gateway"] if settings.ssh.enabled else []
    processes: list[Process] = []
    # The servers end between hub and agent, so that the agent still sees their GPUs become free.
    for name in names:
        extra = gpu_environment if name == "agent" else {}
        processes.append(
            start(name, commands[name], log_dir=layout.logs, environment={**environment, **extra})
        )
        cleanup.callback(end, processes[-1])
        if name == "agent":
            cleanup.callback(_end_servers, ledger)
    return processes


def _require_config_file() -> Path:
    """``jupyterhub_config.py`` at the top of the checkout.

    Raises:
        GpuSpawnerError: The package was installed without one.
    """
    file = CHECKOUT / "jupyterhub_config.py"
    if not file.exists():
        raise GpuSpawnerError(
            "The demo needs a checkout of gpuspawner, with its images and its jupyterhub_config.py: clone "
            "the repository and run `make demo` in it, or set up a hub of your own as README.md says."
        )
    return file


def _listen(url: str, prefix: str = "") -> list[str]:
    parts = urlsplit(url)
    return [f"--{prefix}ip", str(parts.hostname), f"--{prefix}port", str(parts.port)]


def _end_servers(ledger: Path) -> None:
    """Stop and remove everybody's servers, and wait until the agent has freed what they held."""
    book = Ledger(ledger)
    try:
        with book.read() as unit:
            ledger_id = unit.ledger_id()
        engine = DockerEngine(ledger_id=ledger_id)
        ours = [c for c in engine.list_containers() if c.owner is not None]
        if ours:
            say(f"Stopping {len(ours)} server{'s' if len(ours) != 1 else ''} …")
        _let_go(book, [c.lease_id for c in ours if c.lease_id])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda c: engine.stop(c.id, 10), ours))
        for container in ours:
            engine.remove(container.id)
        _await_releases(book)
    except GpuSpawnerError as error:
        say(f"Some servers may still run: {error}")
    finally:
        book.close()


def _let_go(book: Ledger, lease_ids: list[str]) -> None:
    allocator = Allocator(book, socket.gethostname(), allow(0, 0), timedelta())
    for lease_id in lease_ids:
        allocator.request_release(lease_id, reason="the demo was stopped", actor="demo")


def _await_releases(book: Ledger) -> None:
    """Let the agent prove the cards free; what it cannot prove in time it goes on with at the next start."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while time.monotonic() < deadline:
        with book.read() as unit:
            if not unit.live_leases(socket.gethostname()):
                return
        time.sleep(0.2)


def _is_served(settings: Settings) -> bool:
    """Whether the hub answers, and the controller if there is one, through the proxy as for a browser."""
    url, paths = settings.network.bind_url, ["/hub/health"]
    paths += ["/services/gpu/health"] if settings.controller.enabled else []
    return all(_answers(url + path) for path in paths)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except OSError:
        return False


def _has_inventory(settings: Settings) -> bool:
    book = Ledger(settings.ledger_path)
    try:
        with book.read() as unit:
            return bool(unit.inventory(settings.host or ""))
    except LedgerError:
        return False
    finally:
        book.close()


def _require_free_ports(*addresses: tuple[str, int]) -> None:
    for address in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise GpuSpawnerError(
                    f"Port {address[1]} on {address[0]} is not free ({error.strerror}). Stop what uses it, "
                    "or choose another: .gpuspawner/venv/bin/gpuspawner demo --port 9000"
                ) from error


def _greet(settings: Settings) -> None:
    say(f"\nHub ready at {settings.network.bind_url}\n\nLogins:")
    roles = {"ada": "student", "grace": "student", "teacher": "teacher", "admin": "administrator"}
    for name in LOGINS:
        say(f"  {name:<8} password {settings.demo_users[name].password}   ({roles[name]})")
    if settings.ssh.enabled:
        say(f"\nSSH and VS Code:    {settings.network.bind_url}/services/gpu/ssh")
    say("\nCards and holders:  .gpuspawner/venv/bin/gpuspawner status")
    say(f"Logs:               {settings.state_dir}/logs\n\nCtrl-C stops everything.")
