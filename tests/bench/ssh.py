"""The way by SSH: through the gateway into a server, and directly to the same one, by OpenSSH's client.

What plays the container is OpenSSH with the configuration of a session, on an address of this machine.
Gateway and controller's door are the real ones. Everything shares the processors: the client that
decrypts, the gateway, and the server that encrypts.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.ssh_files import SSHD, SshFiles
from gpuspawner.allocator.ssh import SshDesk
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.controller.sshdoor import SshDoor
from gpuspawner.controller.views.ssh import CIPHERS
from gpuspawner.core.claims import Actor, ActorKind
from gpuspawner.core.model import LeaseState
from gpuspawner.core.ssh import RELAY_PORT, SERVER_PORT
from gpuspawner_session.sshd import build_config

from tests.support.build import HOST, lease
from tests.support.side_by_side import free_port
from tests.support.ssh import Laptop

from .figures import Figure, Goal
from .machine import TICKS
from .places import make_folder

CONTAINER = "127.45.0.1"
"""An address of this machine for what plays the container; doors have others."""
MEBIBYTES = 512
EXECS, BYTES = 10, 300
WAYS = ("gateway", "direct", "alike", "jump")
"""Through ours; without anything between, as OpenSSH does by itself, and with the ciphers that people copy;
through a plain OpenSSH as jump host with these ciphers, to see what ours adds."""
SHARE = Goal("≥ 0.8", lambda ratio: ratio >= 0.8)
READY_SECONDS = 20


def measure_ssh(repeats: int) -> list[Figure]:
    """Throughput and added time, in turn by each way."""
    if not Path(SSHD).exists():
        print(f"{SSHD} is missing, so SSH is not measured.", file=sys.stderr)
        return []
    with _site() as (laptop, gateway), _echo() as echo:
        found: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
        for way in WAYS:
            _run(laptop, way, "true")
        relay: list[float] = []
        for _ in range(repeats):
            for way in WAYS:
                before = _processor_seconds(gateway)
                throughput = _throughput(laptop, way)
                relay += [(_processor_seconds(gateway) - before) / MEBIBYTES * 1024] * (way == "gateway")
                for name, value in (
                    ("throughput", throughput),
                    ("exec", _exec_milliseconds(laptop, way)),
                    ("byte", _byte_milliseconds(laptop, way, echo)),
                ):
                    found[way].setdefault(name, []).append(value)
    figures = [
        figure
        for name, unit, what in (
            ("throughput", "MiB/s", f"{MEBIBYTES} MiB by SSH through the gateway"),
            ("exec", "ms", f"Connect by SSH and run `true`, p50 of {EXECS}"),
            ("byte", "ms", f"One byte there and back through -L, p50 of {BYTES}"),
        )
        for figure in _compare(name, unit, what, {way: found[way][name] for way in WAYS})
    ]
    what = "Processor time of the gateway's own process for 1 GiB by SSH"
    return [*figures, Figure("ssh-relay", what, "s", relay)]


def _compare(name: str, unit: str, what: str, by_way: dict[str, list[float]]) -> list[Figure]:
    goal = SHARE if name == "throughput" else None
    ours = by_way["gateway"]
    return [
        Figure(f"ssh-{name}", f"{what}; stock: directly", unit, ours, by_way["direct"], goal),
        *(
            Figure(f"ssh-{name}-{way}", f"The same; stock: {what}", unit, ours, by_way[way])
            for way, what in (
                ("alike", "directly, with the same ciphers"),
                ("jump", "through a plain jump host, with the same ciphers"),
            )
        ),
    ]


# -- what is measured ---------------------------------------------------------------------------------------


def _throughput(laptop: Laptop, way: str) -> float:
    """From the server to the person, from the first piece to the last, without connecting."""
    size = MEBIBYTES << 20
    words = laptop.command(way, f"head -c {size} /dev/zero")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as client:
        assert client.stdout
        descriptor = client.stdout.fileno()
        read = len(os.read(descriptor, 1 << 20))
        begin = time.perf_counter()
        first = read
        while piece := os.read(descriptor, 1 << 20):
            read += len(piece)
        seconds = time.perf_counter() - begin
    assert read == size, f"{read} of {size} bytes by {way}"
    return (read - first) / (1 << 20) / seconds


def _processor_seconds(pid: int) -> float:
    """What a process has used so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _exec_milliseconds(laptop: Laptop, way: str) -> float:
    def once() -> float:
        begin = time.perf_counter()
        _run(laptop, way, "true")
        return (time.perf_counter() - begin) * 1000

    return statistics.median(once() for _ in range(EXECS))


def _byte_milliseconds(laptop: Laptop, way: str, echo: int) -> float:
    here = free_port()
    client = laptop.open("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{here}:127.0.0.1:{echo}", way)
    try:
        with _connect(here) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return statistics.median(_ping(connection) for _ in range(BYTES)) * 1000
    finally:
        client.terminate()
        client.communicate(timeout=20)


def _ping(connection: socket.socket) -> float:
    begin = time.perf_counter()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.perf_counter() - begin


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=READY_SECONDS)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _run(laptop: Laptop, way: str, command: str) -> None:
    done = laptop.run(way, command)
    assert done.returncode == 0, f"{way}: {done.stderr}"


# -- what it is measured with -------------------------------------------------------------------------------


