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
from support.databases import form_of, make_hub_database, set_form

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
    known = form_of(server.state / "ledger.sqlite")
    server.run("keep-databases", server.kept, server.state)
    server.note("behind the copy")
    server.migrate()
    server.run("keep-databases", server.kept, server.state)  # a run that was cut off is started again
    told = json.loads(server.run("compare", server.kept, server.state))
    assert (told["whole"], told["lost"]) == (True, [])  # at the same moment, says its clock
    assert (form_of(server.state / "ledger.sqlite"), form_of(server.kept / "ledger.sqlite")) == (
        "9999",
        known,
    )
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
    assert json.loads(server.run("compare", server.kept, server.state))["lost"] == [], "it stays"
    server.migrate()
    told = json.loads(server.run("compare", server.kept, server.state))
    assert (told["whole"], told["lost"]) == (True, ["1 lines of the audit trail"])
    (server.kept / "ledger.sqlite").unlink()
    assert json.loads(server.run("compare", server.kept, server.state))["whole"] is False


def test_what_the_hub_itself_would_forget_is_said(server: Server) -> None:
    make_hub_database(server.state / "jupyterhub.sqlite")
    server.run("keep-databases", server.kept, server.state)
    set_form(server.state / "jupyterhub.sqlite", "9999")
    (lost,) = json.loads(server.run("compare", server.kept, server.state))["lost"]
    assert lost.startswith("what the hub itself knows of logins, tokens and servers since")
    (server.kept / "jupyterhub.sqlite").unlink()
    assert json.loads(server.run("compare", server.kept, server.state))["whole"] is False


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


@pytest.mark.parametrize(
    ("places", "made", "seen"),
    [
        (
            {"homes": ("vg-homes", "/srv"), "courses": ("vg-courses", "/data")},
            ["gpuspawner-backup of vg/courses at snapshot", "gpuspawner-backup-1 of vg/homes at snapshot-1"],
            {"courses": "snapshot/courses", "homes": "snapshot-1/homes"},
        ),
        (
            {"homes": ("vg-all", "/srv"), "courses": ("vg-all", "/srv")},
            ["gpuspawner-backup of vg/all at snapshot"],
            {"courses": "snapshot/courses", "homes": "snapshot/homes"},
        ),
    ],
)
def test_two_directories_held_still_are_each_seen_in_the_snapshot_of_their_own_device(
    *,
    backup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    places: dict[str, tuple[str, str]],
    made: list[str],
    seen: dict[str, str],
) -> None:
    ran: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        if command[0] == "findmnt":
            device, target = places[Path(command[-1]).name]
            return f"ext4 /dev/mapper/{device} {target}"
        if command[0] == "lvs":
            return command[-1].removeprefix("/dev/mapper/").replace("-", " ")
        ran.append(command)
        return ""

    monkeypatch.setattr(backup, "run", run)
    monkeypatch.setattr(backup, "TREE", tmp_path / "tree")
    monkeypatch.setattr(backup.shutil, "which", lambda name: f"/sbin/{name}")
    removed: list[str] = []
    monkeypatch.setattr(backup.subprocess, "run", lambda command, **_: removed.append(command[-1]))
    roots = {name: Path(target) / name for name, (_, target) in places.items()}
    with backup.held_still(roots) as still:
        assert {name: str(place.relative_to(tmp_path)) for name, place in still.items()} == seen
        names = [one for one in ran if one[0] == "lvcreate"]
        mounts = [one for one in ran if one[0] == "mount"]
        assert [
            f"{new[2].removeprefix('--name=')} of {new[-1]} at {Path(mount[-1]).name}"
            for new, mount in zip(names, mounts, strict=True)
        ] == made
        assert all(mount[-2] == f"/dev/vg/{new[2][7:]}" for new, mount in zip(names, mounts, strict=True))
        removed.clear()
    assert sorted(removed) == [f"vg/{one.split()[0]}" for one in made]
    assert len([one for one in ran if one[0] == "umount"]) == len(made)


RESTIC = """#!/bin/sh
printf '%s\\n' "$*" >>"{folder}/asked"
[ "$1" = backup ] || exit 0
cat "{folder}/says" >&2
echo '{{"message_type":"summary","snapshot_id":"1a2b3c4d5e","total_files_processed":3,"data_added":9}}'
exit {code}
"""


