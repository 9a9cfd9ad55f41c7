"""A look into 500 sessions, some of whose servers never answer or say too much, and what follows from it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gpuspawner.adapters.ledger import Ledger
from gpuspawner.adapters.notebooks import MOST_BYTES, NotebookServers
from gpuspawner.allocator.idle import IdleWatch
from gpuspawner.allocator.sweep import Sweeper
from gpuspawner.core.idleness import Limits
from gpuspawner.core.model import Lease, LeaseState, Sample
from gpuspawner.ports import Address
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.build import HOST, lease, record

from .figures import Figure, Goal
from .places import make_folder

SESSIONS, GPUS = 500, 64
HOSTILE = 10
"""So many sessions have a server that never answers, and as many one that answers too much."""
SECONDS = Goal("< 5 s", lambda value: value < 5, of="ours")
MEBIBYTES = Goal("< 50 MiB", lambda value: value < 50, of="ours")
STALE = timedelta(days=1)


def measure_sweep(repeats: int) -> list[Figure]:
    """Each sweep in a process of its own, whose memory is then only this."""
    with _servers() as places:
        found = [_sweep_apart(places) for _ in range(repeats)]
    notes = {"servers that answered": [one.answered for one in found]}
    seconds, mebibytes = [one.seconds for one in found], [one.mebibytes for one in found]
    return [
        Figure(
            "sweep", "Look into 500 sessions, judge and write down", "s", seconds, goal=SECONDS, notes=notes
        ),
        Figure("sweep-memory", "More memory for that", "MiB", mebibytes, goal=MEBIBYTES),
    ]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where servers are."""

    good: str
    deaf: str


@dataclass(frozen=True, slots=True)
class _Swept:
    seconds: float
    mebibytes: float
    answered: int


class _Engine:
    """Says where each server is, and what processor time its container took."""

    def __init__(self, places: _Places) -> None:
        self._places = places

    def locate(self, container_id: str) -> Address:
        number = int(container_id)
        kind = "deaf" if number < HOSTILE else "huge" if number < 2 * HOSTILE else "good"
        host = self._places.deaf if kind == "deaf" else self._places.good
        return Address(f"{host}/{kind}/{number}/", "token")

    def processor_seconds(self, container_id: str) -> float:
        return 0.01 * time.monotonic()


def _sweep_apart(places: _Places) -> _Swept:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_sweep, (places,))


def _sweep(places: _Places) -> _Swept:
    with make_folder() as folder:
        ledger, leases = _fill(folder)
        engine: Any = _Engine(places)
        sweeper = Sweeper(engine, NotebookServers(), lambda: datetime.now(UTC))
        watch = IdleWatch(ledger, HOST, lambda _: Limits(), STALE)
        watch.judge({})  # what is imported and opened once
        before, begin = _resident_kib(), time.perf_counter()
        inside = sweeper.look(leases)
        watch.carry_out(watch.judge(inside))
        seconds = time.perf_counter() - begin
        more = (_peak_kib() - before) / 1024
        ledger.close()
        return _Swept(seconds, more, sum(one.kernels is not None for one in inside.values()))


def _fill(folder: Path) -> tuple[Ledger, tuple[Lease, ...]]:
    ledger, now = Ledger(folder / "ledger.db"), datetime.now(UTC)
    samples = [Sample(now - timedelta(seconds=10 * n), 0) for n in range(30, -1, -1)]
    with ledger.write() as unit:
        for n in range(GPUS):
            unit.put_device(record(f"GPU-{n}", index=n, seen_at=now))
            unit.add_samples(HOST, [(f"GPU-{n}", one) for one in samples])
        for n in range(SESSIONS):
            unit.add_lease(
                lease(
                    LeaseState.ACTIVE,
                    id=f"lease{n}",
                    owner=f"person{n}",
                    devices=(f"GPU-{n}",) if n < GPUS else (),
                    created_at=now - timedelta(minutes=5),
                    container_id=str(n),
                )
            )
    with ledger.read() as unit:
        return ledger, unit.live_leases(HOST)


@contextmanager
def _servers() -> Iterator[_Places]:
    """One process that plays all the servers, and a port on which nobody ever answers."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=256))
        process = context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
        stack.callback(process.join, 10)
        stack.callback(process.terminate)
        yield _Places(f"http://127.0.0.1:{here.recv()}", f"http://127.0.0.1:{deaf.getsockname()[1]}")


class _Lists(RequestHandler):
    def get(self, kind: str, what: str) -> None:
        if kind == "huge":
            self.finish("[" + " " * (2 * MOST_BYTES) + "]")
            return
        at = datetime.now(UTC).isoformat()
        kernels = [{"id": "1", "name": "python3", "last_activity": at, "execution_state": "idle"}] * 2
        self.finish(json.dumps(kernels if what == "kernels" else []))


def _serve(pipe: Any) -> None:
    async def main() -> None:
        application = Application([(r"/(\w+)/\d+/api/(kernels|terminals)", _Lists)])
        server = HTTPServer(application)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        pipe.send(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def _peak_kib() -> int:
    """The most of this process's own memory; what its parent had counts in the kernel's other figure."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1])


def _resident_kib() -> int:
    """What is in memory now, for which the peak so far would be too much."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
