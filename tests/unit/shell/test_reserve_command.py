"""``gpuspawner reserve``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gpuspawner.adapters.ledger import Ledger
from gpuspawner.cli import main
from gpuspawner.core.errors import InvalidRequest
from gpuspawner.shell.reserve import find_local_zone, find_start
from support.build import HOST, record
from support.reservations import at, reservation

DAY = datetime.now(UTC).date() + timedelta(days=5)
START = f"{DAY}T14:00"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no demo's settings are found
    made = Ledger(tmp_path / "ledger.db")
    with made.write() as unit:
        for n in range(4):
            unit.put_device(record(f"GPU-{n}", index=n))
    made.close()
    (tmp_path / "policy.yml").write_text("pools: {teaching: [A100]}\ngroups: {default: {}, vision-lab: {}}\n")
    return tmp_path


def reserve(path: Path, command: str, *args: str) -> Result:
    ledger = ["--ledger", str(path / "ledger.db"), "--host", HOST]
    return CliRunner().invoke(main, ["reserve", command, *args, *ledger], env={"GPUSPAWNER_CONFIG": ""})


def ok(path: Path, command: str, *args: str) -> str:
    result = reserve(path, command, *args)
    assert result.exit_code == 0, result.output
    return result.output


def add(path: Path, *args: str) -> Any:
    given = ["Lab", "--start", START, "--length", "2h", "--zone", "Europe/Zurich", "--group", "vision-lab"]
    return json.loads(ok(path, "add", *given, "--policy", str(path / "policy.yml"), "--json", *args))


def listed(path: Path) -> Any:
    return json.loads(ok(path, "list", "--json"))


def test_add_and_list(path: Path) -> None:
    (made,) = add(path, "--devices", "2", "--pool", "teaching", "--card", "1", "--user", "ada")["made"]
    name = made["reservation"]["id"]
    assert (made["warnings"], made["replaced"]) == ([], False)
    assert made["reservation"]["models"] == ["A100"]
    assert made["reservation"]["cards"] == ["GPU-1"]
    table = ok(path, "list", "--zone", "Europe/Zurich").splitlines()
    assert table[0].split() == ["RESERVATION", "TITLE", "FOR", "GPUS", "FROM", "WHEN"]
    assert table[1].startswith(f"{name}  Lab    group `vision-lab`  2     teaching  ")
    assert "14:00 to 16:00" in table[1]
    (one,) = listed(path)["occurrences"]
    assert (one["reservation"], one["group"], one["seats"]) == (name, "vision-lab", 2)
    assert listed(path)["reservations"][0]["users"] == ["ada"]


def test_for_people(path: Path) -> None:
    said = ok(path, "add", "Thesis", "--start", START, "--length", "2h", "--zone", "UTC", "--person", "ada")
    assert said.startswith("Made reservation ")
    assert "Thesis, 1 GPU for ada, " in said
    assert (
        ok(path, "list", "--days", "1")
        == "Nothing is reserved in the next 1 days.\n1 more later; see --days.\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--devices", "5", "--group", "vision-lab"], "'Lab' cannot have 5 GPUs. 4 GPUs are all that this"),
        (["--group", "vision-la"], "did you mean 'vision-lab'?"),
        (["--group", "vision-lab", "--card", "9"], "'9' means no card"),
        (["--group", "vision-lab", "--rule", "FREQ=HOURLY"], "rule: FREQ must be one of"),
        ([], "Give exactly one of person, group and course"),
    ],
)
def test_what_is_refused(path: Path, args: list[str], message: str) -> None:
    policy = ["--policy", str(path / "policy.yml")]
    result = reserve(path, "add", "Lab", "--start", START, "--length", "2h", *args, *policy)
    assert result.exit_code == 1
    assert message in result.output
    assert listed(path)["reservations"] == []


def test_skip_and_cancel(path: Path) -> None:
    name = add(path, "--rule", "FREQ=DAILY;COUNT=3")["made"][0]["reservation"]["id"]
    assert "does not take place" in ok(
        path, "skip", name[:6], str(DAY + timedelta(days=1)), "--reason", "feast"
    )
    assert len(listed(path)["occurrences"]) == 2
    ended = json.loads(ok(path, "cancel", name, "--reason", "over", "--json"))
    assert ended["reservation"]["ended_at"]
    assert listed(path)["occurrences"] == []
    again = reserve(path, "cancel", name, "--reason", "over")
    assert f"'{name}' means no reservation; there are none." in again.output
    assert "Give a reason" in reserve(path, "cancel", name, "--reason", " ").output


def test_export_and_import(path: Path) -> None:
    add(path, "--rule", "FREQ=DAILY;COUNT=3", "--lead", "10min")
    before = listed(path)["reservations"]
    calendar = path / "all.ics"
    ok(path, "export", str(calendar), "--people")
    assert b"RRULE:FREQ=DAILY;COUNT=3" in calendar.read_bytes()
    assert json.loads(ok(path, "export", "--json"))["reservations"] == before
    assert "BEGIN:VCALENDAR" in ok(path, "export")
    assert ok(path, "import", str(calendar)).startswith("Changed reservation ")
    assert listed(path)["reservations"] == before
    event = f"BEGIN:VEVENT\r\nUID:x\r\nDTSTART:{DAY:%Y%m%d}T090000\r\nDURATION:PT1H\r\nEND:VEVENT\r\n"
    calendar.write_text(f"BEGIN:VCALENDAR\r\n{event}END:VCALENDAR\r\n")
    (made,) = json.loads(ok(path, "import", str(calendar), "--person", "ada", "--devices", "3", "--json"))[
        "made"
    ]
    assert (made["reservation"]["person"], made["reservation"]["devices"]) == ("ada", 3)
    calendar.write_text("hello")
    assert "This is not a calendar" in reserve(path, "import", str(calendar)).output


@pytest.mark.parametrize("given", ["2030-05-24", "2030-05-24T16:00", "2030-05-24T14:00:00+00:00"])
def test_a_start_is_a_day_or_a_time(given: str) -> None:
    weekly = reservation(rule="FREQ=WEEKLY;COUNT=3", zone="Europe/Zurich")
    assert find_start(weekly, given) == at("2030-05-24T14:00")


def test_a_start_that_is_none() -> None:
    with pytest.raises(InvalidRequest, match="starts on 'soon'; it first starts on 2030-05-17T14:00"):
        find_start(reservation(), "soon")


def test_the_time_zone_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert find_local_zone() == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "nonsense")
    assert find_local_zone()


def test_a_pool_needs_a_policy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path)
    found = reserve(path, "add", "Lab", "--start", START, "--length", "2h", "--person", "ada", "--pool", "x")
    assert found.exit_code == 1
    assert "no policy is known here. Give --policy PATH" in found.output


def test_an_event_that_is_wrong_is_named(path: Path) -> None:
    ok(path, "add", "Lab", "--start", START, "--length", "2h", "--person", "ada")
    ok(path, "export", str(path / "x.ics"))
    found = reserve(path, "import", str(path / "x.ics"))
    assert found.exit_code == 1
    assert "Event 'Lab': Give exactly one of person, group and course" in found.output
