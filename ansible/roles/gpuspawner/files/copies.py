"""What is kept of a server before a release is changed, and how it is put back.

It runs on the server by its own Python, with nothing but the standard library, so that it works where a
release does not. The databases are copied by SQLite itself: what stands in their write-ahead logs is in the
copies. KEPT is where copies are, STATE the directory of the databases.

    copies.py keep-files KEPT               settings and units, as they are
    copies.py keep-databases KEPT STATE     both databases; one whose form has changed since stays as kept
    copies.py put-back-files KEPT           and print the units that were not there then, one a line
    copies.py put-back-databases KEPT STATE those whose form has changed since
    copies.py compare KEPT STATE            what putting them back would lose, as JSON
"""

import json
import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

DATABASES = ("ledger.sqlite", "jupyterhub.sqlite")
SETTINGS = Path(os.environ.get("GPUSPAWNER_ROOT", "/")) / "etc/gpuspawner"
UNITS = Path(os.environ.get("GPUSPAWNER_ROOT", "/")) / "etc/systemd/system"
PATTERN = "gpuspawner-*.service"
OF_NO_RELEASE = "gpuspawner-backup.service"
"""What makes backups is switched on and off by itself, with a timer that is not here either."""
SINCE = {
    "sessions begun": "SELECT count(*) FROM leases WHERE created_at > ?",
    "sessions ended": "SELECT count(*) FROM leases WHERE ended_at > ?",
    "places in line taken": "SELECT count(*) FROM tickets WHERE asked_at > ?",
    "people who came for the first time": "SELECT count(*) FROM homes WHERE created_at > ?",
    "lines of the audit trail": "SELECT count(*) FROM events WHERE at > ?",
}
"""What is counted of what a copy of the ledger does not have."""
OF_HUB = "what the hub itself knows of logins, tokens and servers since (tokens withdrawn since work again)"


def main() -> None:
    """Do what the first argument says."""
    command, *rest = sys.argv[1:]
    arguments = [Path(one) for one in rest]
    if command == "keep-files":
        keep_files(*arguments)
    elif command == "keep-databases":
        keep_databases(*arguments)
    elif command == "put-back-files":
        print("\n".join(put_back_files(*arguments)))
    elif command == "put-back-databases":
        put_back_databases(*arguments)
    elif command == "compare":
        print(json.dumps(compare(*arguments)))
    else:
        sys.exit(f"copies.py: there is no command {command!r}")


def keep_files(kept: Path) -> None:
    """Copy settings and units; a copy that is there is from before the change, and stays."""
    if (kept / "files").is_dir():
        return
    partial = kept / "files.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    shutil.copytree(SETTINGS, partial / "etc", symlinks=True)
    copy_owners(SETTINGS, partial / "etc")
    (partial / "units").mkdir()
    for name in name_units():
        shutil.copy2(UNITS / name, partial / "units" / name)
    partial.rename(kept / "files")


def copy_owners(source: Path, target: Path) -> None:
    """Give a copy of a tree the owners of what it was copied from."""
    for path in (source, *source.rglob("*")):
        about = path.lstat()
        os.chown(target / path.relative_to(source), about.st_uid, about.st_gid, follow_symlinks=False)


def put_back_files(kept: Path) -> list[str]:
    """Make settings and units what they were; the names of units that were not there."""
    for path in sorted(SETTINGS.rglob("*"), reverse=True):
        if not (kept / "files" / "etc" / path.relative_to(SETTINGS)).exists():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(kept / "files" / "etc", SETTINGS, symlinks=True, dirs_exist_ok=True)
    copy_owners(kept / "files" / "etc", SETTINGS)
    before = {unit.name for unit in (kept / "files" / "units").iterdir()}
    for name in before:
        shutil.copy2(kept / "files" / "units" / name, UNITS / name)
    return sorted(name_units() - before)


def name_units() -> set[str]:
    """The units of the release that are there."""
    return {unit.name for unit in UNITS.glob(PATTERN)} - {OF_NO_RELEASE}


def keep_databases(kept: Path, state: Path) -> None:
    """Copy both databases. One that a run which was cut off has migrated already stays as it was kept."""
    for name in DATABASES:
        if is_database(state / name) and form_of(kept / name) in (None, form_of(state / name)):
            copy_database(state / name, kept / name)


def put_back_databases(kept: Path, state: Path) -> None:
    """Put the copies in the places of databases of another form; nothing may have those open."""
    for name in DATABASES:
        if is_database(kept / name) and form_of(kept / name) != form_of(state / name):
            replace_database(kept / name, state / name)


def replace_database(copy: Path, place: Path) -> None:
    """Put a copy in the place of a database that nobody has open."""
    owner = (place if place.exists() else place.parent).stat()
    partial = place.with_name(f"{place.name}.partial")
    shutil.copyfile(copy, partial)
    os.chown(partial, owner.st_uid, owner.st_gid)
    partial.chmod(0o660 if place.name == DATABASES[0] else 0o600)
    # First: they belong to what is replaced, and would be taken for the copy's.
    for companion in ("-wal", "-shm", "-journal"):
        place.with_name(f"{place.name}{companion}").unlink(missing_ok=True)
    partial.replace(place)


def compare(kept: Path, state: Path) -> dict[str, object]:
    """Whether what has another form now can be put back, since when it was kept, and what that loses."""
    forms = {name: (form_of(state / name), form_of(kept / name)) for name in DATABASES}
    ledger, copy = state / DATABASES[0], kept / DATABASES[0]
    found: dict[str, object] = {
        "whole": all(now is None or then is not None for now, then in forms.values()),
        "kept_at": None,
        "lost": [],
    }
    if not is_database(ledger) or not is_database(copy):
        return found
    with closing(open_database(copy)) as old, closing(open_database(ledger)) as new:
        newest = old.execute("SELECT max(at) FROM events").fetchone()[0] or ""
        since = {what: new.execute(query, [newest]).fetchone()[0] for what, query in SINCE.items()}
    of_ledger, of_hub = (now != then for now, then in forms.values())
    lost = [f"{count} {what}" for what, count in since.items() if count] if of_ledger else []
    return {**found, "kept_at": newest, "lost": lost + [OF_HUB] * of_hub}


def is_database(path: Path) -> bool:
    """Whether there is one; the hub makes an empty file first."""
    return path.exists() and path.stat().st_size > 0


def form_of(path: Path) -> str | None:
    """The version of a database's tables; None where there is no database."""
    if not is_database(path):
        return None
    with closing(open_database(path)) as database:
        found = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else ""


def open_database(path: Path) -> sqlite3.Connection:
    """For reading alone; its writers are not held up."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def copy_database(source: Path, target: Path) -> None:
    """One whole copy, for root alone; it has its name when it is whole and on the disk."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(open_database(source)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
        # A copy is one file: it needs no log beside it.
        new.execute("PRAGMA journal_mode = DELETE")
        if (said := new.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            sys.exit(f"{source} is damaged: {said}. Restore it from the backup.")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


if __name__ == "__main__":
    main()
