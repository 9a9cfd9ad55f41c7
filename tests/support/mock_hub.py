"""JupyterHub without its web server: real database, ``User`` and spawner, driven as its handlers do."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import sqlalchemy as sa
from gpuspawner.adapters.ledger import Ledger, LedgerUnit
from gpuspawner.core.errors import LedgerError
from gpuspawner.core.model import Home, Lease
from gpuspawner.spawner import GPUSpawner, hubrun
from gpuspawner.spawner.containers import ContainerSpawner
from jupyterhub import orm, roles
from jupyterhub.objects import Hub
from jupyterhub.user import User
from sqlalchemy.orm import Session
from traitlets.config import Config

from support import build


def make_database() -> Session:
    """A hub's database with what every spawn looks up."""
    # Not orm.new_session_factory, which spends seconds on asking whether an empty database must be upgraded.
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    orm.register_foreign_keys(engine)
    orm.Base.metadata.create_all(engine)
    db = Session(engine, expire_on_commit=False)
    for role in roles.get_default_roles():
        roles.create_role(db, role)
    db.add(orm.OAuthClient(identifier="jupyterhub"))
    db.commit()
    return db


def make_ledger(path: Path, uuids: Sequence[str], model: str = "A100") -> Ledger:
    """A ledger with a fresh inventory."""
    ledger = Ledger(path)
    fresh = datetime.now(UTC) + timedelta(hours=1)  # and so for a whole run of tests
    with ledger.write() as unit:
        for index, uuid in enumerate(uuids):
            unit.put_device(build.record(uuid, model=model, index=index, seen_at=fresh))
    return ledger


