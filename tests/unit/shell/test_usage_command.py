"""``gpuspawner usage``."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.claims import Usage
from gpuspawner.core.model import Party
from gpuspawner.core.reports import By, build_report
from gpuspawner.shell.usage import render, to_csv
from support.build import GIB, HOST

DAY = date(2026, 11, 25)
ONE = Usage(
    lease_id="l1",
    device="GPU-0",
    day=DAY,
    owner="ada",
    server="big",
    image="base",
    model="A100",
    party=Party(("lab", "staff")),
    held_seconds=7200,
    sampled_seconds=7200,
    active_seconds=3600,
    peak_memory_bytes=3 * GIB,
    energy_joules=3.6e6,
)
BOB = Usage("l2", "GPU-1", DAY, "bob", "", "base", "A100", Party(), held_seconds=3600)


def test_a_table() -> None:
    assert render(build_report([ONE, BOB], By.USER, DAY, DAY)) == (
        "GPU-hours from 2026-11-25 to 2026-11-25, both included (UTC days)\n"
        "USER   HELD h  SAMPLED h  ACTIVE h  WASTED h  PEAK GiB  ENERGY kWh  SESSIONS\n"
        "ada    2.00    2.00       1.00      1.00      3.0       1.00        1\n"
        "bob    1.00    0.00       unknown   unknown   unknown   unknown     1\n"
        "total  3.00    2.00       1.00      1.00      3.0       1.00        2\n"
        "What was held and not sampled is not known: neither active nor wasted."
    )


def test_what_else_is_named_and_who_counts_twice() -> None:
    text = render(build_report([ONE, BOB], By.GROUP, DAY, DAY))
    assert "(no group)" in text
    assert "Who is in several groups counts for each of them" in text
    assert "several groups" not in render(build_report([BOB], By.GROUP, DAY, DAY))
    text = render(build_report([ONE], By.LEASE, DAY, DAY), "ada")
    assert text.splitlines()[:2] == [
        "GPU-hours of ada from 2026-11-25 to 2026-11-25, both included (UTC days)",
        "LEASE  SERVER   HELD h  SAMPLED h  ACTIVE h  WASTED h  PEAK GiB  ENERGY kWh  SESSIONS",
    ]
    assert "not sampled" not in text


def test_none() -> None:
    assert render(build_report([], By.USER, DAY, DAY)).endswith("(UTC days): none.")


def test_names_move_no_cursor_and_are_no_formula() -> None:
    hostile = replace(ONE, owner='=HYPERLINK("x")\x1b[2J')
    assert "\x1b" not in render(build_report([hostile], By.USER, DAY, DAY))
    (row,) = csv.DictReader(io.StringIO(to_csv(build_report([hostile], By.USER, DAY, DAY))))
    assert row["key"] == '\'=HYPERLINK("x")?[2J'


def test_csv() -> None:
    assert to_csv(build_report([ONE, BOB], By.USER, DAY, DAY)) == (
        "key,held_hours,sampled_hours,active_hours,wasted_hours,peak_memory_bytes,energy_kwh,sessions\n"
        "ada,2.0,2.0,1.0,1.0,3221225472,1.0,1\n"
        "bob,1.0,0.0,,,,,1\n"
    )
    assert to_csv(build_report([ONE], By.DEVICE, DAY, DAY)).startswith("key,about,held_hours")


# -- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    book = Ledger(path)
    with book.write() as unit:
        unit.add_usage(HOST, [ONE, BOB, replace(ONE, day=datetime.now(UTC).date(), lease_id="l3")])
    book.close()
    return path


def run(path: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ("usage", "--ledger", str(path), "--host", HOST, *arguments))
    return result.exit_code, result.stdout, result.stderr


def test_json(ledger: Path) -> None:
    days = ("--since", "2026-11-19", "--until", "2026-11-25")
    code, out, _ = run(ledger, "--json", "--user", "bob", *days)
    assert code == 0
    row = {
        "about": "",
        "held_hours": 1.0,
        "sampled_hours": 0.0,
        "active_hours": None,
        "wasted_hours": None,
        "peak_memory_bytes": None,
        "energy_kwh": None,
        "sessions": 1,
    }
    assert json.loads(out) == {
        "schema": 1,
        "host": HOST,
        "by": "user",
        "since": "2026-11-19",
        "until": "2026-11-25",
        "user": "bob",
        "rows": [{"key": "bob", **row}],
        "total": {"key": "total", **row},
    }


def test_without_days_it_is_the_last_seven(ledger: Path) -> None:
    data = json.loads(run(ledger, "--json", "--by", "lease")[1])
    assert "l3" in [row["key"] for row in data["rows"]]
    assert (date.fromisoformat(data["until"]) - date.fromisoformat(data["since"])).days == 6


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--csv", "--json"), 2, "exclude each other"),
        (("--by", "shoe"), 2, "'user', 'group'"),
        (("--since", "yesterday"), 2, "does not match the format"),
        (("--since", "2026-11-25", "--until", "2026-11-24"), 1, "exchange them"),
        (("--until", "0001-01-03"), 0, ""),
    ],
)
def test_wrong_arguments(ledger: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    found, _, err = run(ledger, *arguments)
    assert found == code
    assert words in err


def test_csv_command(ledger: Path) -> None:
    days = ("--since", "2026-11-25", "--until", "2026-11-25")
    rows = csv.DictReader(io.StringIO(run(ledger, "--csv", "--by", "group", *days)[1]))
    assert [row["key"] for row in rows] == ["lab", "staff", ""]
