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

import errno
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from copies import DATABASES, copy_database, is_database, open_database, replace_database

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
NAMED = 5
"""How many of those are named."""
OWNER = "owner.json"
"""Beside the databases: who the hub's user is. The next server may have another number for it."""
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

    origin: str
    """What it is of. One is enough for all directories there."""
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


def restic(*arguments: str) -> str:
    """Run restic on the repository; what it printed."""
    return run_restic(arguments).stdout


def run_restic(arguments: Sequence[str], may: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    """Run restic on the repository. It must succeed, or end by another code that it may."""
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
    return done


# -- a backup -----------------------------------------------------------------------------------------------


def back_up() -> None:
    """Make one, and forget what is not to be kept; nothing after one that is incomplete."""
    restic("unlock")  # of a run that was killed; locks of others that work stay
    databases = ready(TREE / "databases")
    for name in DATABASES:
        (databases / name).unlink(missing_ok=True)
        if is_database(STATE / name):
            copy_database(STATE / name, databases / name)
    owner = STATE.stat()
    (databases / OWNER).write_text(json.dumps({"uid": owner.st_uid, "gid": owner.st_gid}))
    # After the databases: whoever comes meanwhile has a home in the backup that they do not name yet.
    homes, volumes = list_homes(databases), find_volumes()
    roots = {home.root: home.root_here(volumes) for home in homes} | list_directories()
    with ExitStack() as stack:
        seen = {"state": STATE, "etc": ETC} | stack.enter_context(held_still(roots))
        for part, place in seen.items():
            stack.enter_context(bound(place, TREE / part))
        lost = keep([home for home in homes if is_there(home, volumes)])
    if lost:
        named = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
        sys.exit(
            f"The backup is incomplete, for this could not be read: {named}. It is kept, and no older one was"
            " forgotten."
        )
    forget()


def is_there(home: Home, volumes: Path) -> bool:
    """Whether a home can be backed up; one that cannot is named."""
    if home.place(volumes).is_dir():
        return True
    print(f"warning: the home {home.source} is not there, and not in this backup.", file=sys.stderr)
    return False


def keep(homes: Sequence[Home]) -> list[str]:
    """Bring what lies below TREE into the repository; what of it could not be read."""
    parts = ["databases", "state", "etc", *sorted(home.kept for home in homes), *list_directories()]
    listed = TREE.with_name("parts")
    listed.write_text("".join(f"{TREE / part}\n" for part in parts))
    left_out = [f"--exclude={TREE}/state/{one}" for one in LEFT_OUT]
    command = ["backup", "--json", f"--tag={TAG}", f"--files-from-verbatim={listed}", *left_out]
    done = run_restic(command, may=[INCOMPLETE])
    summary = next(json.loads(line) for line in done.stdout.splitlines() if '"summary"' in line)
    name, files, new = summary["snapshot_id"][:8], summary["total_files_processed"], summary["data_added"]
    print(f"backup {name}: {len(homes)} homes, {files} files, {new} bytes new")
    said = f"{done.stderr}\n{done.stdout}"
    return find_lost(said, {str(TREE / part) for part in parts}, incomplete=done.returncode == INCOMPLETE)


def find_lost(printed: str, parts: Set[str], *, incomplete: bool) -> list[str]:
    """What restic says that it could not read, but for what was removed meanwhile.

    People work at night. A whole part, though, was there a moment ago; for one, restic before 0.17 does not
    even end by the code INCOMPLETE.
    """
    said = [error for line in printed.splitlines() if (error := read_error(line))]
    lost = sorted({path for path, gone in said if not gone or path in parts})
    if lost or said or not incomplete:
        return [path.removeprefix(f"{TREE}/").removeprefix("directories") for path in lost]
    return ["what restic does not name"]


def read_error(line: str) -> tuple[str, bool] | None:
    """What could not be read, by a line of restic's, and whether because it is gone; None: no error."""
    if line.startswith("{"):
        try:
            told = json.loads(line)
        except ValueError:
            return None
        # What its scan, which only counts, cannot read is read again.
        if told.get("message_type") != "error" or told.get("during") == "scan":
            return None
        why, path = told.get("error") or {}, told.get("item") or "what restic does not name"
        if "Err" in why:
            return path, why["Err"] == errno.ENOENT
        if "message" in why:
            return path, is_gone(why["message"])
        return path, not os.path.lexists(path)  # restic before 0.17 often does not say why
    if line.startswith("error: "):
        found = re.search(r"/.*(?=: )", line)
        return found[0] if found else line.removeprefix("error: "), is_gone(line)
    if line.startswith("/") and line.endswith(" does not exist, skipping"):
        return line.removesuffix(" does not exist, skipping"), True
    return None


def is_gone(said: str) -> bool:
    """Whether this is said of what is not there."""
    return said.rstrip().endswith("no such file or directory")


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
        give_over([TREE / root for root in roots], [TREE / part for part in directories], databases)
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


def give_over(tops: Sequence[Path], trees: Sequence[Path], databases: Path) -> None:
    """Give to the hub's user of this server what belonged to the one of the server of the backup.

    ``tops`` themselves, and ``trees`` with all that is in them. What is in homes is of people.
    """
    if not (databases / OWNER).exists():  # of a release before it was kept
        return
    was, owner = json.loads((databases / OWNER).read_text()), STATE.stat()
    uids, gids = (was["uid"], owner.st_uid), (was["gid"], owner.st_gid)
    if uids[0] == uids[1] and gids[0] == gids[1]:
        return
    for top in (*tops, *trees):
        give_one(str(top), None, uids, gids)
    for tree in trees:
        for _, directories, files, at in os.fwalk(tree, follow_symlinks=False):
            for name in (*directories, *files):
                give_one(name, at, uids, gids)


def give_one(name: str, at: int | None, uids: tuple[int, int], gids: tuple[int, int]) -> None:
    """Change owner and group of one thing, from the first number to the second, where they are the first."""
    about = os.stat(name, dir_fd=at, follow_symlinks=False)
    uid = uids[1] if about.st_uid == uids[0] != uids[1] else -1
    gid = gids[1] if about.st_gid == gids[0] != gids[1] else -1
    if (uid, gid) != (-1, -1):
        os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)


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
def held_still(places: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    """Directories as they are at one moment; as they go on changing where the file system has no snapshots.

    Those on the same file system share a snapshot: each has its own number.
    """
    held: dict[str, Path | None] = {}
    seen = {}
    with ExitStack() as stack:
        for name, place in sorted(places.items()):
            snapshot = find_snapshot(place, run, len(held))
            if snapshot is None:
                print(
                    f"note: {place} is on a file system without snapshots, and is read while people work.",
                    file=sys.stderr,
                )
                seen[name] = place
                continue
            if snapshot.origin not in held:
                number = len(held)
                held[snapshot.origin] = make_snapshot(snapshot, place, number, stack)
            still = held[snapshot.origin]
            seen[name] = place if still is None else still / snapshot.path
        yield seen


def make_snapshot(snapshot: Snapshot, place: Path, number: int, stack: ExitStack) -> Path | None:
    """Make one until the stack ends, and mount it; where its paths begin. None if it cannot be made."""
    subprocess.run(snapshot.remove, capture_output=True, check=False)  # of a run that was killed
    try:
        run(snapshot.make)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()
        print(f"warning: no snapshot of {place} ({said}); it is read while people work.", file=sys.stderr)
        return None
    stack.callback(subprocess.run, snapshot.remove, capture_output=True, check=False)
    return stack.enter_context(mounted(snapshot, number))


@contextmanager
def mounted(snapshot: Snapshot, number: int) -> Iterator[Path]:
    """Where the paths of a snapshot begin."""
    if not snapshot.device:
        yield Path("/")
        return
    place = ready(TREE.with_name(numbered("snapshot", number)))
    run(["mount", "-o", snapshot.options, snapshot.device, str(place)])
    try:
        yield place
    finally:
        run(["umount", "--lazy", str(place)])


def numbered(name: str, number: int) -> str:
    """A name, with its number behind it from the second on."""
    return f"{name}-{number}" if number else name


def find_snapshot(place: Path, ask: Run, number: int = 0) -> Snapshot | None:
    """How the file system of a directory is held still; None where it cannot be.

    ``number`` says how many others there are, for logical volumes of a group must have different names.
    """
    kind, source, target = ask(["findmnt", "-nro", "FSTYPE,SOURCE,TARGET", "--target", str(place)]).split()[
        :3
    ]
    if kind == "btrfs":
        top = next(one for one in (place, *place.parents) if one.stat().st_ino == SUBVOLUME)
        copy = str(top / f".{SNAPSHOT}")
        return Snapshot(
            str(top),
            ("btrfs", "subvolume", "snapshot", "-r", str(top), copy),
            str(Path(copy) / place.relative_to(top)),
            ("btrfs", "subvolume", "delete", copy),
        )
    below = place.relative_to(target)
    if kind == "zfs":
        name = f"{source}@{SNAPSHOT}"
        inside = Path(target) / ".zfs" / "snapshot" / SNAPSHOT / below
        return Snapshot(source, ("zfs", "snapshot", name), str(inside), ("zfs", "destroy", name))
    if source.startswith("/dev/mapper/") and shutil.which("lvs"):
        return find_logical(source, str(below), "ro,nouuid" if kind == "xfs" else "ro", ask, number)
    return None


def find_logical(source: str, below: str, options: str, ask: Run, number: int) -> Snapshot | None:
    """A snapshot of a logical volume, with room for a tenth of it to change; None where it is none."""
    try:
        group, volume = ask(["lvs", "--noheadings", "-o", "vg_name,lv_name", source]).split()
    except (subprocess.CalledProcessError, ValueError):
        return None
    name, origin = numbered(SNAPSHOT, number), f"{group}/{volume}"
    make = ("lvcreate", "--snapshot", f"--name={name}", "--extents=10%ORIGIN", origin)
    remove = ("lvremove", "--yes", f"{group}/{name}")
    return Snapshot(origin, make, below, remove, f"/dev/{group}/{name}", options)


if __name__ == "__main__":
    main()