class MockHub:
    """One hub and its people.

    Args:
        db: The hub's database.
        ledger_path: The ledger.
        spawner_class: What runs the servers.
        config: Traits of the spawner.
    """

    def __init__(
        self, db: Session, ledger_path: Path, spawner_class: type = GPUSpawner, **config: Any
    ) -> None:
        self.db = db
        self.ledger_path = ledger_path
        self.spawner_class = spawner_class
        settings = {
            "allowed_images": {"base": "demo/base:1", "torch": "demo/torch:1"},
            "image": "demo/base:1",
        }
        if issubclass(spawner_class, GPUSpawner):
            settings |= {"ledger": str(ledger_path), "host": build.HOST}
        self.config = Config({spawner_class.__name__: settings | config})
        self.answers = True
        """Whether servers answer when the hub waits for them."""
        self._users: dict[str, User] = {}
        self._ledger = Ledger(ledger_path)

    # -- people ---------------------------------------------------------------------------------------------

    def user(self, name: str = "ada") -> User:
        if name not in self._users:
            found = orm.User.find(self.db, name)
            if found is None:
                found = orm.User(name=name)
                self.db.add(found)
                self.db.commit()
                roles.assign_default_roles(self.db, found)
            self._users[name] = User(found, self._settings())
        return self._users[name]

    def _settings(self) -> dict[str, Any]:
        return {
            "spawner_class": self.spawner_class,
            "config": self.config,
            "hub": Hub(ip="172.18.0.1", port=8081),
            "internal_ssl": False,
            "base_url": "/",
            "allow_named_servers": True,
        }

    def spawner(self, name: str = "ada", server: str = "") -> Any:
        user = self.user(name)
        user.get_or_create_spawner(server, server)
        return user.spawners[server]

    # -- what its handlers do -------------------------------------------------------------------------------

    def begin(self, options: Any = None, *, name: str = "ada", server: str = "") -> asyncio.Task[Any]:
        """Press Start: the spawn goes on in the background, as in ``spawn_single_user``."""
        user = self.user(name)
        user.get_or_create_spawner(server, server, replace_failed=True)
        spawner = user.spawners[server]

        async def finish() -> Any:
            return await user.spawn(server, server, options)

        task = asyncio.ensure_future(finish())
        spawner._spawn_pending, spawner._spawn_future = True, task

        def clear(done: asyncio.Task[Any]) -> None:
            if done.cancelled() or done.exception() is None:
                spawner._spawn_future = None
            spawner._spawn_pending = False

        task.add_done_callback(clear)
        return task

    async def start(self, options: Any = None, *, name: str = "ada", server: str = "") -> Any:
        """Start and return the spawner."""
        task = self.begin(options, name=name, server=server)
        spawner = self.spawner(name, server)
        await asyncio.wait([task])
        task.result()
        return spawner

    async def stop(self, name: str = "ada", server: str = "") -> None:
        await self.user(name).stop(server)

    async def cancel(self, name: str = "ada", server: str = "") -> bool:
        """Stop a server that is starting, as the API's DELETE does.

        Returns:
            Whether the server passed for ready while nobody looked.
        """
        user = self.user(name)
        spawner = user.spawners[server]
        spawner._spawn_future.cancel()
        seen_ready = False
        while spawner.pending:
            seen_ready |= spawner.ready
            await asyncio.sleep(0)
        seen_ready |= spawner.ready  # JupyterHub sleeps a second here
        await user.stop(server)
        return seen_ready

    async def restart(self) -> None:
        """End and begin again with what the database holds, as after ``kill -9``."""
        end_hub_runs()
        ContainerSpawner._calls = None
        for user in self._users.values():
            for spawner in user.spawners.values():
                spawner.stop_polling()  # a dead hub asks nothing, however far the tests' clock jumps
        self._users.clear()

    async def check(self, name: str = "ada", server: str = "") -> Any:
        """Look whether a server of an earlier run is still there, as ``init_spawners`` does."""
        user = self.user(name)
        spawner = user.spawners[server]
        spawner._check_pending = True
        try:
            status = await spawner.poll()
        except Exception:
            status = -1
        if status is None:
            url = await spawner.get_url()
            if url != spawner.server.url:
                parts = urlparse(url)
                spawner.server.ip, spawner.server.port = parts.hostname, parts.port
                self.db.commit()
        elif spawner.server:
            with suppress(Exception):  # the Hub logs it and goes on
                await user.stop(server)
        spawner._check_pending = False
        return status

    # -- the ledger -----------------------------------------------------------------------------------------

    def leases(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Owner, state and devices of every live lease."""
        return [(lease.owner, lease.state.value, lease.devices) for lease in self.live_leases()]

    def live_leases(self) -> tuple[Lease, ...]:
        with self._ledger.read() as unit:
            return unit.live_leases(build.HOST)

    def home_in_ledger(self, owner: str = "ada") -> Home | None:
        with self._ledger.read() as unit:
            return unit.home_of(owner)


def end_hub_runs() -> None:
    """Let go of every hub's lock in this process, as its end would."""
    for run in hubrun._runs.values():
        if run._lock is not None:
            run._lock.release()
        run.ledger.close()
    hubrun._runs.clear()


def copy_ledger(template: Path, path: Path) -> None:
    shutil.copy(template, path)


class Clock:
    """The event loop's time, which tests move on."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        real, self.ahead = loop.time, 0.0
        loop.time = lambda: real() + self.ahead  # type: ignore[method-assign]
        self.pauses: list[float] = []

    def jump(self, seconds: float) -> None:
        self.ahead += seconds

    async def sleep(self, seconds: float) -> None:
        """In place of ``asyncio.sleep``: time passes at once."""
        self.pauses.append(seconds)
        self.ahead += seconds
        await asyncio.sleep(0)


async def reached(gate: threading.Event) -> None:
    """Wait until a call hangs at a gate."""
    assert await asyncio.to_thread(gate.wait, 5)


class LedgerOutage:
    """A ledger that fails at named points of its use; ``open`` is every point."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._before: list[tuple[type, str, Any]] = []

    def at(self, *points: str) -> None:
        for point in points:
            owner = Ledger if point == "_open" else LedgerUnit
            self._before.append((owner, point, getattr(owner, point)))
            self._monkeypatch.setattr(owner, point, self._fail)

    def everywhere(self) -> None:
        self.at("_open")

    def over(self) -> None:
        for owner, point, original in self._before:
            self._monkeypatch.setattr(owner, point, original)
        self._before.clear()

    @staticmethod
    def _fail(*args: Any, **kwargs: Any) -> Any:
        raise LedgerError("The ledger is away.")