class Repository:
    """A restic that says what it is told to say, and what it was asked."""

    def __init__(self, backup: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backup, self.folder = backup, server.root / "restic"
        self.folder.mkdir()
        self.tree = server.root / "backups" / "tree"
        settings = server.root / "backup.json"
        settings.write_text(
            json.dumps({"environment": {}, "directories": [], "keep": {"daily": 7, "weekly": 0}})
        )
        for name, value in (
            ("SETTINGS", settings), ("STATE", server.state), ("ETC", server.etc), ("TREE", self.tree),
            ("run", lambda command: str(server.root)),
        ):  # fmt: skip
            monkeypatch.setattr(backup, name, value)
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def back_up(self, code: int, *says: str) -> list[str]:
        """The commands that restic was given."""
        (self.folder / "says").write_text("".join(f"{one}\n" for one in says))
        (self.folder / "restic").write_text(RESTIC.format(folder=self.folder, code=code))
        (self.folder / "restic").chmod(0o755)
        try:
            self.backup.back_up()
        finally:
            self.asked = [line.split()[0] for line in (self.folder / "asked").read_text().splitlines()]
        return self.asked


@pytest.fixture
def repository(backup: ModuleType, server: Server, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(backup, server, monkeypatch)


def as_json(error: object, item: object, during: str = "archival") -> str:
    told = {"message_type": "error", "error": error, "during": during, "item": str(item)}
    return json.dumps(told)


def test_after_a_whole_backup_others_are_forgotten(repository: Repository) -> None:
    assert repository.back_up(0) == ["unlock", "backup", "forget"]


@pytest.mark.parametrize("form", ["text", "number", "message", "nothing"])
def test_an_incomplete_backup_fails_with_names_and_nothing_is_forgotten(
    repository: Repository, form: str
) -> None:
    path = repository.tree / "directories" / "srv" / "ada" / "a: b"
    path.parent.mkdir(parents=True)
    path.touch()
    says = {
        "text": f"error: open {path}: permission denied",
        "number": as_json({"Op": "open", "Path": str(path), "Err": 13}, path),
        "message": as_json({"message": f"open {path}: permission denied"}, path),
        "nothing": as_json({}, path),
    }
    with pytest.raises(SystemExit) as failed:
        repository.back_up(3, says[form], "Warning: at least one source file could not be read")
    assert failed.value.code == (
        "The backup is incomplete, for this could not be read: /srv/ada/a: b. It is kept, and no older one"
        " was forgotten."
    )
    assert repository.asked == ["unlock", "backup"]


def test_of_many_that_could_not_be_read_the_first_are_named(repository: Repository) -> None:
    lines = [f"error: read {repository.tree}/state/{one}: input/output error" for one in range(9)]
    with pytest.raises(SystemExit) as failed:
        repository.back_up(3, *lines)
    assert "read: state/0, state/1, state/2, state/3, state/4, …. It is kept" in str(failed.value.code)


@pytest.mark.parametrize("form", ["text", "number", "message", "nothing"])
def test_files_that_vanish_while_they_are_read_make_no_backup_fail(repository: Repository, form: str) -> None:
    path = repository.tree / "directories" / "srv" / "ada" / "gone"
    says = {
        "text": f"error: lstat {path}: no such file or directory",
        "number": as_json({"Op": "lstat", "Path": str(path), "Err": 2}, path),
        "message": as_json({"message": f"lstat {path}: no such file or directory"}, path),
        "nothing": as_json({}, path),
    }
    scan = as_json({"Op": "open", "Path": "/x", "Err": 13}, "/x", during="scan")
    assert repository.back_up(3, says[form], scan) == ["unlock", "backup", "forget"]


@pytest.mark.parametrize(
    ("code", "says", "named"),
    [
        (3, "{tree}/state does not exist, skipping", "state"),
        (0, "{tree}/state does not exist, skipping", "state"),
        (3, "error: lstat {tree}/state: no such file or directory", "state"),
        (3, "Warning: at least one source file could not be read", "what restic does not name"),
    ],
)
def test_a_whole_part_that_is_gone_makes_a_backup_incomplete(
    repository: Repository, code: int, says: str, named: str
) -> None:
    with pytest.raises(SystemExit, match=f"could not be read: {named}. It is kept"):
        repository.back_up(code, says.format(tree=repository.tree))
    assert repository.asked == ["unlock", "backup"]


def test_who_the_user_of_the_hub_is_is_in_a_backup(repository: Repository, server: Server) -> None:
    repository.back_up(0)
    told = json.loads((repository.tree / "databases" / "owner.json").read_text())
    assert told == {"uid": server.state.stat().st_uid, "gid": server.state.stat().st_gid}


@pytest.mark.parametrize(
    ("was", "now", "given"),
    [
        ((0, 0), (7, 8), (7, 8)),
        ((0, 1), (7, 8), (7, -1)),  # the group is another's
        ((0, 0), (7, 0), (7, -1)),
        ((0, 0), (0, 0), None),
        ((1, 1), (7, 8), None),
        (None, (7, 8), None),
    ],
)
def test_what_belonged_to_the_user_of_the_hub_belongs_to_the_one_of_this_server(
    *,
    backup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    was: tuple[int, int] | None,
    now: tuple[int, int],
    given: tuple[int, int] | None,
) -> None:
    """Numbers are counted from those of whoever runs this, to whom all here belongs."""
    home, courses, outside = (tmp_path / name for name in ("homes", "courses", "outside"))
    for folder in (home / "ada", courses / "maths", outside):
        folder.mkdir(parents=True)
    for file in (home / "ada" / "thesis", courses / "maths" / "sheet", outside / "passwd"):
        file.touch()
    (courses / "link").symlink_to(outside)
    (courses / "maths" / "file").symlink_to(outside / "passwd")
    uid, gid = home.stat().st_uid, home.stat().st_gid
    databases = tmp_path / "databases"
    databases.mkdir()
    if was:
        (databases / "owner.json").write_text(json.dumps({"uid": uid + was[0], "gid": gid + was[1]}))

    class State:
        def stat(self) -> os.stat_result:
            return os.stat_result((0, 0, 0, 0, uid + now[0], gid + now[1], 0, 0, 0, 0))

    changed: dict[str, tuple[int, int]] = {}

    def chown(name: str, new: int, group: int, *, dir_fd: int | None, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        at = "" if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
        path = str(Path(at, name).relative_to(tmp_path))
        assert path not in changed or path == "courses"
        changed[path] = (new - uid if new >= 0 else -1, group - gid if group >= 0 else -1)

    monkeypatch.setattr(backup, "STATE", State())
    monkeypatch.setattr(backup.os, "chown", chown)
    backup.give_over([home], [courses], databases)
    all_of_it = ["courses", "courses/link", "courses/maths", "courses/maths/file", "courses/maths/sheet"]
    assert changed == (dict.fromkeys([*all_of_it, "homes"], given) if given else {})


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
