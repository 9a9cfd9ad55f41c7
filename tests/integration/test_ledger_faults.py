"""No usable ledger, or no agent: no GPU is given out, people read why, and everything else works."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.client import Client, text_of
from support.installation import CHEAP_SERVER, Installation, wait_for

pytestmark = pytest.mark.docker

CONFIG = f"c.GPUSpawner.cmd = {CHEAP_SERVER!r}\nc.GPUSpawner.stale_after = 12\n"


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A small file system of the ledger's own."""
    if os.geteuid() != 0:
        pytest.fail("these tests mount a file system and must be run as root")
    with tempfile.TemporaryDirectory(prefix="gpuspawner-disk-") as path:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "gpuspawner-test", path], check=True)
        try:
            yield Path(path)
        finally:
            subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture(scope="module")
def site(disk: Path) -> Iterator[Installation]:
    with Installation(config=CONFIG, ledger=disk / "ledger.sqlite", layout="2xt4") as installation:
        yield installation


@pytest.fixture(autouse=True)
def empty_afterwards(site: Installation) -> Iterator[None]:
    yield
    site.stop_all()


def require_cpu_server(site: Installation, person: Client) -> None:
    """A server without a GPU starts, and the person's home is in it."""
    assert person.spawn({"gpus": 0}).ready
    assert site.cards_seen(person.user) == []
    site.exec(person.user, f"echo file of {person.user} > ~/file")


def require_no_gpu(person: Client, sentence: str) -> None:
    refused = person.spawn({"gpus": 1})
    assert not refused.ready
    assert refused.status == 503
    assert sentence in refused.message, refused.message
    assert "You can start a server without a GPU now" in refused.message


def require_same_file(site: Installation, person: Client) -> None:
    assert person.spawn({"gpus": 1}).ready
    assert site.cards_seen(person.user) == list(site.lease_of(person.user).devices)
    assert site.exec(person.user, "cat ~/file").strip() == f"file of {person.user}"
    with site.ledger.read() as unit:
        home = unit.home_of(person.user)
    assert home is not None, "the home is in the ledger again"
    mounts = {m["Name"] for m in site.container(person.user)["Mounts"] if m["Type"] == "volume"}
    assert mounts == {home.source}


def test_full(site: Installation, disk: Path) -> None:
    """Ada works on a GPU; grace has a home; barbara never had one."""
    ada, grace, barbara = (site.client(name) for name in ("ada", "grace", "barbara"))
    assert ada.spawn({"gpus": 1}).ready
    require_cpu_server(site, grace)
    grace.stop()
    site.settle()
    before = site.started("ada"), site.lease_of("ada").id

    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(disk).free == 0
    try:
        wait_for(lambda: "disk is full" in site.logs("agent"), "the agent's complaint")
        require_no_gpu(grace, "disk")
        page = text_of(grace.page("/hub/spawn").text)
        assert "No GPU" in page
        for person in (grace, barbara):
            require_cpu_server(site, person)
            person.stop()
            require_cpu_server(site, person)
        assert site.exec("barbara", "cat ~/file").strip() == "file of barbara"
        assert (site.started("ada"), site.lease_of("ada").id) == before
        site.restart("hub")
        assert ada.page("/user/ada/api").status_code == 200
        assert site.started("ada") == before[0]
    finally:
        ballast.unlink()

    wait_for(lambda: _fresh(site), "the agent's return")
    assert site.lease_of("ada").id == before[1]
    for person in (grace, barbara):
        person.stop()
    require_same_file(site, barbara)
    barbara.stop()
    wait_for(lambda: len(site.leases()) == 1, "the release")
    require_same_file(site, grace)


def _fresh(site: Installation) -> bool:
    """Whether a GPU would be given out now."""
    return "free now" in text_of(site.admin.page("/hub/spawn").text)


def test_read_only(site: Installation, disk: Path) -> None:
    ada, grace, edsger = (site.client(name) for name in ("ada", "grace", "edsger"))
    assert ada.spawn({"gpus": 1}).ready
    require_cpu_server(site, grace)
    grace.stop()
    before = site.started("ada")
    site.settle()
    site.ledger.close()
    site.stop("hub", "agent")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        site.start("hub", "agent")
        site.wait_hub()
        require_no_gpu(grace, "ledger")
        for person in (grace, edsger):
            require_cpu_server(site, person)
        assert ada.page("/user/ada/api").status_code == 200
        assert site.started("ada") == before
    finally:
        site.stop("hub", "agent")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        site.start("hub", "agent")
    site.wait_ready()
    wait_for(lambda: _fresh(site), "the agent's return")
    assert site.started("ada") == before
    for person in (grace, edsger):
        person.stop()
    require_same_file(site, edsger)
    edsger.stop()
    wait_for(lambda: len(site.leases()) == 1, "the release")
    require_same_file(site, grace)


def set_version(site: Installation, version: str) -> str:
    with contextlib.closing(sqlite3.connect(site.ledger_path, timeout=10)) as db:
        (old,) = db.execute("SELECT version_num FROM alembic_version").fetchone()
        db.execute("UPDATE alembic_version SET version_num = ?", (version,))
        db.commit()
    return str(old)


@pytest.mark.parametrize("when", ["while it is open", "at the start"])
def test_newer(site: Installation, when: str) -> None:
    ada, donald = site.client("ada"), site.client("donald")
    assert ada.spawn({"gpus": 1}).ready
    before = site.started("ada")
    site.settle()
    if when == "at the start":
        site.stop("hub", "agent")
    old = set_version(site, "9999")
    try:
        if when == "at the start":
            site.start("hub", "agent")
            site.wait_hub()
        require_no_gpu(donald, "is of a newer gpuspawner (its version is 9999)")
        page = text_of(donald.page("/hub/spawn").text)
        assert "is of a newer gpuspawner" in page
        assert "You can start a server without a GPU now" in page
        require_cpu_server(site, donald)
        wait_for(lambda: "is of a newer gpuspawner" in site.logs("agent"), "the agent's complaint")
    finally:
        set_version(site, old)
    wait_for(lambda: _fresh(site), "the agent's return")
    assert site.started("ada") == before
    donald.stop()
    require_same_file(site, donald)


def test_agent_dead(site: Installation) -> None:
    ada, grace = site.client("ada"), site.client("grace")
    assert ada.spawn({"gpus": 1}).ready
    site.kill("agent")
    try:
        wait_for(lambda: not _fresh(site), "the agent's report growing old")
        page = text_of(grace.page("/hub/spawn").text)
        assert "the GPU agent last reported" in page
        assert "You can start a server without a GPU now" in page
        assert "in use" not in page, "what is not known is not in use"
        require_no_gpu(grace, "the GPU agent last reported")
        require_cpu_server(site, grace)
        ada.stop()
        assert site.lease_of("ada").state.value == "releasing", "nobody proves the card free"
    finally:
        site.start("agent")
    wait_for(lambda: site.lease_of("ada").state.value == "released", "the release")
    grace.stop()
    wait_for(lambda: _fresh(site), "the agent's return")
    require_same_file(site, grace)
