"""A hub, an Engine and a ledger for each test, and a clock that waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dockerspawner import DockerSpawner
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.spawner import containers
from gpuspawner.spawner.containers import ContainerSpawner
from jupyterhub import orm
from jupyterhub.objects import Server
from sqlalchemy.orm import Session
from support.fake_docker import FakeDocker
from support.mock_hub import (
    Clock,
    LedgerOutage,
    MockHub,
    copy_ledger,
    end_hub_runs,
    make_database,
    make_ledger,
)

CARDS = ("GPU-0", "GPU-1")
IMAGES = ("demo/base:1", "demo/torch:1")


@pytest.fixture(scope="session")
def database() -> Session:
    return make_database()


@pytest.fixture
def db(database: Session) -> Iterator[Session]:
    yield database
    database.rollback()
    for user in database.query(orm.User):
        database.delete(user)
    for server in database.query(orm.Server):
        database.delete(server)
    database.commit()


@pytest.fixture(scope="session")
def ledger_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    make_ledger(path, CARDS).close()
    return path


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    path = tmp_path / "ledger.sqlite"
    copy_ledger(ledger_template, path)
    ledger = Ledger(path)
    yield ledger
    ledger.close()


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    fake = FakeDocker(IMAGES, CARDS)
    monkeypatch.setattr(DockerSpawner, "_client", fake)
    monkeypatch.setattr(DockerSpawner, "_executor", None)
    monkeypatch.setattr(ContainerSpawner, "_calls", None)
    yield fake
    fake.open_all()
    if ContainerSpawner._calls is not None:
        ContainerSpawner._calls.executor.shutdown()
    end_hub_runs()


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(containers, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
    return clock


@pytest.fixture
def hub(db: Session, ledger: Ledger, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> MockHub:
    return make_hub(db, ledger.path, monkeypatch)


@pytest.fixture
def make(
    db: Session, ledger: Ledger, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., MockHub]:
    """Make a hub with other settings, or of another spawner."""
    return lambda spawner_class=None, **config: make_hub(
        db, ledger.path, monkeypatch, spawner_class, **config
    )


def make_hub(
    db: Session,
    ledger_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spawner_class: type | None = None,
    **config: Any,
) -> MockHub:
    hub = MockHub(db, ledger_path, *([spawner_class] if spawner_class else []), **config)

    async def wait_up(server: Server, **kwargs: Any) -> Any:
        if not hub.answers:
            raise TimeoutError
        return SimpleNamespace(headers={"X-JupyterHub-Version": "6.1.1"})

    monkeypatch.setattr(Server, "wait_up", wait_up)
    return hub


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> LedgerOutage:
    return LedgerOutage(monkeypatch)
