"""Backups of a hub by restic, and the way back. It runs on the server as root, by its own Python.

    backup.py backup              one backup now, then forget what is not to be kept
    backup.py fetch ID FOLDER     databases and settings of a backup into a folder, and what it is, as JSON
    backup.py homes ID FOLDER     the homes that the databases in that folder name, and the other directories
                                  of SETTINGS, into their places
    backup.py state FOLDER        what else was fetched, into its place; nothing may have the databases open

What is in a backup lies below TREE, wherever it was read from: databases/ (copies), state/ (secrets,
passports), etc/ (settings), and the homes in volumes/NAME and directories/PATH. ``backup`` and ``homes``
mount there what is meant, so they must run in a mount namespace of their own.
"""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from copies import DATABASES, copy_database, form_of, is_database, open_database, replace_database

SETTINGS = Path("/etc/gpuspawner-backup/backup.json")
STATE = Path("/var/lib/gpuspawner")
ETC = Path("/etc/gpuspawner")
TREE = Path("/var/lib/gpuspawner-backup/tree")
CACHE = "/var/cache/gpuspawner-backup"
TAG = "gpuspawner"
LEFT_OUT = ("*.sqlite", "*.sqlite-*", "*.sqlite.*", "*.partial", "sim")
"""What is in STATE and not backed up: the databases, of which there are copies; and simulated cards."""
SNAPSHOT = "gpuspawner-backup"
SUBVOLUME = 256
"""The inode of the root of a subvolume of btrfs."""
INCOMPLETE = 3
"""Restic's exit code when some files could not be read; what could be is in the backup."""
Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Home:
    """A person's home, as the ledger knows it."""

    kind: str
    source: str

    def place(self, volumes: Path) -> Path:
        """Where it is on this server."""
        return volumes / self.source / "_data" if self.kind == "volume" else Path(self.source)

    @property
    def root(self) -> str:
        """The directory that holds it, as it is called below TREE."""
        return "volumes" if self.kind == "volume" else f"directories{Path(self.source).parent}"

    def root_here(self, volumes: Path) -> Path:
        """The directory that holds it, on this server."""
        return volumes if self.kind == "volume" else Path(self.source).parent

    @property
    def kept(self) -> str:
        """Where it is below TREE."""
        return f"{self.root}/{self.source}/_data" if self.kind == "volume" else f"directories{self.source}"


@dataclass(frozen=True)
class Snapshot:
    """How a file system is held still."""

    make: tuple[str, ...]
    path: str
    """Where a directory is seen in it; for a device, below where that is mounted."""
    remove: tuple[str, ...]
    device: str = ""
    options: str = "ro"


def main() -> None:
    """Do what the first argument says; errors are sentences."""
    command, *arguments = sys.argv[1:]
    try:
        if command == "backup":
            back_up()
        elif command == "fetch":
            fetch(arguments[0], Path(arguments[1]))
        elif command == "homes":
            bring_homes(arguments[0], Path(arguments[1]))
        elif command == "state":
            bring_state(Path(arguments[0]))
        else:
            sys.exit(f"backup.py: there is no command {command!r}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)}: exit code {error.returncode}: {(error.stderr or '').strip()}")
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"backup.py: {error}")


