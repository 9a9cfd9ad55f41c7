"""What is made of what students handed in: whose it is, when it came, and what of it is taken."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gpuspawner_session.boxes import (
    MOST_DEEP,
    HandIn,
    Refused,
    choose_hand_in,
    collect_plain,
    find_time,
    list_hand_ins,
    read_hand_in,
)

SAID = "2020-01-01 12:00:00 UTC"
LONG_AGO = datetime(2020, 1, 1, 12)


def parse(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC")


def make(box: Path, said: str = SAID) -> Path:
    tree = box / f"ada+ps1+{said}+x"
    (tree / "deep").mkdir(parents=True)
    (tree / "problem.ipynb").write_text("{}")
    (tree / "deep" / "data.csv").write_text("1,2")
    (tree / "timestamp.txt").write_text(said)
    return tree


def written(path: Path) -> datetime:
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(
        microseconds=path.lstat().st_ctime_ns // 1000
    )


def test_its_time_is_that_of_its_files_whatever_name_and_files_say(tmp_path: Path) -> None:
    tree = make(tmp_path)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    one = read_hand_in(tree, parse)
    assert one.said == LONG_AGO
    assert one.at == max(map(written, (tree, *tree.rglob("*"))))
    assert one.differs
    assert not HandIn(tree, one.at, one.at).differs


@pytest.mark.parametrize("name", ["problem.ipynb", "deep/data.csv", "deep", "."])
def test_what_is_changed_later_is_handed_in_later(tmp_path: Path, name: str) -> None:
    tree = make(tmp_path)
    (tree / name).chmod(0o700)
    assert find_time(tree) == written(tree / name)


def test_what_is_collected_says_when_it_was_written(tmp_path: Path) -> None:
    tree, to = make(tmp_path / "box"), tmp_path / "to" / "ps1"
    at = collect_plain(tree, to, most_bytes=1000)
    assert at == find_time(tree)
    assert (to / "timestamp.txt").read_text() == f"{at:%Y-%m-%d %H:%M:%S.%f} UTC"
    assert (to / "deep" / "data.csv").read_text() == "1,2"
    assert (tree / "timestamp.txt").read_text() == SAID


def test_the_newest_in_time_is_chosen_by_the_time_that_counts(tmp_path: Path) -> None:
    due = datetime(2026, 5, 1)
    early = HandIn(tmp_path / "early", datetime(2026, 4, 1), datetime(2026, 4, 1))
    lies = HandIn(tmp_path / "lies", datetime(2026, 4, 30), datetime(2026, 5, 2))
    assert choose_hand_in([early, lies], None) is lies
    assert choose_hand_in([lies, early], due) is early
    assert choose_hand_in([lies], due) is lies, "late, and collected as such"
    assert choose_hand_in([], due) is None


def trap(tree: Path, how: str) -> Path:
    if how == "link":
        (tree / "notes.txt").symlink_to("/etc/passwd")
    elif how == "directory":
        (tree / "root").symlink_to("/")
    elif how == "pipe":
        os.mkfifo(tree / "pipe")
    elif how == "deep":
        (tree / "/".join("d" * (MOST_DEEP + 1))).mkdir(parents=True)
    elif how == "large":
        (tree / "large").write_bytes(b"x" * 1001)
    elif how == "time":
        (tree / "timestamp.txt").unlink()
        (tree / "timestamp.txt").mkdir()
    else:
        kept = tree.rename(tree.with_name("kept"))
        {"top": tree.touch, "top pipe": lambda: os.mkfifo(tree), "top link": lambda: tree.symlink_to(kept)}[
            how
        ]()
    return tree


@pytest.mark.parametrize(
    "how", ["link", "directory", "pipe", "deep", "large", "time", "top", "top pipe", "top link"]
)
def test_a_trap_is_left_out_whole(tmp_path: Path, how: str) -> None:
    tree, to = trap(make(tmp_path / "box"), how), tmp_path / "to"
    with pytest.raises((Refused, OSError)):
        collect_plain(tree, to, most_bytes=1000)
    assert not to.exists()
    if how not in ("large", "time"):
        with pytest.raises((Refused, OSError)):
            read_hand_in(tree, parse)


def test_only_what_is_called_like_a_hand_in_of_the_assignment_is_listed(tmp_path: Path) -> None:
    tree = make(tmp_path)
    (tmp_path / "ada+ps1").mkdir()
    (tmp_path / f"ada+ps2+{SAID}").mkdir()
    assert list_hand_ins(tmp_path, "ps1") == [tree]
    assert len(list_hand_ins(tmp_path, None)) == 2
    (tmp_path / "link").symlink_to(tmp_path)
    assert list_hand_ins(tmp_path / "link", "ps1") == []
