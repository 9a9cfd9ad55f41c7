"""``gpuspawner people``: who has logged in, and giving a home from before to somebody."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.identities import Identities, Said
from gpuspawner.core.errors import Conflict, NotFound
from gpuspawner.core.identity import Subject
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.shell.people import people
from support.build import HOST, record

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    with opened.write() as unit:
        unit.put_device(record("GPU-0"))
        unit.put_home(Home("grace", HomeKind.VOLUME, "home-grace"), NOW)
    Identities(opened, clock=lambda: NOW).admit(
        Subject("https://login", "s-1"), Said("Ada\x1b[31m", ("a", "b", "c", "d"))
    )
    opened.close()
    return path


def run(ledger: Path, *arguments: str) -> Result:
    return CliRunner().invoke(people, [*arguments, "--ledger", str(ledger), "--host", HOST])


def test_everybody(ledger: Path) -> None:
    found = run(ledger, "list")
    assert found.exit_code == 0, found.output
    assert "\x1b" not in found.output
    assert "a, b, c and 1 more" in found.output
    (person,) = json.loads(run(ledger, "list", "--json").output)["people"]
    assert (person["name"], person["subject"], person["service"]) == ("ada-31m", "s-1", "https://login")


def test_a_home_from_before_is_given_once(ledger: Path) -> None:
    link = ("link", "grace", "--service", "https://login/", "--subject")
    assert run(ledger, *link, "s-2").output == "grace is now the name of s-2 at https://login.\n"
    assert isinstance(run(ledger, *link, "s-3").exception, Conflict)
    nobody = ("link", "nobody", "--service", "https://login", "--subject", "s-4")
    assert isinstance(run(ledger, *nobody).exception, NotFound)
