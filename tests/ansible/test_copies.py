"""The programs that run on a server: what they keep and put back, and how homes are held still."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.core.model import Event, Home, HomeKind
from gpuspawner.setup.paths import CHECKOUT
from support.build import NOW

ROLES = CHECKOUT / "ansible" / "roles"
COPIES = ROLES / "gpuspawner" / "files" / "copies.py"


@pytest.fixture
def backup(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for role in ("backup", "gpuspawner"):
        monkeypatch.syspath_prepend(str(ROLES / role / "files"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("backup")
    for name in ("backup", "copies"):
        sys.modules.pop(name)


class Server:
    """A root directory with settings, units and a ledger that is open."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.kept = root, root / "state", root / "kept"
        for folder in (self.etc, self.units, self.state, self.kept):
            folder.mkdir(parents=True)
        self.state.joinpath("jupyterhub.sqlite").touch()  # the hub makes it before it fills it
        self.ledger = Ledger(self.state / "ledger.sqlite")
        self.note("first")

    @property
    def etc(self) -> Path:
        return self.root / "etc" / "gpuspawner"

    @property
    def units(self) -> Path:
        return self.root / "etc" / "systemd" / "system"

    def note(self, reason: str) -> None:
        with self.ledger.write() as unit:
            unit.add_event(Event(NOW, "test", reason, "root"))

    def noted(self) -> list[str]:
        with sqlite3.connect(self.state / "ledger.sqlite") as ledger:
            return [row[0] for row in ledger.execute("SELECT reason FROM events ORDER BY id")]

    def migrate(self) -> None:
        self.ledger.close()
        with sqlite3.connect(self.state / "ledger.sqlite") as ledger:
            ledger.execute("UPDATE alembic_version SET version_num = '9999'")

    def run(self, command: str, *places: Path) -> str:
        done = subprocess.run(
            [sys.executable, "-", command, *map(str, places)], input=COPIES.read_text(), text=True,
            env=os.environ | {"GPUSPAWNER_ROOT": str(self.root)}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.ledger.close()


def test_a_ledger_that_is_open_is_kept_whole_and_for_root_alone(server: Server) -> None:
    assert (server.state / "ledger.sqlite-wal").exists()
    server.run("keep-databases", server.kept, server.state)
    copy = server.kept / "ledger.sqlite"
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT reason FROM events").fetchall() == [("first",)]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in server.kept.iterdir()] == ["ledger.sqlite"]
    server.note("second")
    server.run("keep-databases", server.kept, server.state)
    with sqlite3.connect(copy) as database:
        assert len(database.execute("SELECT reason FROM events").fetchall()) == 2


def test_what_is_migrated_already_does_not_replace_what_was_kept(server: Server) -> None:
    server.run("keep-databases", server.kept, server.state)
    server.note("behind the copy")
    server.migrate()
    server.run("keep-databases", server.kept, server.state)  # a run that was cut off is started again
    told = json.loads(server.run("forms", server.kept, server.state))
    assert told["forms"]["ledger.sqlite"][0] == "9999"
    assert told["forms"]["ledger.sqlite"][1] != "9999"
    assert told["since"] == {}  # at the same moment, says its clock
    server.run("put-back-databases", server.kept, server.state)
    assert server.noted() == ["first"]


def test_a_ledger_of_the_same_form_keeps_what_was_written_since(server: Server) -> None:
    server.run("keep-databases", server.kept, server.state)
    server.note("since")
    server.run("put-back-databases", server.kept, server.state)
    assert server.noted() == ["first", "since"]


def test_what_was_written_since_is_counted(server: Server) -> None:
    server.run("keep-databases", server.kept, server.state)
    with server.ledger.write() as unit:
        unit.add_event(Event(NOW.replace(year=2031), "test", "x", "root"))
    told = json.loads(server.run("forms", server.kept, server.state))
    assert told["since"] == {"lines of the audit trail": 1}


def test_settings_and_units_are_what_they_were(server: Server) -> None:
    (server.etc / "gpuspawner.yml").write_text("old")
    (server.etc / "gpuspawner.yml").chmod(0o640)
    (server.units / "gpuspawner-hub.service").write_text("old")
    (server.units / "others.service").write_text("others")
    server.run("keep-files", server.kept)
    (server.etc / "gpuspawner.yml").write_text("new")
    (server.etc / "more.d").mkdir()
    (server.etc / "more.d" / "new.py").write_text("new")
    # Backups were switched on meanwhile; their timer would have nothing to start.
    for name in ("gpuspawner-hub", "gpuspawner-more", "gpuspawner-backup", "others"):
        (server.units / f"{name}.service").write_text("new")
    server.run("keep-files", server.kept)  # again: they stay those of before
    assert server.run("put-back-files", server.kept).split() == ["gpuspawner-more.service"]
    assert [path.name for path in server.etc.iterdir()] == ["gpuspawner.yml"]
    assert (server.etc / "gpuspawner.yml").read_text() == "old"
    assert stat.S_IMODE((server.etc / "gpuspawner.yml").stat().st_mode) == 0o640
    assert (server.units / "gpuspawner-hub.service").read_text() == "old"
    assert (server.units / "others.service").read_text() == "new"
    assert (server.units / "gpuspawner-backup.service").read_text() == "new"


def test_where_homes_are_is_read_from_the_ledger(backup: ModuleType, server: Server) -> None:
    with server.ledger.write() as unit:
        unit.put_home(
            Home(
                "ada",
                HomeKind.VOLUME,
                "gpuspawner-home-1",
            ),
            NOW,
        )
        unit.put_home(Home("bob", HomeKind.BIND, "/srv/homes/gpuspawner-home-2"), NOW)
    homes = backup.list_homes(server.state)
    volumes = Path("/var/lib/docker/volumes")
    assert [(str(home.place(volumes)), home.kept) for home in homes] == [
        ("/srv/homes/gpuspawner-home-2", "directories/srv/homes/gpuspawner-home-2"),
        ("/var/lib/docker/volumes/gpuspawner-home-1/_data", "volumes/gpuspawner-home-1/_data"),
    ]
    assert backup.list_homes(server.kept) == []


@pytest.mark.parametrize(
    ("mounted", "logical", "held"),
    [
        ("ext4 /dev/vda1 /", "", None),
        (
            "zfs tank/homes /srv",
            "",
            ("zfs snapshot tank/homes@gpuspawner-backup", "/srv/.zfs/snapshot/gpuspawner-backup/homes", ""),
        ),
        (
            "xfs /dev/mapper/vg-homes /srv",
            "vg homes",
            (
                "lvcreate --snapshot --name=gpuspawner-backup --extents=10%ORIGIN vg/homes",
                "homes",
                "/dev/vg/gpuspawner-backup",
            ),
        ),
        ("ext4 /dev/mapper/secret /srv", "", None),
    ],
)
def test_how_homes_are_held_still(
    backup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    mounted: str,
    logical: str,
    held: tuple[str, str, str] | None,
) -> None:
    def ask(command: Sequence[str]) -> str:
        return mounted if command[0] == "findmnt" else logical

    monkeypatch.setattr(backup.shutil, "which", lambda name: f"/sbin/{name}")
    found = backup.find_snapshot(Path("/srv/homes"), ask)
    assert (found and (" ".join(found.make), found.path, found.device)) == held


def test_no_link_is_left_in_a_home_that_a_restore_as_root_could_write_through(
    backup: ModuleType, tmp_path: Path
) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    for folder in (home / "work", outside):
        folder.mkdir(parents=True)
    (home / "work" / "thesis").write_text("kept")
    (outside / "passwd").write_text("not theirs")
    (home / "directory").symlink_to(outside)
    (home / "work" / "file").symlink_to(outside / "passwd")
    (home / "work" / "nowhere").symlink_to(tmp_path / "made")
    backup.remove_links(home)
    found = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    assert found == ["work", "work/thesis"]
    assert (home / "work" / "thesis").read_text() == "kept"
    assert (outside / "passwd").read_text() == "not theirs"
