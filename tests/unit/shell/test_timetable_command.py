"""``gpuspawner timetable``: what it shows before it does it, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from support.build import HOST, record

POLICY = """
pools: {teaching: [A100]}
groups: {students: }
people: {grace: }
courses: {cs231: {group: students, teachers: [grace], image: torch}}
"""
TOMORROW = datetime.now(UTC).replace(hour=12, minute=0, second=0) + timedelta(days=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    opened = Ledger(path)
    with opened.write() as unit:
        unit.put_device(record("GPU-0"))
        unit.put_device(record("GPU-1", index=1))
    opened.close()
    (tmp_path / "policy.yml").write_text(POLICY)
    return path


def write(ledger: Path, *titles: str, days: int = 0) -> str:
    start = TOMORROW + timedelta(days=days)
    events = [
        f"BEGIN:VEVENT\nUID:{title}\nSUMMARY:{title}\n"
        f"DTSTART:{start + timedelta(hours=2 * n):%Y%m%dT%H%M%SZ}\n"
        "DURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3\nEND:VEVENT\n"
        for n, title in enumerate(titles)
    ]
    path = ledger.parent / "lessons.ics"
    path.write_text("BEGIN:VCALENDAR\nVERSION:2.0\n" + "".join(events) + "END:VCALENDAR\n")
    return str(path)


def run(ledger: Path, *arguments: str, said: str = "") -> Result:
    given = ["timetable", *arguments, "--ledger", str(ledger), "--host", HOST]
    if arguments[0] == "import":
        given += ["--policy", str(ledger.parent / "policy.yml"), "--zone", "UTC"]
    return CliRunner().invoke(main, given, input=said)


def lessons(ledger: Path) -> list[str]:
    return [one["title"] for one in json.loads(run(ledger, "show", "cs231", "--json").output)["lessons"]]


def test_lessons_are_shown_made_changed_and_cancelled(ledger: Path) -> None:
    file = write(ledger, "Lab", "Late\x1b[31m")
    assert "2 made:" in run(ledger, "import", "cs231", file, "--seats", "2", "--dry-run").output
    refused = run(ledger, "import", "cs231", file, "--seats", "2", said="n\n")
    assert (refused.exit_code, lessons(ledger)) == (1, [])
    done = run(ledger, "import", "cs231", file, "--seats", "2", "--pool", "teaching", "--yes")
    assert "2 made, 0 changed, 0 cancelled, 0 as before" in done.output
    assert "\x1b" not in done.output
    assert "FREQ=WEEKLY;COUNT=3" in run(ledger, "show", "cs231").output
    again = write(ledger, "Lab", days=1)
    done = run(ledger, "import", "cs231", again, "--seats", "2", "--pool", "teaching", "--yes")
    assert "0 made, 1 changed, 1 cancelled, 0 as before" in done.output
    assert lessons(ledger) == ["Lab"]
    assert (
        "Nothing changes."
        in run(ledger, "import", "cs231", again, "--seats", "2", "--pool", "teaching").output
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--seats", "3"], "Not all lessons fit; nothing was changed."),
        (["--seats", "1", "--pool", "x"], "pool"),
        (["--seats", "1", "--lead", "soon"], "lead:"),
        (["--seats", "1", "--zone", "Moon/Base"], "there is no time zone"),
    ],
)
def test_what_cannot_be_is_refused(ledger: Path, more: list[str], why: str) -> None:
    file = write(ledger, "Lab")
    given = ["import", "cs231", file, *more, "--yes"]
    found = CliRunner().invoke(
        main,
        [
            "timetable",
            *given,
            "--ledger",
            str(ledger),
            "--host",
            HOST,
            "--policy",
            str(ledger.parent / "policy.yml"),
        ],
    )
    assert found.exit_code == 1
    assert why in found.output
    assert lessons(ledger) == []
