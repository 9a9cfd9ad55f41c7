"""The form of databases, and one of an older release."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.config import Config
from jupyterhub import dbutil, orm


def form_of(database: Path) -> str:
    """The version of its tables."""
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def set_form(database: Path, version: str) -> None:
    """Pretend that a database has another form."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])


def make_hub_database(path: Path) -> None:
    """As this JupyterHub makes it."""
    orm.new_session_factory(f"sqlite:///{path}").kw["bind"].dispose()


def take_hub_back(database: Path) -> str:
    """Give a hub's own database the form of an older JupyterHub; the version of the newest."""
    newest = form_of(database)
    with TemporaryDirectory() as folder:
        file = f"{folder}/alembic.ini"
        dbutil.write_alembic_ini(file, f"sqlite:///{database}")
        command.downgrade(Config(file), "-1")
    assert form_of(database) != newest
    return newest
