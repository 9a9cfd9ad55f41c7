"""What tests in several processes at once must not share: the machine while it is measured, and ports."""

from __future__ import annotations

import fcntl
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

INSTALLATIONS = ("tests/integration/", "tests/browser/")
SERVERS = {
    "shared": ("fresh_server", "interrupted", "roles", "upgrades", "wiped_server"),
    "bare": ("wrong_settings", "reach"),
    "cards": ("cards",),
}
"""Servers that are made for tests, what takes longest first, and the modules of tests/ansible for each."""
GATE, FLOOR = Path(__file__), Path(__file__).with_name("__init__.py")
"""Two files that are there already, locked and never written."""
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: none of these takes one between choice and use."""
PORTS_EACH = 1_500
"""Of one process."""


def server_of(nodeid: str) -> str | None:
    """Which of :data:`SERVERS` a test is for, by its module."""
    module = nodeid.partition("::")[0]
    found = (name for name, those in SERVERS.items() for one in those if module.endswith(f"/test_{one}.py"))
    return next(found, None) if module.startswith("tests/ansible/") else None


class OneHubAtATime(LoadFileScheduling):
    """Files to whichever process is free; those with a whole installation all to one, as those of a server.

    Two Hubs with their servers and browsers would wait for each other on two cores, and run into time limits.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(INSTALLATIONS):
            return "installations"
        return server_of(nodeid) or str(super()._split_scope(nodeid))


@contextmanager
def on_the_floor(*, alone: bool) -> Iterator[None]:
    """Be among the tests that run now, in all processes of this checkout, or be the only one.

    Who wants to be alone waits in the gate, and so does everybody who comes after.
    """
    with GATE.open() as gate, FLOOR.open() as floor:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Said aloud: a process that a test left behind may hold the file open.
            fcntl.flock(floor, fcntl.LOCK_UN)


def free_port(address: str = "127.0.0.1", neighbours: tuple[int, ...] = ()) -> int:
    """A port that nobody listens on, and that no other process of this run of the tests is given.

    Args:
        address: Of this machine, on which it is free.
        neighbours: Distances to others that must be free too.
    """
    return next(
        port
        for port in _own_ports()
        if all(_is_free(address, port + distance) for distance in (0, *neighbours))
    )


@cache
def _own_ports() -> Iterator[int]:
    """Each once before one comes again: what was given may not be in use yet."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = worker * PORTS_EACH % len(PORTS)
    own = list(PORTS[first : first + PORTS_EACH])
    random.SystemRandom().shuffle(own)
    return cycle(own)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
