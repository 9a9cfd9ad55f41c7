"""``gpuspawner roster``: what it shows before it does it, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.model import Home, HomeKind
from gpuspawner.shell.policy import policy as policy_command
from support.build import HOST, record

POLICY = """
groups: {students: }
people: {grace: }
courses: {cs231: {group: students, teachers: [grace], image: torch, gpus_per_person: 3}}
"""
FIRST = "person,role,team\nada,student,red\nbob,student,red\nzoe,assistant,\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    with opened.write() as unit:
        unit.put_device(record("GPU-0"))
        unit.put_home(Home("bob", HomeKind.VOLUME, "home-bob"), datetime(2026, 10, 1, tzinfo=UTC))
    opened.close()
    (tmp_path / "policy.yml").write_text(POLICY)
    return path


def run(ledger: Path, *arguments: str, said: str = "") -> Result:
    given = ["roster", *arguments, "--ledger", str(ledger), "--host", HOST]
    if arguments[0] == "import":
        given += ["--policy", str(ledger.parent / "policy.yml")]
    return CliRunner().invoke(main, given, input=said)


def write(ledger: Path, text: str) -> str:
    path = ledger.parent / "roster.csv"
    path.write_text(text)
    return str(path)


def people(ledger: Path) -> list[str]:
    return [one["person"] for one in json.loads(run(ledger, "show", "cs231", "--json").output)["people"]]


def test_nothing_is_done_before_somebody_says_yes(ledger: Path) -> None:
    file = write(ledger, FIRST)
    shown = run(ledger, "import", "cs231", file, said="n\n")
    assert "3 added:" in shown.output
    assert shown.exit_code == 1
    assert "3 added:" in run(ledger, "import", "cs231", file, "--dry-run").output
    assert people(ledger) == []
    assert run(ledger, "import", "cs231", file, said="y\n").exit_code == 0
    assert people(ledger) == ["zoe", "ada", "bob"]
    assert "Nothing changes." in run(ledger, "import", "cs231", file).output


def test_a_change_is_shown_taken_back_and_written_out(ledger: Path) -> None:
    run(ledger, "import", "cs231", write(ledger, FIRST), "--yes")
    changed = FIRST.replace("bob,student,red\n", "").replace("ada,student", "ada,teacher")
    shown = run(ledger, "import", "cs231", write(ledger, changed), "--yes").output
    assert "1 removed:\n  bob (student, team red)" in shown
    assert "1 another role:\n  ada: student -> teacher" in shown
    assert "home-bob" in run(ledger, "homes").output
    assert "1 added:\n  bob" in run(ledger, "undo", "cs231", "--yes").output
    written = run(ledger, "export", "cs231").output
    assert "Nothing changes." in run(ledger, "import", "cs231", write(ledger, written)).output


def test_what_is_wrong_is_a_table_by_line(ledger: Path) -> None:
    found = run(ledger, "import", "cs231", write(ledger, FIRST + "ada,boss,\n\x1b[31m,student,\n"), "--yes")
    assert found.exit_code == 1
    assert "LINE  WHAT IS WRONG" in found.output
    assert "5     role: write student, assistant or teacher; not 'boss'." in found.output
    assert "\x1b" not in found.output
    assert people(ledger) == []


def test_an_unknown_course_and_a_day_that_is_over_are_refused(ledger: Path) -> None:
    assert "there are: cs231" in run(ledger, "import", "cs999", write(ledger, FIRST), "--yes").output
    assert "is no day" in run(ledger, "end", "cs231", "--on", "soon", "--yes").output
    assert "is over" in run(ledger, "end", "cs231", "--on", "2020-01-01", "--yes").output


def test_a_course_ends_on_a_day(ledger: Path) -> None:
    run(ledger, "import", "cs231", write(ledger, FIRST), "--yes")
    shown = run(ledger, "end", "cs231", "--on", "2099-02-28", "--keep-homes", "30", "--yes")
    assert "3 people leave on 2099-02-28" in shown.output
    assert (
        "Its last day is 2099-02-28; homes are kept for 30 days more." in run(ledger, "show", "cs231").output
    )


def test_what_somebody_may_use_is_explained_with_their_roster(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no demo's settings are found
    run(ledger, "import", "cs231", write(ledger, FIRST), "--yes")
    given = ["explain", "zoe", "--policy", str(ledger.parent / "policy.yml"), "--ledger", str(ledger)]
    found = CliRunner().invoke(policy_command, given)
    assert "course cs231 (assistant), image torch" in found.output
    assert "3          course `cs231`" in found.output
