"""Writers of one ledger take turns: nobody is overtaken for long, nobody waits without an end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gpuspawner.adapters.ledger import Ledger, ledger, turn
from gpuspawner.adapters.ledger.turn import Busy, write_turn
from gpuspawner.core.errors import LedgerError

HOLDER = """
import sys
from pathlib import Path
from gpuspawner.adapters.ledger.turn import write_turn
with write_turn(Path(sys.argv[1]), 10):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the turn."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_write_that_waits_too_long_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BUSY_TIMEOUT_SECONDS", 0.05)
    made = Ledger(path)
    with held_elsewhere(path), pytest.raises(LedgerError, match="was busy for more than 10 s"), made.write():
        pass
    made.close()


def test_reading_waits_for_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BUSY_TIMEOUT_SECONDS", 0.05)
    made = Ledger(path)
    with held_elsewhere(path), made.read() as unit:
        assert unit.ledger_id()
    made.close()


def test_the_turn_of_a_process_that_dies_is_over(path: Path) -> None:
    with held_elsewhere(path) as process:
        waiter = threading.Timer(0.1, process.kill)
        waiter.start()
        with write_turn(path, 10):
            pass
        waiter.join()


def test_who_gave_up_does_not_keep_the_turn(path: Path) -> None:
    with write_turn(path, 10), pytest.raises(Busy), write_turn(path, 0.01):
        pass
    with write_turn(path, 10):  # it is given back by the thread that gets it in vain
        pass


def test_threads_of_one_process_take_turns_too(path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def write() -> None:
        for _ in range(20):
            with write_turn(path, 10):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_an_exception_in_a_turn_ends_it(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), write_turn(path, 10):
        raise ZeroDivisionError
    with write_turn(path, 0.01):
        pass


def test_the_ledger_s_group_may_take_turns_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with write_turn(path, 10):
            pass
    finally:
        os.umask(before)
    assert path.with_name("ledger.db.lock").stat().st_mode & 0o777 == 0o660


def test_no_garbage_is_collected_in_a_write_and_the_collector_is_on_again_after_it(path: Path) -> None:
    made = Ledger(path)
    assert gc.isenabled()
    with made.write():
        assert not gc.isenabled()
    assert gc.isenabled()
    made.close()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with turn.collector.paused(), turn.collector.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_files_are_closed(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with write_turn(path, 10), pytest.raises(Busy), write_turn(path, 0.01):
            pass
    with write_turn(path, 10):
        pass
    for thread in threading.enumerate():
        if thread.name == turn.THREAD_NAME:
            thread.join(10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
