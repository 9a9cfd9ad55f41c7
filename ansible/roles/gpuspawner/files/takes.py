"""Asks a release whether it takes databases and settings as they are; the release's own Python runs it.

takes.py FOLDER [SETTINGS]    FOLDER is where the databases are; what it does not take is the error
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import jupyterhub
from alembic.script import ScriptDirectory
from gpuspawner.adapters import ledger
from gpuspawner.core.errors import SettingsError
from gpuspawner.policy.settings import load_settings

MIGRATIONS = {
    "ledger.sqlite": ("the ledger", Path(ledger.__file__).parent / "migrations"),
    "jupyterhub.sqlite": ("the hub's own database", Path(jupyterhub.__file__).parent / "alembic"),
}


def main() -> None:
    """Do what the arguments say."""
    folder, *settings = map(Path, sys.argv[1:])
    for path in settings:
        try:
            load_settings(path)
        except SettingsError as error:
            sys.exit(f"It does not take the settings: {error}")
    for name, (what, migrations) in MIGRATIONS.items():
        version = version_of(folder / name)
        if version is not None and version not in list_versions(migrations):
            sys.exit(f"It does not know the version {version} of {what}, which a newer release has made.")


def version_of(path: Path) -> str | None:
    """The version of a database's tables; None where there is none, or the empty one of a new hub."""
    if not path.exists() or not path.stat().st_size:
        return None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def list_versions(migrations: Path) -> set[str]:
    """Those that a release knows."""
    return {script.revision for script in ScriptDirectory(str(migrations)).walk_revisions()}


if __name__ == "__main__":
    main()