@contextmanager
def _site() -> Iterator[tuple[Laptop, int]]:
    """A person's machine, from which all ways lead into the same SSH server; and the gateway's process."""
    with ExitStack() as stack:
        folder = stack.enter_context(make_folder())
        laptop, files = Laptop(folder / "laptop"), SshFiles(folder / "ssh")
        account = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        ports = {"gateway": free_port(), "jump": free_port()}
        door = _store(folder / "ledger.sqlite", laptop)
        mount = files.ensure_person("ada", [laptop.public])
        stack.enter_context(_container(folder, mount))
        stack.enter_context(_plain_jump(folder, mount, ports["jump"]))
        stack.enter_context(_controller(folder / "ledger.sqlite", files))
        gateway = stack.enter_context(_gateway(folder, account, ports["gateway"]))
        laptop.write(_write_config(account, door, ports), _write_known_hosts(files, door, ports))
        yield laptop, gateway


def _store(path: Path, laptop: Laptop) -> str:
    """Somebody with a key and a server; the address of its door."""
    ledger = Ledger(path)
    with ledger.write() as unit:
        unit.add_lease(lease(LeaseState.ACTIVE, owner="ada", container_id="c1"))
    keys = SshKeys(ledger)
    keys.add("ada", laptop.public, actor=Actor("ada", ActorKind.PERSON))
    door = keys.doors("ada", [""])[0].address
    ledger.close()
    return door


@contextmanager
def _container(folder: Path, mount: Path) -> Iterator[None]:
    (folder / "container").mkdir()
    key = folder / "container" / "host_key"
    key.touch(mode=0o600)
    key.write_bytes((mount / "host_key").read_bytes())
    # The first of two lines counts. A container's server runs as its person; here that may be root.
    own = f"ListenAddress {CONTAINER}\nPermitRootLogin prohibit-password\n"
    text = own + build_config(folder / "container", {}, mount)
    with _sshd(folder / "container" / "config", text, (CONTAINER, SERVER_PORT)):
        yield


@contextmanager
def _plain_jump(folder: Path, mount: Path, port: int) -> Iterator[None]:
    text = "\n".join(
        [
            f"ListenAddress 127.0.0.1:{port}",
            f"HostKey {folder}/container/host_key",
            f"AuthorizedKeysFile {mount}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "PermitRootLogin prohibit-password",
            "",
        ]
    )
    with _sshd(folder / "jump_config", text, ("127.0.0.1", port)):
        yield


@contextmanager
def _sshd(config: Path, text: str, address: tuple[str, int]) -> Iterator[None]:
    config.write_text(text)
    Path("/run/sshd").mkdir(exist_ok=True)
    with _process([SSHD, "-D", "-e", "-f", str(config)], config.with_suffix(".log"), address):
        yield


@contextmanager
def _gateway(folder: Path, account: str, port: int) -> Iterator[int]:
    settings = folder / "gpuspawner.yml"
    ssh = {"enabled": True, "address": "127.0.0.1", "port": port, "account": account}
    settings.write_text(
        yaml.safe_dump(
            {
                "state_dir": str(folder),
                "images": {"Minimal": "gpuspawner/minimal:1"},
                "controller": {"enabled": True},
                "ssh": ssh,
            }
        )
    )
    words = [sys.executable, "-c", "from gpuspawner.cli import main; main()", "ssh-gateway"]
    words += ["--settings", str(settings)]
    with _process(words, folder / "gateway.log", ("127.0.0.1", port)) as pid:
        yield pid


@contextmanager
def _process(words: list[str], log: Path, address: tuple[str, int]) -> Iterator[int]:
    """A program that listens there."""
    with log.open("wb") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while process.poll() is None and not _listens(address):
                assert time.monotonic() < deadline, f"{words[0]} does not listen at {address}"
                time.sleep(0.05)
            assert process.poll() is None, log.read_text()
            yield process.pid
        finally:
            process.terminate()
            process.wait(READY_SECONDS)


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as one:
        return one.connect_ex(address) == 0


@contextmanager
def _controller(ledger: Path, files: SshFiles) -> Iterator[None]:
    """The controller's door, which is asked once for each connection."""
    engine: Any = SimpleNamespace(locate=lambda _: SimpleNamespace(url=f"http://{CONTAINER}:8888"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        door = SshDoor(SshDesk(Ledger(ledger), HOST, lambda _: None), engine)
        server = asyncio.run_coroutine_threadsafe(door.listen(files), loop).result(READY_SECONDS)
        yield
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _echo() -> Iterator[int]:
    """A port, as of a page inside, that sends back each byte at once."""

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := connection.recv(64):
                    connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _write_config(account: str, door: str, ports: dict[str, int]) -> str:
    me = pwd.getpwuid(os.getuid()).pw_name
    return f"""
Host ours
    HostName 127.0.0.1
    Port {ports["gateway"]}
    User {account}
Host plain
    HostName 127.0.0.1
    Port {ports["jump"]}
    User {me}
Host gateway
    HostName {door}
    Port {RELAY_PORT}
    User {me}
    ProxyJump ours
Host direct
    HostName {CONTAINER}
    Port {SERVER_PORT}
    User {me}
Host alike
    HostName {CONTAINER}
    Port {SERVER_PORT}
    User {me}
Host jump
    HostName {CONTAINER}
    Port {SERVER_PORT}
    User {me}
    ProxyJump plain
Host * !direct
    Ciphers {CIPHERS}
"""


def _write_known_hosts(files: SshFiles, door: str, ports: dict[str, int]) -> str:
    gateway, server = files.gateway_key().public, files.person_key("ada").public
    hosts = (
        ("127.0.0.1", ports["gateway"], gateway),
        ("127.0.0.1", ports["jump"], server),
        (door, RELAY_PORT, server),
        (CONTAINER, SERVER_PORT, server),
    )
    return "".join(f"[{host}]:{port} {key}\n" for host, port, key in hosts)
