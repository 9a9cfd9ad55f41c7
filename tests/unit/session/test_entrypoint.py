"""The SSH server of a session is kept running by the images' entrypoint."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[3] / "images" / "finish" / "entrypoint.sh"
LAST = 2
"""How the server ends when it is not wanted."""


def keep(folder: Path, *runs: tuple[int, int]) -> list[str]:
    """The pauses between runs of a server that takes so many seconds and ends with such a status."""
    (function,) = re.findall(r"^keep_ssh\(\) \{\n.*?^\}\n", ENTRYPOINT.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "runs").write_text("".join(f"{seconds} {code}\n" for seconds, code in runs))
    (folder / "clock").write_text("1000")
    programs = {
        "gpuspawner-session": f"""
            [ "$1 $2" = "sshd --folder" ] && [ -d "$3" ] && echo "$3" >>{folder}/folders
            read -r seconds code <{folder}/runs
            sed -i 1d {folder}/runs
            echo $(($(cat {folder}/clock) + seconds)) >{folder}/clock
            exit $code""",
        "sleep": f"echo $1 >>{folder}/pauses; exit 137",
        "date": f"cat {folder}/clock",
    }
    (folder / "bin").mkdir()
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-euc", f"{function}\nkeep_ssh & wait $!"],
        env={"PATH": f"{folder}/bin:/usr/bin:/bin", "TMPDIR": str(folder)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "runs").read_text() == "", "it was given up too early"
    used = (folder / "folders").read_text().split()
    assert len(used) == len(runs)
    assert len(set(used)) == 1, "each start would leave a folder behind"
    return (folder / "pauses").read_text().split() if (folder / "pauses").exists() else []


def test_a_server_that_was_killed_is_started_again(tmp_path: Path) -> None:
    assert keep(tmp_path, (3600, 137), (3600, 255), (3600, 0), (0, LAST)) == ["2", "2", "2"]


def test_one_that_cannot_start_is_tried_less_and_less(tmp_path: Path) -> None:
    found = keep(tmp_path, *[(0, 255)] * 9, (60, 137), (0, 1), (0, LAST))
    assert found == ["2", "4", "8", "16", "32", "64", "128", "256", "300", "2", "4"]


@pytest.mark.parametrize("code", [LAST, 126, 127])
def test_one_that_is_not_wanted_or_not_there_is_not_tried_again(tmp_path: Path, code: int) -> None:
    assert keep(tmp_path, (0, code)) == []
