"""What students handed in, as it lies in their boxes: nothing that is said in it is believed.

A box is a folder that one student's servers alone write to. So whose a hand-in is follows from its box, and
when it was handed in from what the file system says of its files, which nobody in a server can set
(``st_ctime``, inode(7)); its name and its ``timestamp.txt`` are the student's own word.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

MOST_FILES = 10_000
"""In one hand-in."""
MOST_DEEP = 50
"""Directories in each other."""
SLACK = timedelta(minutes=1)
"""Handing in takes a while: by more than this, its own word for the time is another one."""
TIME_FILE = "timestamp.txt"
"""Where nbgrader has the time of a hand-in."""
_FORMAT = "%Y-%m-%d %H:%M:%S.%f UTC"


class Refused(Exception):
    """A hand-in is left out; says why."""


@dataclass(frozen=True, slots=True)
class HandIn:
    """One hand-in in a box."""

    path: Path
    said: datetime
    """When it was handed in by its own word; UTC, without a zone, as nbgrader has it."""
    at: datetime
    """When the last of its files was written, by the clock of the host; likewise."""

    @property
    def differs(self) -> bool:
        """Whether its own word is another one."""
        return abs(self.at - self.said) > SLACK


def list_hand_ins(box: Path, assignment: str | None) -> list[Path]:
    """What lies in a box and is called like a hand-in; None for those of all assignments."""
    if not box.is_dir() or box.is_symlink():
        return []
    named = (one for one in sorted(box.iterdir()) if len(one.name.split("+")) >= 3)
    return [one for one in named if assignment is None or one.name.split("+")[1] == assignment]


def read_hand_in(path: Path, parse: Callable[[str], datetime]) -> HandIn:
    """Look through a hand-in.

    Args:
        path: Where it is.
        parse: Reads a time, as nbgrader does.

    Raises:
        Refused: Something in it is no file and no directory, or there is too much of it.
        OSError: It cannot be read.
        ValueError: Its name holds no time.
        OverflowError: Its name holds one that is out of all calendars.
    """
    return HandIn(path, parse(path.name.split("+")[2]), find_time(path))


def choose_hand_in(found: Iterable[HandIn], due: datetime | None) -> HandIn | None:
    """The newest of one student's hand-ins, or the newest in time if one is.

    Which of them is the newest their own word may say: one could as well delete the others. Whether one is in
    time it may not.
    """
    newest = sorted(found, key=lambda one: one.said, reverse=True)
    in_time = [one for one in newest if due is None or one.at <= due]
    return next(iter([*in_time, *newest]), None)


def find_time(tree: Path) -> datetime:
    """When anything in a tree was last written. Raises: as :func:`read_hand_in`."""
    latest = 0
    for _, opened, _ in _walk_plain(tree):
        latest = max(latest, os.fstat(opened).st_ctime_ns)
    return _read_time(latest)


def collect_plain(tree: Path, to: Path, *, most_bytes: int) -> datetime:
    """Copy a hand-in whose maker may change it meanwhile; nothing outside of it is ever read.

    Its time is put where nbgrader looks for it: that of what was copied, in the place of its own word.

    Args:
        tree: The hand-in.
        to: Where to; it must not be there. Where copying fails, it is not there afterwards.
        most_bytes: Of all files together.

    Returns:
        When the last of its files was written; UTC, without a zone.

    Raises:
        Refused: Something in it is no file and no directory, or there is too much of it.
        OSError: It cannot be read or written.
    """
    to.mkdir(parents=True)
    try:
        at = _copy_plain(tree, to, most_bytes)
        (to / TIME_FILE).write_text(at.strftime(_FORMAT))
    except BaseException:
        shutil.rmtree(to, ignore_errors=True)
        raise
    return at


def _copy_plain(tree: Path, to: Path, most_bytes: int) -> datetime:
    left, latest = most_bytes, 0
    for where, opened, is_file in _walk_plain(tree):
        if is_file:
            with os.fdopen(os.dup(opened), "rb") as source, (to / where).open("xb") as target:
                while block := source.read(min(1 << 20, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise Refused(f"it has more than {most_bytes // 10**6} MB")
                    target.write(block)
        elif where.parts:
            (to / where).mkdir()
        # Only now: what was read has been written before.
        latest = max(latest, os.fstat(opened).st_ctime_ns)
    return _read_time(latest)


def _read_time(nanoseconds: int) -> datetime:
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)
    return at.replace(tzinfo=None)


def _walk_plain(tree: Path) -> Iterator[tuple[Path, int, bool]]:
    """Each directory and file of a tree, itself first: its place in it, opened to be read, if it is a file.

    Files are opened below the directory that was looked at, and no link on the way is followed.
    """
    if tree.is_symlink() or not tree.is_dir():
        raise Refused("it is no directory")
    top = os.open(tree, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        yield Path(), top, False
        count = 0
        for path, directories, files, at in os.fwalk(dir_fd=top, follow_symlinks=False):
            where = Path(path)
            if len(where.parts) > MOST_DEEP:
                raise Refused(f"it has more than {MOST_DEEP} directories in each other")
            for name in [*directories, *files]:
                count += 1
                if count > MOST_FILES:
                    raise Refused(f"it has more than {MOST_FILES} files")
                with _open_plain(name, at) as (opened, is_file):
                    yield where / name, opened, is_file
    finally:
        os.close(top)


@contextmanager
def _open_plain(name: str, directory: int) -> Iterator[tuple[int, bool]]:
    """A file or a directory in an opened one, and whether it is a file."""
    # Not one that waits for somebody to write, as a pipe would.
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    try:
        kind = os.fstat(opened).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise Refused(f"{name} is neither a file nor a directory")
        yield opened, stat.S_ISREG(kind)
    finally:
        os.close(opened)
