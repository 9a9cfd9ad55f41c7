"""Which of sshd's processes speaks for which key: what /proc says, and what was asked by whom.

For every connection sshd has one process from its beginning to its end, and that is the parent of the
program that asks. Which key was asked for last by it is the key that it let in: afterwards nothing is asked.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(slots=True)
class Monitor:
    """A process of sshd that has asked."""

    pid: int
    born: str
    """When it began, as the kernel counts; tells it from a later one with its number."""
    fingerprint: str
    addresses: frozenset[str]
    """Doors that its key opens."""
    source: str
    asked_at: float


def find_asker(connection: socket.socket) -> int | None:
    """The process that runs the program at the other end of a local socket; None when it is gone."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", found)[0]
    return find_parent(pid)


def find_parent(pid: int) -> int | None:
    """A process's parent; None when the process is gone."""
    stat = _read_stat(pid)
    return int(stat[1]) if stat else None


def find_birth(pid: int) -> str | None:
    """When a process began; None when it is gone."""
    stat = _read_stat(pid)
    return stat[19] if stat else None


def _read_stat(pid: int) -> list[str] | None:
    """The fields behind a process's name, which may hold anything, also bytes that are no text."""
    try:
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def list_families(parents: Iterable[int]) -> list[tuple[int, int]]:
    """Processes with each child that they have, and each with itself."""
    wanted = set(parents)
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    children = [(parent, pid) for pid in pids if (parent := find_parent(pid)) in wanted]
    return [*((one, one) for one in wanted), *((parent, pid) for parent, pid in children if parent)]


def find_inode(address: tuple[str, int], peer: tuple[str, int]) -> str | None:
    """The inode of the local end ``address`` of a TCP connection to ``peer``."""
    wanted = f"{_hex(address)} {_hex(peer)}"
    for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"{fields[1]} {fields[2]}" == wanted:
            return fields[9]
    return None


def _hex(address: tuple[str, int]) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def holds(pid: int, inode: str) -> bool:
    """Whether a process has a socket open. Raises: PermissionError: That cannot be seen."""
    try:
        for entry in (_PROC / str(pid) / "fd").iterdir():
            try:
                if str(entry.readlink()) == f"socket:[{inode}]":
                    return True
            except FileNotFoundError:
                continue
    except (FileNotFoundError, ProcessLookupError):
        return False
    return False


class Monitors:
    """The processes that have asked."""

    def __init__(self) -> None:
        self._known: dict[int, Monitor] = {}

    def note(self, pid: int, fingerprint: str, addresses: Iterable[str]) -> None:
        """A process asked for a key that is let in to these doors."""
        born = find_birth(pid)
        if born is not None:
            source = _find_source(pid)
            self._known[pid] = Monitor(pid, born, fingerprint, frozenset(addresses), source, time.monotonic())

    def forget(self, pid: int) -> None:
        """A process asked for a key that opens nothing: what it asked before was not the key it let in."""
        self._known.pop(pid, None)

    def living(self) -> list[Monitor]:
        """Those that are still there."""
        for pid, one in list(self._known.items()):
            if find_birth(pid) != one.born:
                self._known.pop(pid, None)
        return list(self._known.values())

    def find(self, door: str, peer: tuple[str, int], here: tuple[str, int]) -> Monitor | None:
        """Whose connection came in at a door; None for one that sshd did not make.

        Args:
            door: The door's address.
            peer: The connection's other end, which is a process on this host.
            here: Our end.
        """
        candidates = [one for one in self.living() if door in one.addresses]
        inode = find_inode(peer, here) if candidates else None
        if inode is None:
            return None
        try:
            by_pid = {one.pid: one for one in candidates}
            for parent, pid in list_families(by_pid):
                if holds(pid, inode):
                    return by_pid[parent]
        except PermissionError:
            # Without root's rights sshd's processes cannot be looked into. Whose door it is, is certain.
            return max(candidates, key=lambda one: one.asked_at)
        return None

    def end(self, one: Monitor) -> None:
        """End a connection to sshd, if that very process is still there."""
        self._known.pop(one.pid, None)
        if find_birth(one.pid) == one.born:
            os.kill(one.pid, signal.SIGTERM)


def _find_source(pid: int) -> str:
    """The address that a connection of sshd's comes from; empty where that cannot be seen."""
    try:
        inodes = {
            link[8:-1]
            for entry in (_PROC / str(pid) / "fd").iterdir()
            if (link := str(entry.readlink())).startswith("socket:[")
        }
    except OSError:
        return ""
    for table, length in (("tcp", 8), ("tcp6", 32)):
        for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and len(fields[2].partition(":")[0]) == length:
                return _read_address(fields[2].partition(":")[0])
    return ""


def _read_address(text: str) -> str:
    words = [struct.pack("=I", int(text[n : n + 8], 16)) for n in range(0, len(text), 8)]
    raw = b"".join(words)
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    address = socket.inet_ntop(socket.AF_INET6, raw)
    return address.removeprefix("::ffff:") if "." in address else address