def run(command: Sequence[str]) -> str:
    """Run a program that must succeed; what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def restic(*arguments: str, may: Sequence[int] = ()) -> str:
    """Run restic on the repository; what it printed."""
    environment = {
        "HOME": "/root",
        "RESTIC_CACHE_DIR": CACHE,
        "RESTIC_PROGRESS_FPS": "0.01",
        "PATH": os.environ["PATH"],
    }
    environment |= json.loads(SETTINGS.read_text())["environment"]
    command = ["restic", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, *may):
        raise subprocess.CalledProcessError(done.returncode, command[:2], done.stdout, done.stderr)
    if done.stderr.strip():
        print(done.stderr.strip(), file=sys.stderr)
    return done.stdout


# -- a backup -----------------------------------------------------------------------------------------------


def back_up() -> None:
    """Make one, and forget what is not to be kept."""
    restic("unlock")  # of a run that was killed; locks of others that work stay
    databases = ready(TREE / "databases")
    for name in DATABASES:
        (databases / name).unlink(missing_ok=True)
        if is_database(STATE / name):
            copy_database(STATE / name, databases / name)
    # After the databases: whoever comes meanwhile has a home in the backup that they do not name yet.
    homes, volumes = list_homes(databases), find_volumes()
    roots = {home.root: home.root_here(volumes) for home in homes} | list_directories()
    with ExitStack() as stack:
        seen = {"state": STATE, "etc": ETC}
        seen |= {root: stack.enter_context(held_still(place)) for root, place in sorted(roots.items())}
        for part, place in seen.items():
            stack.enter_context(bound(place, TREE / part))
        keep([home for home in homes if is_there(home, volumes)])
    forget()


def is_there(home: Home, volumes: Path) -> bool:
    """Whether a home can be backed up; one that cannot is named."""
    if home.place(volumes).is_dir():
        return True
    print(f"warning: the home {home.source} is not there, and not in this backup.", file=sys.stderr)
    return False


def keep(homes: Sequence[Home]) -> None:
    """Bring what lies below TREE into the repository."""
    parts = ["databases", "state", "etc", *sorted(home.kept for home in homes), *list_directories()]
    listed = TREE.with_name("parts")
    listed.write_text("".join(f"{TREE / part}\n" for part in parts))
    left_out = [f"--exclude={TREE}/state/{one}" for one in LEFT_OUT]
    command = ["backup", "--json", f"--tag={TAG}", f"--files-from-verbatim={listed}", *left_out]
    printed = restic(*command, may=[INCOMPLETE])
    summary = next(json.loads(line) for line in printed.splitlines() if '"summary"' in line)
    name, files, new = summary["snapshot_id"][:8], summary["total_files_processed"], summary["data_added"]
    print(f"backup {name}: {len(homes)} homes, {files} files, {new} bytes new")


def forget() -> None:
    """Let go of backups that no number keeps."""
    wanted = json.loads(SETTINGS.read_text())["keep"]
    kept = [f"--keep-{span}={number}" for span, number in wanted.items() if number]
    # Not by paths: they change with each person who comes. The newest is kept in any case.
    restic("forget", "--quiet", "--prune", f"--tag={TAG}", "--group-by=host", "--keep-last=1", *kept)


# -- the way back -------------------------------------------------------------------------------------------


def fetch(which: str, folder: Path) -> None:
    """Bring databases, secrets and settings of a backup into a folder; say what it is."""
    found = json.loads(restic("snapshots", "--json", f"--tag={TAG}", *([] if which == "latest" else [which])))
    if not found:
        sys.exit("there is no backup in this repository.")
    chosen = max(found, key=lambda one: one["time"])
    target = str(ready(folder))
    parts = [f"--include={TREE / part}" for part in ("databases", "state", "etc")]
    restic("restore", "--quiet", chosen["id"], f"--target={target}", *parts)
    inside = folder / TREE.relative_to("/")
    databases = inside / "databases"
    about = {
        "id": chosen["id"],
        "time": chosen["time"],
        "host": chosen["hostname"],
        "inside": str(inside),
        "ledger": form_of(databases / DATABASES[0]),
        "homes": len(list_homes(databases)),
        "others": len(found) - 1,
    }
    print(json.dumps(about))


def bring_homes(which: str, databases: Path) -> None:
    """Bring homes into their places: what is there and not in the backup stays beside."""
    homes, volumes, directories = list_homes(databases), find_volumes(), list_directories(missing=True)
    if not homes and not directories:
        return
    for place in directories.values():
        place.mkdir(parents=True, exist_ok=True)
    for home in homes:
        if home.kind == "volume":
            run(["docker", "volume", "create", home.source])
        else:
            home.place(volumes).mkdir(parents=True, exist_ok=True)
    for place in (*(home.place(volumes) for home in homes), *directories.values()):
        remove_links(place)
    roots = {home.root: home.root_here(volumes) for home in homes} | directories
    with ExitStack() as stack:
        for root, place in sorted(roots.items()):
            stack.enter_context(bound(place, TREE / root))
        includes = [f"--include={TREE / part}" for part in (*(home.kept for home in homes), *directories)]
        restic("restore", "--quiet", which, "--target=/", *includes)
    print(f"{len(homes)} homes are back")


def remove_links(top: Path) -> None:
    """Remove every symbolic link below a directory, which nobody else changes meanwhile.

    Restic before 0.17 writes through those that are in its way, as root, wherever they lead; whose home it
    is may have laid one. What was a link in the backup is one again.
    """
    for _, directories, files, at in os.fwalk(top, follow_symlinks=False):
        for name in (*directories, *files):
            if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=at)


def bring_state(inside: Path) -> None:
    """Bring secrets, passports and, last, the databases into their places."""
    owner = STATE.stat()
    for path in sorted((inside / "state").rglob("*")):
        place = STATE / path.relative_to(inside / "state")
        if path.is_dir():
            place.mkdir(mode=path.stat().st_mode & 0o777, exist_ok=True)
        elif path.is_file():
            partial = place.with_name(f"{place.name}.partial")
            shutil.copy2(path, partial)
            os.chown(partial, owner.st_uid, owner.st_gid)
            partial.replace(place)
        if place.is_dir():
            os.chown(place, owner.st_uid, owner.st_gid)
    for name in reversed(DATABASES):  # the ledger last: who has a home is said by it
        if is_database(inside / "databases" / name):
            replace_database(inside / "databases" / name, STATE / name)


# -- places -------------------------------------------------------------------------------------------------


def list_homes(databases: Path) -> list[Home]:
    """The homes of a copy of the ledger; none where there is no ledger."""
    if not is_database(databases / DATABASES[0]):
        return []
    with closing(open_database(databases / DATABASES[0])) as ledger:
        return [Home(*row) for row in ledger.execute("SELECT kind, source FROM homes ORDER BY source")]


def list_directories(*, missing: bool = False) -> dict[str, Path]:
    """What is backed up beside homes, by its name below TREE; what is not there too, if that is asked for."""
    wanted = [Path(one) for one in json.loads(SETTINGS.read_text())["directories"]]
    found = {}
    for place in wanted:
        if missing or place.is_dir():
            found[f"directories{place}"] = place
        else:
            print(f"warning: {place} is not there, and not in this backup.", file=sys.stderr)
    return found


def find_volumes() -> Path:
    """Where the Engine keeps volumes."""
    return Path(run(["docker", "info", "--format", "{{.DockerRootDir}}"]).strip()) / "volumes"


def ready(folder: Path) -> Path:
    """A directory, made where it is missing."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    return folder


