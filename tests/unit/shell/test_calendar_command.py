"""``gpuspawner calendar``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.allocator.feeds import Feeds
from gpuspawner.cli import main
from support.build import HOST, NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "ledger.db")
    feeds = Feeds(ledger, lambda: NOW)
    feeds.make("ada")
    feed = feeds.find(feeds.make("b\x1bob"))
    assert feed
    feeds.note_read(feed)
    ledger.close()
    return tmp_path / "ledger.db"


def run(path: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["calendar", *args, "--ledger", str(path), "--host", HOST])


def test_who_has_an_address(path: Path) -> None:
    lines = run(path, "list").output.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["PERSON", "ada", "b?ob"]
    assert lines[1].endswith("2030-05-17 12:00 UTC  never")
    found = json.loads(run(path, "list", "--json").output)
    assert found["schema"] == 1
    assert found["calendars"] == [
        {"person": "ada", "made_at": NOW.isoformat(), "read_at": None},
        {"person": "b\x1bob", "made_at": NOW.isoformat(), "read_at": NOW.isoformat()},
    ]


def test_ending_one(path: Path) -> None:
    assert run(path, "end", "ada").exit_code == 2, "a reason is needed"
    assert run(path, "end", "ada", "--reason", " ").exit_code == 1
    assert run(path, "end", "ada", "--reason", "left").exit_code == 0
    again = run(path, "end", "ada", "--reason", "left")
    assert (again.exit_code, again.output) == (1, "Error: The calendar of ada has no secret address.\n")
    done = run(path, "end", "b\x1bob", "--reason", "left", "--json")
    assert json.loads(done.output) == {"schema": 1, "ended": "b\x1bob"}
    assert run(path, "list").output == "No calendar has a secret address.\n"
    ledger = Ledger(path)
    with ledger.read() as unit:
        ended = unit.recent_events(9, prefix="calendar.ended")
    ledger.close()
    assert [(event.data["owner"], event.data["acted_as"], event.reason) for event in ended] == [
        ("b\x1bob", "shell", "left"),
        ("ada", "shell", "left"),
    ]
