from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gpuspawner.cli import main
from gpuspawner.simulate.compare import CardCount, Options, study_generated, summarize
from gpuspawner.simulate.measures import MEASURES
from gpuspawner.simulate.report import to_json

SESSIONS = """session,user,start_min,stop_min,max_gpus
a,ada,0,100,1
b,,0,100,1
c,cy,30,60,2
d,eve,35,45,1
"""
EVENTS = """session,start_min,duration_min,gpus,gpu_util_pct
a,10,10,1,50
a,60,10,1,50
c,40,10,2,50
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "s.csv").write_text(SESSIONS)
    (tmp_path / "e.csv").write_text(EVENTS)
    return ["--sessions", f"{tmp_path}/s.csv", "--events", f"{tmp_path}/e.csv"]


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def test_the_table(files) -> None:
    result = simulate(*files, "--gpus", "2", "--timeouts", "15")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("1 trace: 4 sessions of 4 users in 0.1 days; ")
    assert "2.7 GPUs would be held on average, idle for 85.2 % of the time." in lines[0]
    assert lines[2:4] == [
        "Of the sessions without work in their first 30 min, 0.0 % have some later.",
        "Of the pauses of more than 30 min after work, 100.0 % end in work.",
    ]
    assert lines[5] == "2 GPUs"
    cells = {line.split("  ")[0]: line.split() for line in lines[7:11]}
    assert cells["hold"] == ["hold", "35.0", "91.2", "14.8", "0.500", "0", "0", "0.00", "-", "0.0"]
    assert cells["idle 15 min"][3:] == ["5.0", "25.0", "27.2", "1.000", "3", "0", "0.25", "0.0", "53.5"]
    assert cells["clairvoyant"][-1] == "99.1"


def test_json_has_every_measure_of_every_rule(files) -> None:
    result = simulate(*files, "--gpus", "2", "--gpus", "100%", "--timeouts", "15,30", "--json")
    data = json.loads(result.output)
    assert [c["gpus"]["mean"] for c in data["comparisons"]] == [2, 3]
    rules = data["comparisons"][0]["rules"]
    assert list(rules) == ["ours", "hold", "idle 15 min", "idle 30 min", "clairvoyant"]
    assert all(tuple(figures) == MEASURES for figures in rules.values())
    assert rules["hold"]["recovered"] == {"mean": 0.0, "interval_95": None, "runs": 1}
    assert rules["hold"]["quick_returns"] is None
    assert data["options"]["idle_limits_min"] == {"free": 120, "wanted": 30, "warning": 15}


def test_our_limits_are_what_was_said(files) -> None:
    said = ["--idle-limit", "60", "--idle-limit-waiting", "10", "--warning", "5"]
    rules = json.loads(simulate(*files, "--gpus", "2", *said, "--json").output)["comparisons"][0]["rules"]
    assert rules["ours"]["recovered"]["mean"] == pytest.approx(73 / 230)


def test_what_a_restart_costs_is_what_was_said(files) -> None:
    found = json.loads(simulate(*files, "--gpus", "2", "--restart", "5", "--json").output)["comparisons"][0]
    assert found["rules"]["clairvoyant"]["recovered"]["mean"] == pytest.approx(225 / 230)


def test_sessions_that_want_too_much_are_mentioned(files) -> None:
    assert "1 GPUs; 1 sessions want more and are left out" in simulate(*files, "--gpus", "1").output


def test_several_seeds_have_intervals() -> None:
    result = simulate("--generated", "30", "--seeds", "3", "--gpus", "60%", "--jobs", "1")
    assert result.exit_code == 0
    assert result.output.startswith("3 traces: 30 sessions of")
    assert "±" in result.output


def test_processes_do_not_change_the_result() -> None:
    options = Options((CardCount(60, of_mean_held=True),), timeouts=(30,))
    alone, together = (
        to_json(summarize(study_generated(20, range(2), options, jobs=jobs), options)) for jobs in (1, 2)
    )
    assert alone == together


WRONG = {
    "no cards": (["--generated", "5"], 2, "Say how many GPUs there are: --gpus 8"),
    "no trace": (["--gpus", "2"], 2, "Give a trace: --sessions FILE --events FILE"),
    "half a trace": (["--gpus", "2", "--sessions", "x"], 2, "Give a trace"),
    "two traces": (
        ["--gpus", "2", "--sessions", "x", "--events", "y", "--generated", "5"],
        *(2, "Give a trace"),
    ),
    "no number": (["--gpus", "many", "--generated", "5"], 2, "'many' is neither a number of GPUs (8) nor"),
    "part of a card": (["--gpus", "1.5", "--generated", "5"], 2, "'1.5': give a whole number"),
    "no card": (["--gpus", "0%", "--generated", "5"], 2, "'0%': give a whole number"),
    "no time-out": (["--gpus", "1", "--generated", "5", "--timeouts", "10,,"], 2, "'' is not a number"),
    "nan": (["--gpus", "1", "--generated", "5", "--restart", "nan"], 2, "'nan' is not a number of minutes"),
    "no file": (["--gpus", "1", "--sessions", "/nowhere", "--events", "/nowhere"], 1, "cannot be read"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG.values(), ids=WRONG)
def test_each_misuse_is_one_line_that_says_what_to_do(arguments: list, code: int, words: str) -> None:
    result = simulate(*arguments)
    assert result.exit_code == code
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_bad_cell_is_named(files, tmp_path) -> None:
    (tmp_path / "e.csv").write_text(EVENTS + "a,ten,1,1,\n")
    result = simulate(*files, "--gpus", "2")
    assert result.exit_code == 1
    assert f"Error: {tmp_path}/e.csv, line 5, column `start_min`: 'ten' is not a number." in result.output


def test_a_run_that_leaves_the_calendar_is_an_error_in_a_line(tmp_path) -> None:
    # Ten thousand pauses of 20 minutes, each with a restart of a year behind it.
    (tmp_path / "s.csv").write_text(SESSIONS.splitlines()[0] + "\na,,0,200000,1\n")
    rows = "".join(f"a,{20 * n},1,1,\n" for n in range(10_000))
    (tmp_path / "e.csv").write_text(EVENTS.splitlines()[0] + "\n" + rows)
    said = ["--gpus", "1", "--restart", "525600", "--timeouts", "1"]
    result = simulate("--sessions", f"{tmp_path}/s.csv", "--events", f"{tmp_path}/e.csv", *said)
    assert result.exit_code == 1
    assert "ran past the year 9999" in result.output


def test_generate_then_simulate(tmp_path) -> None:
    out = ["--out-sessions", f"{tmp_path}/s.csv", "--out-events", f"{tmp_path}/e.csv"]
    made = simulate("generate", "--seed", "3", "--sessions", "40", *out)
    assert made.exit_code == 0
    assert made.output.startswith("40 sessions of ")
    read = simulate("--sessions", f"{tmp_path}/s.csv", "--events", f"{tmp_path}/e.csv", "--gpus", "60%")
    assert read.exit_code == 0
    same = simulate("--generated", "40", "--first-seed", "3", "--gpus", "60%")
    assert read.output == same.output


def test_generate_where_nothing_can_be_written(tmp_path) -> None:
    out = ["--out-sessions", f"{tmp_path}/no/s.csv", "--out-events", f"{tmp_path}/e.csv"]
    result = simulate("generate", "--seed", "3", "--sessions", "4", *out)
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.output