@contextmanager
def bound(place: Path, seen: Path) -> Iterator[None]:
    """Let a directory be seen at another place for a while, in this mount namespace."""
    run(["mount", "--bind", str(place), str(ready(seen))])
    try:
        yield
    finally:
        run(["umount", "--lazy", str(seen)])


# -- holding still ------------------------------------------------------------------------------------------


@contextmanager
def held_still(place: Path) -> Iterator[Path]:
    """A directory as it is at one moment; as it goes on changing where the file system has no snapshots."""
    snapshot = find_snapshot(place, run)
    if snapshot is None:
        print(
            f"note: {place} is on a file system without snapshots, and is read while people work.",
            file=sys.stderr,
        )
        yield place
        return
    subprocess.run(snapshot.remove, capture_output=True, check=False)  # of a run that was killed
    try:
        run(snapshot.make)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()
        print(f"warning: no snapshot of {place} ({said}); it is read while people work.", file=sys.stderr)
        yield place
        return
    try:
        with mounted(snapshot) as seen:
            yield seen
    finally:
        subprocess.run(snapshot.remove, capture_output=True, check=False)


@contextmanager
def mounted(snapshot: Snapshot) -> Iterator[Path]:
    """Where a directory is seen in a snapshot."""
    if not snapshot.device:
        yield Path(snapshot.path)
        return
    place = ready(TREE.with_name("snapshot"))
    run(["mount", "-o", snapshot.options, snapshot.device, str(place)])
    try:
        yield place / snapshot.path
    finally:
        run(["umount", "--lazy", str(place)])


def find_snapshot(place: Path, ask: Run) -> Snapshot | None:
    """How the file system of a directory is held still; None where it cannot be."""
    kind, source, target = ask(["findmnt", "-nro", "FSTYPE,SOURCE,TARGET", "--target", str(place)]).split()[
        :3
    ]
    if kind == "btrfs":
        top = next(one for one in (place, *place.parents) if one.stat().st_ino == SUBVOLUME)
        copy = str(top / f".{SNAPSHOT}")
        return Snapshot(
            ("btrfs", "subvolume", "snapshot", "-r", str(top), copy),
            str(Path(copy) / place.relative_to(top)),
            ("btrfs", "subvolume", "delete", copy),
        )
    below = place.relative_to(target)
    if kind == "zfs":
        name = f"{source}@{SNAPSHOT}"
        inside = Path(target) / ".zfs" / "snapshot" / SNAPSHOT / below
        return Snapshot(("zfs", "snapshot", name), str(inside), ("zfs", "destroy", name))
    if source.startswith("/dev/mapper/") and shutil.which("lvs"):
        return find_logical(source, str(below), "ro,nouuid" if kind == "xfs" else "ro", ask)
    return None


def find_logical(source: str, below: str, options: str, ask: Run) -> Snapshot | None:
    """A snapshot of a logical volume, with room for a tenth of it to change; None where it is none."""
    try:
        group, volume = ask(["lvs", "--noheadings", "-o", "vg_name,lv_name", source]).split()
    except (subprocess.CalledProcessError, ValueError):
        return None
    copy = f"{group}/{SNAPSHOT}"
    make = ("lvcreate", "--snapshot", f"--name={SNAPSHOT}", "--extents=10%ORIGIN", f"{group}/{volume}")
    return Snapshot(make, below, ("lvremove", "--yes", copy), f"/dev/{copy}", options)


if __name__ == "__main__":
    main()
